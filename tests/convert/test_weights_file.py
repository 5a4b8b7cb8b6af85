"""Finding the state dict in whatever was downloaded."""

import hashlib
import json
import pickle

import numpy as np
import pytest

from resnet_jax.convert import safetensors_file, torch_file, weights_file
from resnet_jax.errors import DataError
from tests.convert.conftest import fixture_file


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        weights_file.read(path)
    assert len(str(caught.value).splitlines()) == 2
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_prefixes_and_wrappers_are_taken_off(monkeypatch):
    weights = weights_file.read(fixture_file("cifar_a"))
    assert "conv1.weight" in weights.tensors
    assert weights.sha256 == hashlib.sha256(fixture_file("cifar_a").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {}, "lr": 0.1}},
        lambda state: {"state_dict_ema": state, "state_dict": {**state, "fc.bias": state["fc.bias"] + 1}},
        lambda state: {"anything": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
    ],
)  # fmt: skip
def test_a_state_dict_is_found_where_programs_put_it(wrap, monkeypatch):
    state = {"conv1.weight": np.ones((1, 1, 3, 3)), "fc.bias": np.zeros(2)}
    monkeypatch.setattr(torch_file, "read", lambda path: wrap(state))
    found = weights_file.read(fixture_file("cifar_b")).tensors
    assert found.keys() == state.keys()
    assert np.array_equal(found["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize(
    "loaded", [{}, [np.zeros(3)], np.zeros(3), {"a": 1}, {"a": np.zeros(2), "b": 3}, {1: np.ones(1)}]
)  # fmt: skip
def test_what_is_no_state_dict_is_refused(loaded, monkeypatch):
    monkeypatch.setattr(torch_file, "read", lambda path: loaded)
    assert "torch.save(model.state_dict(), FILE)" in refusal(fixture_file("cifar_b"))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        (b"\n  <html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00" + bytes(50), "compressed"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
        (b"", "not written by torch.save"),
        (b"PK", "not written by torch.save"),
        (bytes(100), "not written by torch.save"),
        (pickle.dumps({"a": 1}), "not written by torch.save"),
        (b"PK\x03\x04" + bytes(100), "damaged or incomplete"),
    ],
)
def test_other_files_are_named_for_what_they_are(content, named, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert named in refusal(path)


def test_no_file_and_a_directory_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "nothing.pth")
    assert "Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_file.encode({"fc.bias": np.float32([1, bad])}, {}))
    assert "fc.bias holds NaN or infinity" in refusal(path)


def test_preprocessing_is_read_only_where_it_makes_sense():
    good = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "size": 32}
    read = weights_file.stored_preprocessing
    assert read({"resnet_jax": json.dumps(good)}) == {
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.2, 0.2),
        "size": 32,
    }
    spoiled = [good | {"std": [0, 0, 0]}, good | {"size": -1}, good | {"mean": "x"}, {}, 3]
    for metadata in ({}, {"resnet_jax": "{"}, *({"resnet_jax": json.dumps(s)} for s in spoiled)):
        assert read(metadata) == {}
