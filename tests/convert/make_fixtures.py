"""Writes the files that the tests of `convert` read: weights of tiny networks, and their logits.

    python -m tests.convert.make_fixtures

It needs PyTorch, and is run again only when a family is added: the stored files are what PyTorch wrote.
"""

from pathlib import Path

import numpy as np
import torch

from resnet_jax.convert import safetensors_file
from tests.convert.networks import FAMILIES, randomised

FOLDER = Path(__file__).parent / "fixtures"
LEGACY, ZIP = ("cifar_a",), ("cifar_b",)
"""Which are written by `torch.save`, in the older and in the newer format; the rest is safetensors."""


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    # Odd sizes, so that every padding shows.
    images = torch.rand((2, 3, 25, 21), generator=torch.Generator().manual_seed(0)) * 4 - 2
    stored = {"images": images.numpy()}
    for seed, (name, build) in enumerate(FAMILIES.items(), 1):
        net = randomised(build(), seed)
        with torch.inference_mode():
            stored[name] = net(images).numpy()
        state = net.state_dict()
        if name in LEGACY:
            wrapped = {"best": 1.0, "state_dict": {f"module.{k}": v for k, v in state.items()}}
            torch.save(wrapped, FOLDER / f"{name}.th", _use_new_zipfile_serialization=False)
        elif name in ZIP:
            torch.save(state, FOLDER / f"{name}.pth")
        else:
            tensors = {key: value.numpy() for key, value in state.items()}
            content = safetensors_file.encode(tensors, {"format": "pt"})
            (FOLDER / f"{name}.safetensors").write_bytes(content)
    np.savez_compressed(FOLDER / "expected.npz", **stored)


if __name__ == "__main__":
    main()
