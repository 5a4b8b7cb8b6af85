"""The peer of the benchmarks: the same residual networks in plain PyTorch, in channels_last layout."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def conv3(inputs: int, features: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution with padding 1."""
    return nn.Conv2d(inputs, features, 3, stride, padding=1, bias=False)


class Shortcut(nn.Module):
    """Identity, option A or option B; maps [B, C, H, W] to [B, features, H / stride, W / stride]."""

    def __init__(self, inputs: int, features: int, stride: int, option: str, norm: bool):
        super().__init__()
        self.changes = inputs != features or stride > 1
        self.stride, self.missing = stride, features - inputs
        self.projection = None
        if self.changes and option == "B":
            layers = [nn.Conv2d(inputs, features, 1, stride, bias=False)]
            self.projection = nn.Sequential(*layers, *([nn.BatchNorm2d(features)] * norm))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies it."""
        if self.projection is not None:
            return self.projection(x)
        if not self.changes:
            return x
        before = self.missing // 2
        channels = (0, 0, 0, 0, before, self.missing - before)
        return functional.pad(x[:, :, :: self.stride, :: self.stride], channels)


class Original(nn.Module):
    """conv norm act conv norm, add, act (He et al. 2015)."""

    def __init__(self, inputs: int, features: int, stride: int, option: str, first: bool):
        super().__init__()
        self.conv1, self.norm1 = conv3(inputs, features, stride), nn.BatchNorm2d(features)
        self.conv2, self.norm2 = conv3(features, features), nn.BatchNorm2d(features)
        self.shortcut = Shortcut(inputs, features, stride, option, norm=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies it."""
        branch = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(branch)) + self.shortcut(x), inplace=True)


class PreActivation(nn.Module):
    """norm act conv norm act conv, add (He et al. 2016)."""

    def __init__(self, inputs: int, features: int, stride: int, option: str, first: bool):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv3(inputs, features, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(features), conv3(features, features)
        self.shortcut = Shortcut(inputs, features, stride, option, norm=False)
        self.shared = first or self.shortcut.changes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies it."""
        activated = functional.relu(self.norm1(x), inplace=True)
        branch = functional.relu(self.norm2(self.conv1(activated)), inplace=True)
        return self.conv2(branch) + self.shortcut(activated if self.shared else x)


class ResNet(nn.Module):
    """A residual network for 32x32 images.

    Args:
        sizes: units a stage.
        widths: channels of the stem and of each stage.
        preact: full pre-activation units instead of the original ones.
        option: A or B.
        classes: number of logits.
    """

    def __init__(
        self, sizes: tuple, widths: tuple, *, preact: bool, option: str, classes: int = 10
    ):
        super().__init__()
        inputs = widths[0]
        stem = [conv3(3, inputs)]
        stem += [] if preact else [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
        units = []
        for stage, (size, features) in enumerate(zip(sizes, widths[1:], strict=True)):
            for number in range(size):
                stride = 2 if stage and not number else 1
                kind = PreActivation if preact else Original
                units.append(kind(inputs, features, stride, option, not units))
                inputs = features
        final = [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)] if preact else []
        self.body = nn.Sequential(*stem, *units, *final)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, 3, 32, 32] to logits [B, classes]."""
        return self.head(self.body(x).mean((2, 3)))


def make(
    fields: dict[str, Any], sizes: tuple, batch: int, threads: int, *, train: bool
) -> tuple[Callable[[], None], int]:
    """A function that takes a step, or classifies a batch, and the number of parameters.

    Args:
        fields: of our config's model, as in `networks.py`.
        sizes: units a stage.
        batch: images, the same ones at every call.
        threads: that PyTorch may use.
        train: a training step instead of inference.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    base = fields.get("stage_widths", (16, 32, 64))
    widths = (base[0], *(round(w * fields.get("width", 1)) for w in base))
    preact = fields.get("design") == "full_preact"
    model = ResNet(sizes, widths, preact=preact, option=fields.get("projection", "A"))
    model = model.to(memory_format=torch.channels_last).train(train)
    images = torch.randn(batch, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    def classify() -> None:
        with torch.inference_mode():
            model(images)

    count = sum(parameter.numel() for parameter in model.parameters())
    return (step if train else classify), count
