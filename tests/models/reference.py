"""Residual networks in NumPy and float64, written from the papers: what the tests compare with."""

import flax
import numpy as np


def randomised(variables: dict, seed: int = 0) -> dict:
    """Random values of the same shapes; fresh ones (scale 1, mean 0) would hide mistakes."""
    random = np.random.default_rng(seed)

    def draw(path: tuple[str, ...], leaf) -> np.ndarray:
        if path[-1] in ("scale", "var"):
            return random.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        deviation = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1] == "kernel" else 0.5
        return np.asarray(random.normal(scale=deviation, size=leaf.shape), np.float32)

    return flax.traverse_util.path_aware_map(draw, flax.core.unfreeze(variables))


class Reference:
    """Layers by the names of their parameters.

    Attributes:
        params: float64 arrays by name, `block1/conv1/kernel`.
        stats: running statistics by name; `norm` replaces them in training.
        train: whether `norm` uses the statistics of the batch.
    """

    def __init__(self, variables: dict, *, train: bool):
        def by_name(tree: dict) -> dict[str, np.ndarray]:
            flat = flax.traverse_util.flatten_dict(tree, sep="/")
            return {name: np.asarray(value, np.float64) for name, value in flat.items()}

        self.params = by_name(variables["params"])
        self.stats = by_name(variables.get("batch_stats", {}))
        self.train = train

    def conv(self, name: str, x: np.ndarray, stride: int = 1, groups: int = 1) -> np.ndarray:
        """Zero padding of (kernel - 1) // 2 on every side; a kernel is [k, k, in / groups, out]."""
        kernel = self.params[f"{name}/kernel"]
        size = kernel.shape[0]
        sides = ((size - 1) // 2,) * 2
        x = np.pad(x, ((0, 0), sides, sides, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
        windows = windows[:, ::stride, ::stride]  # [B, H, W, in, k, k]
        pairs = zip(
            np.split(windows, groups, axis=3), np.split(kernel, groups, axis=3), strict=True
        )
        y = np.concatenate([np.tensordot(w, k, ((4, 5, 3), (0, 1, 2))) for w, k in pairs], axis=-1)
        return y + self.params.get(f"{name}/bias", 0.0)

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        """Batch normalisation: biased variance, epsilon 1e-5, running statistics 0.9 old, 0.1 new."""
        mean, var = self.stats[f"{name}/mean"], self.stats[f"{name}/var"]
        if self.train:
            old_mean, old_var = mean, var
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            self.stats[f"{name}/mean"] = 0.9 * old_mean + 0.1 * mean
            self.stats[f"{name}/var"] = 0.9 * old_var + 0.1 * var
        x = (x - mean) / np.sqrt(var + 1e-5)
        return x * self.params[f"{name}/scale"] + self.params[f"{name}/bias"]

    def head(self, x: np.ndarray) -> np.ndarray:
        """Global average pooling and the dense layer."""
        return x.mean((1, 2)) @ self.params["head/kernel"] + self.params["head/bias"]

    def shortcut(
        self, at: str, x: np.ndarray, kind: str, features: int, stride: int, *, norm: bool
    ) -> np.ndarray | float:
        """`kind` is none, or how the shape changes where it does: A or B."""
        if kind == "none":
            return 0.0
        if stride == 1 and x.shape[-1] == features:
            return x
        if kind == "A":
            missing = features - x.shape[-1]
            before = np.zeros((*x.shape[:-1], missing // 2))
            behind = np.zeros((*x.shape[:-1], missing - missing // 2))
            return np.concatenate([before, x, behind], axis=-1)[:, ::stride, ::stride]
        y = self.conv(f"{at}/projection/conv", x, stride)
        return self.norm(f"{at}/projection/norm", y) if norm else y


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def original_unit(
    net: Reference, at: str, x: np.ndarray, kind: str, strides: tuple[int, ...], groups: int = 1
) -> np.ndarray:
    """He et al. 2015, arXiv 1512.03385, figure 5; `strides` are those of the convolutions."""
    y = x
    for number, stride in enumerate(strides, 1):
        three_by_three = net.params[f"{at}/conv{number}/kernel"].shape[0] > 1
        y = net.conv(f"{at}/conv{number}", y, stride, groups if three_by_three else 1)
        y = net.norm(f"{at}/norm{number}", y)
        if number < len(strides):
            y = relu(y)
    around = net.shortcut(at, x, kind, y.shape[-1], max(strides), norm=True)
    return relu(around + y)


def preact_unit(
    net: Reference, at: str, x: np.ndarray, kind: str, strides: tuple[int, ...], *, shared: bool
) -> np.ndarray:
    """He et al. 2016, arXiv 1603.05027, figure 4e; `shared`: the shortcut starts behind norm, act."""
    activated = relu(net.norm(f"{at}/norm1", x))
    y = net.conv(f"{at}/conv1", activated, strides[0])
    for number, stride in enumerate(strides[1:], 2):
        y = net.conv(f"{at}/conv{number}", relu(net.norm(f"{at}/norm{number}", y)), stride)
    start = activated if shared else x
    return net.shortcut(at, start, kind, y.shape[-1], max(strides), norm=False) + y
