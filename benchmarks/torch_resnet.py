"""The peer of the benchmarks: the same residual network in plain PyTorch, in channels_last layout."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """The original basic unit with option A."""

    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(features)
        self.stride = stride
        self.missing = features - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, C, H, W] to [B, features, H / stride, W / stride]."""
        branch = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        branch = self.norm2(self.conv2(branch))
        if self.missing or self.stride > 1:
            before = self.missing // 2
            channels = (0, 0, 0, 0, before, self.missing - before)
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], channels)
        return functional.relu(branch + x, inplace=True)


class ResNet(nn.Module):
    """He et al. 2015 for CIFAR-10: depth 6n+2."""

    def __init__(self, depth: int, classes: int = 10):
        super().__init__()
        blocks, inputs = [], 16
        for stage, features in enumerate((16, 32, 64)):
            for number in range((depth - 2) // 6):
                blocks.append(Block(inputs, features, 2 if stage and not number else 1))
                inputs = features
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, 3, 32, 32] to logits [B, classes]."""
        x = functional.relu(self.norm(self.stem(x)), inplace=True)
        return self.head(self.blocks(x).mean((2, 3)))


def make_step(depth: int, batch: int, threads: int) -> tuple[Callable[[], None], int]:
    """A function that takes one training step on a constant batch, and the parameter count."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = ResNet(depth).to(memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step, sum(parameter.numel() for parameter in model.parameters())
