import io
import tarfile

import numpy as np
import pytest

from resnet_jax.data import source
from resnet_jax.data.datasets.cifar10 import DATASET, read_archive
from resnet_jax.errors import DataError

FILES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


def write_archive(path, files, records=2):
    """An archive of random records in the published layout; returns {file: bytes}."""
    random = np.random.default_rng(0)
    contents = {}
    with tarfile.open(path, "w:gz") as archive:
        for file in files:
            rows = random.integers(0, 256, (records, 3073), np.uint8)
            rows[:, 0] %= 10
            contents[file] = rows.tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{file}")
            member.size = len(contents[file])
            archive.addfile(member, io.BytesIO(contents[file]))
    return contents


def test_archive_records_are_read_file_by_file_with_the_ids_of_tfds(tmp_path):
    write_archive(tmp_path / "a.tar.gz", reversed(FILES))  # the order in the archive is no matter
    examples = list(read_archive(tmp_path / "a.tar.gz"))
    assert [split for split, *_ in examples] == ["train"] * 10 + ["test"] * 2
    assert [identifier for _, identifier, *_ in examples] == [
        *(f"train_{i:05d}" for i in range(10)),
        *(f"test_{i:05d}" for i in range(2)),
    ]


def test_an_archive_record_is_a_label_and_three_planes(tmp_path):
    contents = write_archive(tmp_path / "a.tar.gz", FILES)
    _, _, image, label = list(read_archive(tmp_path / "a.tar.gz"))[3]
    record = contents["data_batch_2.bin"][3073:]
    assert label == record[0]
    assert image.shape == DATASET.image_shape
    for row, column, channel in ((0, 0, 0), (5, 7, 1), (31, 30, 2)):
        assert image[row, column, channel] == record[1 + channel * 1024 + row * 32 + column]


def test_an_archive_without_one_of_its_files_is_refused(tmp_path):
    write_archive(tmp_path / "a.tar.gz", FILES[:-1])
    with pytest.raises(DataError, match=r"no test_batch\.bin"):
        list(read_archive(tmp_path / "a.tar.gz"))


@pytest.fixture(scope="module")
def splits():
    """The real data set, where it is prepared; its decoded form stays in the user's cache."""
    try:
        source.check(DATASET, None)
    except DataError as error:
        pytest.skip(f"needs the data set: {error}")
    return {split: source.load(DATASET, split, None) for split in DATASET.splits}


def test_the_prepared_splits_have_their_sizes_and_equal_classes(splits):
    assert splits["train"].images.shape == (50_000, 32, 32, 3)
    assert splits["test"].images.shape == (10_000, 32, 32, 3)
    assert np.bincount(splits["train"].labels).tolist() == [5000] * 10
    assert np.bincount(splits["test"].labels).tolist() == [1000] * 10


def test_mean_and_std_are_those_of_the_training_images(splits):
    # From the histogram of each channel: exact, and without 600 MB of float64.
    levels = np.arange(256) / 255
    for channel in range(3):
        counts = np.bincount(splits["train"].images[..., channel].ravel(), minlength=256)
        mean = np.average(levels, weights=counts)
        std = np.sqrt(np.average((levels - mean) ** 2, weights=counts))
        assert round(mean, 4) == DATASET.mean[channel]
        assert round(std, 4) == DATASET.std[channel]
