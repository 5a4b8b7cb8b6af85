"""A tiny data set in a TFDS directory, written as TFDS writes it."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from resnet_jax.data.spec import Archive, Dataset

TINY = Dataset(
    name="tiny",
    version="1.0.0",
    image_shape=(6, 5, 3),
    classes=("ant", "bee", "cow"),
    mean=(0.5, 0.5, 0.5),
    std=(0.3, 0.3, 0.3),
    splits={"train": 23, "test": 7},
    archive=Archive(url="https://example.org/tiny.tar.gz", sha256="", size=0, examples=iter),
)


@dataclasses.dataclass(frozen=True)
class Prepared:
    dataset: Dataset
    root: Path  # the data directory
    path: Path  # root / name / version
    arrays: dict[str, tuple[np.ndarray, np.ndarray]]  # split -> (images, labels)

    def shard(self, split: str, index: int) -> Path:
        return sorted(self.path.glob(f"*-{split}.array_record-*"))[index]


def _write_directory(root: Path, dataset: Dataset, shards: int = 2, **arrays) -> Prepared:
    """Writes `split=(images, labels)`; without arrays, random ones as `dataset` describes."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    random = np.random.default_rng(0)
    for split, count in dataset.splits.items() if not arrays else ():
        images = random.integers(0, 256, (count, *dataset.image_shape), np.uint8)
        arrays[split] = images, random.integers(0, dataset.num_classes, count).astype(np.int32)
    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=dataset.image_shape),
            "label": tfds.features.ClassLabel(num_classes=dataset.num_classes),
        }
    )
    path = root / dataset.name / dataset.version
    path.mkdir(parents=True)
    features.save_config(path)
    splits = []
    for split, (images, labels) in arrays.items():
        lengths = [len(part) for part in np.array_split(labels, shards)]
        first = 0
        for shard, length in enumerate(lengths):
            file = path / f"{dataset.name}-{split}.array_record-{shard:05d}-of-{shards:05d}"
            writer = ArrayRecordWriter(str(file), "group_size:1,uncompressed")
            for i in range(first, first + length):
                record = {"id": f"{split}_{i}", "image": _png(images[i]), "label": labels[i]}
                writer.write(features.serialize_example(features.encode_example(record)))
            writer.close()
            first += length
        splits.append({"name": split, "shardLengths": [str(length) for length in lengths]})
    info = {"name": dataset.name, "version": dataset.version, "fileFormat": "array_record"}
    (path / "dataset_info.json").write_text(json.dumps(info | {"splits": splits}))
    return Prepared(dataset, root, path, arrays)


def _png(image: np.ndarray) -> bytes:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def cache_home(tmp_path, monkeypatch) -> Path:
    """An empty cache directory of this test's own."""
    home = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture
def tiny(tmp_path, cache_home) -> Prepared:
    return _write_directory(tmp_path / "data with space", TINY)


@pytest.fixture
def write_directory():
    """The function that writes one."""
    return _write_directory
