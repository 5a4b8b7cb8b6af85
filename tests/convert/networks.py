"""Residual networks in plain PyTorch with the parameter names of three families, at any width.

Written from the papers and from the names and padding that the families document; small, so that their
weights and logits can be stored. Strides are on the 3x3 convolution throughout.
"""

import torch
from torch import nn
from torch.nn import functional


def conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


def layers(inputs: int, inner: int, outputs: int, stride: int, groups: int, deep: bool) -> list:
    """The convolutions of a basic or, if `deep`, a bottleneck unit."""
    if not deep:
        return [conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3)]
    middle = conv(inner, inner, 3, stride, groups)
    return [conv(inputs, inner, 1), middle, conv(inner, outputs, 1)]


class Unit(nn.Module):
    """`conv1 bn1 conv2 bn2 ...`, and a shortcut called `downsample` or `shortcut`."""

    def __init__(self, inputs, inner, outputs, stride, groups, deep, shortcut, option):
        super().__init__()
        for i, layer in enumerate(layers(inputs, inner, outputs, stride, groups, deep), 1):
            setattr(self, f"conv{i}", layer)
            setattr(self, f"bn{i}", nn.BatchNorm2d(layer.out_channels))
        self.convs, self.name = i, shortcut
        self.stride, self.missing = stride, outputs - inputs
        self.pads = option == "A"
        if (stride > 1 or inputs != outputs) and not self.pads:
            projection = [conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)]
            setattr(self, shortcut, nn.Sequential(*projection))

    def around(self, x):
        if hasattr(self, self.name):
            return getattr(self, self.name)(x)
        if self.stride == 1 and self.missing == 0:
            return x
        half = self.missing // 2
        padding = (0, 0, 0, 0, half, self.missing - half)
        return functional.pad(x[:, :, :: self.stride, :: self.stride], padding)

    def forward(self, x):
        y = x
        for i in range(1, self.convs + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = functional.relu(y) if i < self.convs else y
        return functional.relu(self.around(x) + y)


class Net(nn.Module):
    """The names of torchvision and timm (`fc`, `downsample`), or of the CIFAR networks (`linear`,
    `shortcut`)."""

    def __init__(
        self,
        sizes=(1, 1, 1, 1),
        planes=(4, 5, 6, 7),
        deep=False,
        base_width=64,
        groups=1,
        classes=7,
        cifar=False,
        option="B",
    ):
        super().__init__()
        self.pools, self.head = not cifar, "linear" if cifar else "fc"
        shortcut = "shortcut" if cifar else "downsample"
        self.conv1 = conv(3, planes[0], 3) if cifar else conv(3, planes[0], 7, 2)
        self.bn1 = nn.BatchNorm2d(planes[0])
        inputs, self.stages = planes[0], len(planes)
        for number, (size, width) in enumerate(zip(sizes, planes, strict=True), 1):
            inner, outputs = int(width * base_width / 64) * groups, width * (4 if deep else 1)
            stage = []
            for block in range(size):
                stride = 2 if number > 1 and block == 0 else 1
                stage.append(Unit(inputs, inner, outputs, stride, groups, deep, shortcut, option))
                inputs = outputs
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        setattr(self, self.head, nn.Linear(inputs, classes))

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 3, 2, 1) if self.pools else x
        for number in range(1, self.stages + 1):
            x = getattr(self, f"layer{number}")(x)
        return getattr(self, self.head)(x.mean((2, 3)))


class ConvLayer(nn.Module):
    """`convolution` and `normalization`."""

    def __init__(self, layer, active):
        super().__init__()
        self.convolution, self.active = layer, active
        self.normalization = nn.BatchNorm2d(layer.out_channels)

    def forward(self, x):
        x = self.normalization(self.convolution(x))
        return functional.relu(x) if self.active else x


class HuggingFaceUnit(nn.Module):
    """`layer.0`, `layer.1`, ..., and `shortcut`."""

    def __init__(self, inputs, outputs, stride, deep):
        super().__init__()
        every = layers(inputs, outputs // 4, outputs, stride, 1, deep)
        self.layer = nn.Sequential(*[ConvLayer(one, one is not every[-1]) for one in every])
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = ConvLayer(conv(inputs, outputs, 1, stride), active=False)

    def forward(self, x):
        return functional.relu(self.layer(x) + self.shortcut(x))


class Part(nn.Module):
    """A level of names without a computation of its own."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)


class HuggingFaceNet(nn.Module):
    """The names of transformers' `ResNetForImageClassification`."""

    def __init__(
        self, depths=(1, 1, 1, 1), hidden=(4, 5, 6, 7), embedding=4, deep=False, classes=7
    ):
        super().__init__()
        inputs, stages = embedding, []
        for number, (size, outputs) in enumerate(zip(depths, hidden, strict=True)):
            units = []
            for block in range(size):
                stride = 2 if number > 0 and block == 0 else 1
                units.append(HuggingFaceUnit(inputs, outputs, stride, deep))
                inputs = outputs
            stages.append(Part(layers=nn.Sequential(*units)))
        stem = ConvLayer(conv(3, embedding, 7, 2), active=True)
        encoder = Part(stages=nn.ModuleList(stages))
        self.resnet = Part(embedder=Part(embedder=stem), encoder=encoder)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))

    def forward(self, x):
        x = functional.max_pool2d(self.resnet.embedder.embedder(x), 3, 2, 1)
        for stage in self.resnet.encoder.stages:
            x = stage.layers(x)
        return self.classifier(x.mean((2, 3)))


FAMILIES = {
    "cifar_a": lambda: Net((1, 2, 1), (3, 4, 7), classes=10, cifar=True, option="A"),
    "cifar_b": lambda: Net((1, 1, 1), (4, 5, 6), classes=10, cifar=True),
    "cifar_bottleneck": lambda: Net((1, 1, 1, 1), (2, 2, 3, 3), deep=True, cifar=True),
    "torchvision_basic": lambda: Net((2, 1, 1, 1)),
    "torchvision_bottleneck": lambda: Net((1, 2, 1, 1), (2, 3, 3, 4), deep=True),
    "torchvision_wide": lambda: Net((1, 1, 1, 1), (2, 2, 3, 3), deep=True, base_width=128),
    "torchvision_resnext": lambda: Net(
        (1, 1, 1, 1), (2, 2, 4, 4), deep=True, base_width=64, groups=2
    ),
    "hugging_face_basic": lambda: HuggingFaceNet((1, 2, 1, 1)),
    "hugging_face_bottleneck": lambda: HuggingFaceNet(
        (1, 1, 1, 1), (8, 8, 12, 12), embedding=6, deep=True
    ),
}
"""Name -> a network with a stem of its own width, odd channel differences, repeated units."""


def randomised(net: nn.Module, seed: int) -> nn.Module:
    """Random weights and statistics; fresh ones (scale 1, mean 0) would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(like, low, high):
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            state[name] = uniform(value, 0.5, 1.5)
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(3)
        elif value.ndim == 1:
            state[name] = uniform(value, -0.5, 0.5)
        else:
            limit = (3 / value[0].numel()) ** 0.5
            state[name] = uniform(value, -limit, limit)
    net.load_state_dict(state)
    return net.eval()
