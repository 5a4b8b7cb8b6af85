from collections.abc import Callable

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import default


@pytest.fixture
def section() -> Callable[..., ConfigDict]:
    """The section `model` of the default config, with some fields set."""

    def with_fields(**fields) -> ConfigDict:
        model = default.get_config().model
        for name, value in fields.items():
            model[name] = value
        return model

    return with_fields


@pytest.fixture
def tiny(section) -> Callable[..., ConfigDict]:
    """The same for a network of three units, 4, 8 and 8 channels wide."""
    return lambda **fields: section(**{"depth": 8, "stage_widths": (4, 8, 8), **fields})


@pytest.fixture
def images() -> np.ndarray:
    """Normalised images [4, 8, 8, 3]."""
    return np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype(np.float32)
