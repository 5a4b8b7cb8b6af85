import zlib

import numpy as np
import pytest
import sklearn.datasets

from resnet_jax.data import source
from resnet_jax.data.datasets.digits import DATASET


@pytest.fixture(scope="module")
def splits():
    return {split: source.load(DATASET, split, None) for split in DATASET.splits}


def test_the_splits_have_the_documented_sizes_and_types(splits):
    assert {split: len(examples) for split, examples in splits.items()} == DATASET.splits
    assert splits["train"].images.shape == (1437, 8, 8, 1)
    assert splits["test"].images.shape == (360, 8, 8, 1)
    for examples in splits.values():
        assert (examples.images.dtype, examples.labels.dtype) == (np.uint8, np.int32)


def test_the_splits_together_are_every_image_once(splits):
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    everything = sorted((tuple(image), label) for image, label in zip(images, labels, strict=True))
    found = [
        (tuple(np.rint(image.ravel() / 255 * 16)), label)
        for examples in splits.values()
        for image, label in zip(examples.images, examples.labels, strict=True)
    ]
    assert sorted(found) == everything


def test_every_class_has_a_fifth_of_its_images_in_test(splits):
    train, test = (np.bincount(splits[split].labels) for split in ("train", "test"))
    assert len(train) == len(test) == DATASET.num_classes
    assert np.all(np.abs(test - (train + test) / 5) < 1)


def test_the_split_is_the_same_for_ever(splits):
    # Computed once with scikit-learn 1.9 and pinned: every result on the digits depends on it.
    contents = {
        split: zlib.crc32(examples.images.tobytes() + examples.labels.astype("<i4").tobytes())
        for split, examples in splits.items()
    }
    assert contents == {"train": 1030531777, "test": 2989422963}


def test_pixels_span_the_whole_range(splits):
    assert np.array_equal(
        np.unique(splits["train"].images), [round(v * 255 / 16) for v in range(17)]
    )


def test_mean_and_std_are_those_of_the_training_images(splits):
    images = splits["train"].images / 255
    assert DATASET.mean == (round(images.mean(), 4),)
    assert DATASET.std == (round(images.std(), 4),)
