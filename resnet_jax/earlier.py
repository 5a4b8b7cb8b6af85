"""Reads what earlier versions wrote: a run outlives the code that made it.

A field that a later version adds is listed here with the value that means what the code did before
there was such a field, which is its default in `configs/default.py` too.
"""

from typing import Any

from ml_collections import ConfigDict

_CONFIG = {
    "conv_backend": "auto",
    "data.broken": 0.01,
    "data.fraction": 1.0,
    "data.fraction_seed": 0,
    "data.image_size": None,
    "data.mix": None,
    "data.mix_fraction": 1.0,
    "data.resize": None,
    "data.test_fraction": 0.2,
    "early_stopping": 0,
    "eval_augment": "",
    "finetune.cache_features": False,
    "finetune.drop": (),
    "finetune.freeze": (),
    "finetune.frozen_norms": "running",
    "finetune.init_from": None,
    "finetune.l2_sp": 0.0,
    "finetune.phases": (),
    "finetune.reinit": (),
    "finetune.teacher": None,
    "finetune.teacher_temperature": 4.0,
    "finetune.teacher_weight": 0.9,
    "model.downsampling": "stride",
    "model.drop_path": 0.0,
    "model.drop_path_schedule": "linear",
    "model.head": "",
    "model.init": None,
    "model.plugins": (),
    "model.remat": False,
    "model.scaled_activation": None,
    "model.unit": None,
    "model.weight_standardization": None,
    "model.zero_init": False,
    "optimizer.adaptive_clip": 0.0,
    "optimizer.rates": None,
    "probe.every": 0,
    "profile": False,
}
"""Fields of the config that version 0.1.0 did not begin with."""

_RESULT = {"eval_augment": ""}
"""The same of `result.json`."""


def completed_config(stored: ConfigDict) -> ConfigDict:
    """The config of a run with the fields that its version did not have; `stored` is unchanged."""
    complete = ConfigDict(stored.to_dict())
    for field, value in _CONFIG.items():
        *sections, leaf = field.split(".")
        section = complete
        for name in sections:
            if name not in section:
                section[name] = ConfigDict()
            section = section[name]
            if not isinstance(section, ConfigDict):  # damage, which the check of names will find
                break
        else:
            if leaf not in section:
                section[leaf] = value
    return complete


def completed_result(stored: dict[str, Any]) -> dict[str, Any]:
    """The result of a run with the fields that its version did not have."""
    return _RESULT | stored


def config_fields() -> dict[str, Any]:
    """The fields that earlier configs may lack, with what they then did."""
    return dict(_CONFIG)
