"""CIFAR-10: 60,000 photographs of 32x32 pixels in 10 classes (Krizhevsky 2009).

Name, version, features and example ids are those of TFDS, so a directory prepared by either serves both.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resnet_jax.data.spec import Archive, Dataset
from resnet_jax.errors import DataError

_BYTES_PER_EXAMPLE = 1 + 32 * 32 * 3
_FILES = {f"data_batch_{i}.bin": "train" for i in range(1, 6)} | {"test_batch.bin": "test"}


def read_archive(path: Path) -> Iterator[tuple[str, str, np.ndarray, int]]:
    """Reads the binary archive; see `Archive.examples`.

    A record is a label byte and 3072 pixel bytes, channel by channel, row by row
    (the archive's own readme).
    """
    position = {"train": 0, "test": 0}
    with tarfile.open(path, "r:gz") as archive:
        members = {Path(member.name).name: member for member in archive.getmembers()}
        for file, split in _FILES.items():
            if file not in members:
                raise DataError(f"{path} has no {file}: it is not the binary version of CIFAR-10")
            records = np.frombuffer(archive.extractfile(members[file]).read(), np.uint8)
            for record in records.reshape(-1, _BYTES_PER_EXAMPLE):
                image = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
                yield split, f"{split}_{position[split]:05d}", image, int(record[0])
                position[split] += 1


DATASET = Dataset(
    name="cifar10",
    version="3.0.2",
    image_shape=(32, 32, 3),
    classes=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    splits={"train": 50_000, "test": 10_000},
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    description="60,000 colour images of 32x32 pixels in 10 classes, 6,000 a class: 50,000 for training, 10,000 for testing.",
    citation="Alex Krizhevsky: Learning multiple layers of features from tiny images. Technical report, 2009.",
    archive=Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        size=170_052_171,
        examples=read_archive,
    ),
)
