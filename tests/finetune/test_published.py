"""The published ResNet-20 of CIFAR-10 with a new head on a frozen body."""

import os
from pathlib import Path

import pytest

import configs
from resnet_jax import cli, train

WEIGHTS = Path(os.environ.get("RESNET_JAX_WEIGHTS", "/nowhere")) / "resnet20-cifar10.th"
DATA = Path(os.environ.get("TFDS_DATA_DIR", "/nowhere")) / "cifar10"


@pytest.mark.slow
@pytest.mark.skipif(
    not WEIGHTS.exists() or not DATA.is_dir(), reason="needs RESNET_JAX_WEIGHTS and TFDS_DATA_DIR"
)
def test_a_new_head_on_cached_features_comes_back_to_91_percent(one_device, tmp_path):
    config = cli.load(str(Path(configs.__file__).parent / "cifar10_linear_probe.py"))
    config.finetune.init_from = str(WEIGHTS)
    result = train.train_and_evaluate(config, tmp_path / "run", one_device)
    assert result["test_examples"] == 10_000
    assert result["test_accuracy"] >= 0.91
