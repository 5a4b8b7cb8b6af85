"""A fraction of the images has every class in its proportion, and is the same one each time."""

import itertools
import json

import numpy as np
import pytest

from resnet_jax import config as configs
from resnet_jax import train
from resnet_jax.data import fraction
from resnet_jax.data.source import Examples
from resnet_jax.errors import ConfigError


@pytest.fixture
def sorted_examples():
    """1110 images sorted by class: 1000, 100 and 10; each image is its number."""
    images = np.arange(1110, dtype=np.int64).reshape(-1, 1, 1, 1)
    return Examples(images, np.repeat([0, 1, 2], [1000, 100, 10]).astype(np.int32))


@pytest.mark.parametrize("share", [0.003, 0.01, 0.1, 0.37, 0.999])
def test_each_class_has_its_share_and_none_is_empty(sorted_examples, share):
    part = fraction.take(sorted_examples, share, 0)
    assert len(part) == fraction.size(1110, share) == round(1110 * share)
    counts = np.bincount(part.labels, minlength=3)
    assert counts.min() >= 1
    assert np.abs(counts - share * np.array([1000, 100, 10])).max() <= 2


def test_a_smaller_fraction_is_a_part_of_a_larger_one_in_the_original_order(sorted_examples):
    parts = [fraction.take(sorted_examples, f, 3).images.ravel() for f in (0.01, 0.05, 0.3, 0.9)]
    for smaller, larger in itertools.pairwise(parts):
        assert set(smaller) < set(larger)
    assert all((np.diff(part) > 0).all() for part in parts)


def test_the_seed_of_the_draw_decides_which_images(sorted_examples):
    first, again, other = (
        fraction.take(sorted_examples, 0.1, seed).images.ravel() for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert len(set(first) & set(other)) < 40  # 12 of 111 by chance
    assert fraction.take(sorted_examples, 1.0, 5) is sorted_examples


def test_fewer_images_than_classes_are_an_error(sorted_examples, tiny_config):
    with pytest.raises(ConfigError, match="2 images for 3 classes"):
        fraction.take(sorted_examples, 0.002, 0)
    tiny_config.data.fraction = 0.005
    with pytest.raises(ConfigError, match=r"data\.fraction=0\.005 leaves 7 images for 10 classes"):
        configs.validate(tiny_config)


def test_a_run_trains_on_the_fraction_and_says_so(tiny_config, one_device, tmp_path, capsys):
    tiny_config.data.validation = 437
    tiny_config.data.fraction = 0.1
    tiny_config.num_steps, tiny_config.num_epochs = None, 1.0
    assert configs.train_examples(tiny_config) == 100
    versions = []
    for seed in (0, 1):
        tiny_config.seed = seed
        result = train.train_and_evaluate(tiny_config, tmp_path / str(seed), one_device)
        assert result["step"] == 6  # round(100 / 16)
        versions.append(json.loads((tmp_path / str(seed) / "versions.json").read_text())["data"])
    assert versions[0]["fraction"]["images"] == 100
    assert versions[0] == versions[1]
    shown = capsys.readouterr().out
    assert "100 training images, 437 held out, 0.1 of the rest used (drawn by seed 0)" in shown
    assert "(0.96 epochs)" in shown
