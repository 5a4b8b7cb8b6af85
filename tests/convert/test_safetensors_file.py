"""Reading and writing safetensors files, and refusing what contradicts its own header."""

import json
import struct

import numpy as np
import pytest

from resnet_jax.convert import safetensors_file
from resnet_jax.errors import DataError
from tests.convert.conftest import fixture_file

FOUR = np.arange(4, dtype="<f4").tobytes()


def write(path, header, data: bytes = FOUR, length: int | None = None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype="F32", shape=(2, 2), offsets=(0, 16)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_what_is_written_is_read_to_the_bit(tmp_path):
    tensors = {
        "b": np.random.default_rng(0).normal(size=(3, 2, 1)).astype(np.float32),
        "a.count": np.array(5, np.int64),
        "empty": np.zeros((0, 4), np.float32),
        "view": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    }
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_file.encode(tensors, {"format": "pt", "size": "32"}))
    found, metadata = safetensors_file.read(path)
    assert metadata == {"format": "pt", "size": "32"}
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert found[key].dtype == tensor.dtype
        assert np.array_equal(found[key], tensor)
    assert safetensors_file.encode(found, metadata) == path.read_bytes()


def test_a_file_of_another_writer_is_read(tmp_path):
    header = {"x": entry(), "y": entry("BF16", (2,), (16, 20)), "z": entry("F16", (1,), (20, 22))}
    data = FOUR + b"\xc0\x3f\x40\xc0" + np.float16(0.5).tobytes()  # 1.5 and -3 in bfloat16
    found, metadata = safetensors_file.read(write(tmp_path / "x", header, data))
    assert metadata == {}
    assert found["x"].tolist() == [[0, 1], [2, 3]]
    assert found["y"].dtype == np.float32
    assert found["y"].tolist() == [1.5, -3]
    assert found["z"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"x": entry(offsets=(0, 12))}, "x should be at 0 to 12 of 16 bytes"),
        ({"x": entry(shape=(2, 3), offsets=(0, 24))}, "of 16 bytes"),
        ({"x": entry(shape=(2,), offsets=(0, 8))}, "are not the 8 of the header"),
        ({"x": entry(shape=(2,), offsets=(8, 16))}, "16 bytes"),
        ({"x": entry(), "y": entry()}, "16 bytes"),
        ({"x": entry(shape=(-2, -2))}, "has the shape"),
        ({"x": entry(offsets=(-16, 0))}, "-16 to 0"),
        ({"x": entry(dtype="F8_E4M3")}, "of the dtype F8_E4M3"),
        ({"x": {"dtype": "F32"}}, "shape"),
        ({"x": 3}, "damaged"),
        ({"x": entry(), "__metadata__": {"a": 1}}, "not text"),
        (b'{"x": 1, "x": 2}', "twice"),
        (b"[1]", "damaged"),
        (b"{nonsense", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"\xff\xfe", "damaged"),
    ],
)
def test_a_header_that_contradicts_the_data_is_refused(header, named, tmp_path):
    path = write(tmp_path / "x", header)
    with pytest.raises(DataError, match=named) as caught:
        safetensors_file.read(path)
    assert len(str(caught.value).splitlines()) == 2


def test_every_truncation_is_refused(tmp_path):
    content = fixture_file("torchvision_basic").read_bytes()
    path = tmp_path / "x"
    for length in [0, 7, 8, 9, *range(100, len(content), 1500), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="damaged or incomplete"):
            safetensors_file.read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(DataError, match="bytes of data"):
        safetensors_file.read(path)
