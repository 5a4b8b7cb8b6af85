"""What every file of `datasets/` promises, whichever there are."""

import dataclasses
from pathlib import Path

import pytest

from resnet_jax.data import datasets, spec
from resnet_jax.errors import ConfigError


def test_the_names_are_the_files_of_datasets():
    files = {file.stem for file in Path(datasets.__file__).parent.glob("*.py")}
    assert spec.names() == sorted(files - {"__init__"})
    assert {"cifar10", "digits"} <= set(spec.names())


@pytest.mark.parametrize("name", ["cifar-10", "", "spec", "__init__", "../spec", "os"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match=r"choose one of: .*cifar10, .*digits"):
        spec.get(name)


@pytest.mark.parametrize("name", spec.names())
def test_a_data_set_is_named_as_its_file(name):
    assert spec.get(name).name == name


@pytest.mark.parametrize("name", spec.names())
def test_images_and_statistics_have_the_same_channels(name):
    dataset = spec.get(name)
    height, width, channels = dataset.image_shape
    assert height > 0
    assert width > 0
    assert channels in (1, 3)
    assert len(dataset.mean) == len(dataset.std) == channels
    assert all(0 < mean < 1 for mean in dataset.mean)  # of images scaled to 0..1, not 0..255
    assert all(0 < std <= 0.5 for std in dataset.std)  # the most that values of 0..1 can have


@pytest.mark.parametrize("name", spec.names())
def test_classes_are_distinct_and_splits_are_not_empty(name):
    dataset = spec.get(name)
    assert dataset.num_classes == len(set(dataset.classes)) > 1
    assert {"train", dataset.test_split} <= set(dataset.splits)
    assert dataset.test_split != "train"
    assert min(dataset.splits.values()) > 0


@pytest.mark.parametrize("name", spec.names())
def test_a_data_set_is_read_in_exactly_one_way(name):
    dataset = spec.get(name)
    assert (dataset.version is None) == (dataset.load is not None)
    if dataset.load is not None:
        assert dataset.archive is None


@pytest.mark.parametrize("name", spec.names())
def test_an_archive_can_be_verified(name):
    archive = spec.get(name).archive
    if archive is not None:
        assert archive.url.startswith("https://")
        assert len(bytes.fromhex(archive.sha256)) == 32
        assert archive.size > 0


def test_a_data_set_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.get("cifar10").name = "other"
