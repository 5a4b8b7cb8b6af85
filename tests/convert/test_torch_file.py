"""Reading `torch.save` files: only tensors come out of them, and nothing in them runs."""

import contextlib
import io
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest

from resnet_jax.convert import torch_file
from resnet_jax.errors import DataError
from tests.convert.conftest import fixture_file

FILES = {"zip": "cifar_b", "legacy": "cifar_a"}


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        torch_file.read(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 2
    assert str(path) in text
    return text


def zipped(path, content: bytes, **members: bytes) -> None:
    """A file of `torch.save`, format zip, with this pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", content)
        for name, data in members.items():
            archive.writestr(f"net/data/{name}", data)


def legacy(path, content: bytes) -> None:
    """A file of `torch.save`, older format, with this pickle."""
    parts = (1001, {"little_endian": True})
    with path.open("wb") as file:
        file.write(torch_file.LEGACY_MAGIC)
        for part in parts:
            file.write(pickle.dumps(part, protocol=2))
        file.write(content + pickle.dumps([], protocol=2))


class Call:
    """Pickled, a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_stored_files_hold_what_pytorch_reads_from_them():
    torch = pytest.importorskip("torch")
    for name in FILES.values():
        path = fixture_file(name)
        expected, found = torch.load(path, weights_only=True), torch_file.read(path)
        for tree in (expected, found):
            assert name == "cifar_b" or tree.keys() == {"best", "state_dict"}
        expected, found = (tree.get("state_dict", tree) for tree in (expected, found))
        assert list(expected) == list(found)
        for key in expected:
            assert np.array_equal(expected[key].numpy(), found[key]), key


@pytest.mark.parametrize("zip_format", [False, True])
def test_views_and_other_dtypes_are_read_as_they_look(zip_format, tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0)
    tensors = {
        "transposed": base.reshape(4, 6).T,
        "part": base[5:9],
        "bfloat16": torch.tensor([1.5, -3.0, 2.0**60, 1 / 3]).bfloat16(),
        "float16": base.half(),
        "float64": base.double(),
        "parameter": torch.nn.Parameter(base),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "bool": torch.tensor([True, False]),
    }
    path = tmp_path / "tensors.pt"
    torch.save(tensors, path, _use_new_zipfile_serialization=zip_format)
    for key, found in torch_file.read(path).items():
        expected = tensors[key].detach().to(torch.float64).numpy()
        assert found.shape == expected.shape, key
        assert np.array_equal(found.astype(np.float64), expected), key


@pytest.mark.parametrize("write", [zipped, legacy])
@pytest.mark.parametrize(
    "function",
    [os.system, eval, exec, getattr, __import__, open, pickle.loads, io.open, sys.exit, bytearray],
)
def test_no_function_of_a_pickle_is_called(function, write, tmp_path):
    mark = tmp_path / "it_ran"
    for arguments in ((f"touch {mark}",), (f"open({str(mark)!r}, 'w')",), (str(mark), "w")):
        for protocol in (0, 2, 4):
            harmful = pickle.dumps({"conv1.weight": Call(function, *arguments)}, protocol)
            path = tmp_path / "weights.pth"
            write(path, harmful)
            assert "nothing of it was executed" in refusal(path)
            assert not mark.exists()


def test_a_pickle_cannot_reach_attributes_of_what_it_may_name(tmp_path):
    """`BUILD` sets attributes, and dotted names of protocol 4 would follow them."""
    dotted = b"\x80\x04\x8c\x0ctorch._utils\x8c\x1b_rebuild_tensor.__globals__\x93."
    zipped(tmp_path / "dotted.pth", dotted)
    assert "_rebuild_tensor.__globals__" in refusal(tmp_path / "dotted.pth")
    named = b"ctorch._utils\n_rebuild_tensor\n"
    zipped(tmp_path / "build.pth", b"\x80\x02" + named + b"}U\x01xK\x01sb.")
    torch_file.read(tmp_path / "build.pth")
    assert not hasattr(torch_file._rebuild_tensor, "x")


def test_a_pickled_program_is_refused_with_what_to_save(tmp_path):
    zipped(tmp_path / "model.pth", b"\x80\x02ctorchvision.models.resnet\nResNet\n.")
    text = refusal(tmp_path / "model.pth")
    assert "torchvision.models.resnet.ResNet" in text
    assert "torch.save(model.state_dict(), FILE)" in text


def tensor(count=4, key="0", offset=0, shape=(2, 2), strides=(2, 1), view=()) -> bytes:
    """The pickle of one tensor, with whatever numbers."""

    def part(value) -> bytes:
        return pickle.dumps(value, protocol=2)[2:-1]

    storage = part(("storage", "FloatStorage", key, "cpu", count, *view)) + pickle.BINPERSID
    storage = storage.replace(part("FloatStorage")[:-2], b"ctorch\nFloatStorage\n")
    arguments = storage + b"".join(map(part, (offset, shape, strides)))
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR."


DATA = np.arange(4, dtype="<f4").tobytes()


def test_a_tensor_written_by_hand_is_read(tmp_path):
    zipped(tmp_path / "t.pth", tensor(), **{"0": DATA})
    assert torch_file.read(tmp_path / "t.pth").tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"offset": 1}, "beyond its storage"),
        ({"offset": -1}, "a tensor of the shape"),
        ({"shape": (3, 2)}, "beyond its storage"),
        ({"shape": (2, 2), "strides": (4, 1)}, "beyond its storage"),
        ({"shape": (2, 2), "strides": (-2, 1)}, "a tensor of the shape"),
        ({"shape": (10**9, 10**9), "strides": (0, 0)}, "beyond its storage"),
        ({"shape": (2,)}, "a tensor of the shape"),
        ({"shape": "22"}, "a tensor of the shape"),
        ({"count": 5}, "16 bytes, expected 20"),
        ({"count": -1}, "unknown here"),
        ({"count": 2**62}, "16 bytes"),
        ({"key": "1"}, "net/data/1 is missing"),
        ({"key": "../data.pkl"}, "is missing"),
        ({"view": (("v", 0, 4),)}, "unknown here"),
    ],
)
def test_a_tensor_that_reaches_beyond_its_data_is_refused(numbers, named, tmp_path):
    zipped(tmp_path / "t.pth", tensor(**numbers), **{"0": DATA})
    assert named in refusal(tmp_path / "t.pth")


def test_compressed_members_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", tensor(count=10**6))
        archive.writestr("net/data/0", bytes(4 * 10**6))
    assert "compressed" in refusal(tmp_path / "t.pth")


def test_another_archive_is_no_file_of_torch(tmp_path):
    np.savez(tmp_path / "t.npz", x=np.zeros(3))
    assert "not one of torch.save" in refusal(tmp_path / "t.npz")


@pytest.mark.parametrize("name", FILES.values())
def test_every_truncation_is_refused(name, tmp_path):
    content, path = fixture_file(name).read_bytes(), tmp_path / "cut"
    for length in [*range(20, len(content), len(content) // 40), len(content) - 1]:
        path.write_bytes(content[:length])
        refusal(path)
    if name == "cifar_a":
        path.write_bytes(content + b"\0")
        refusal(path)


@pytest.mark.parametrize("name", FILES.values())
def test_damaged_bytes_give_an_error_or_another_number_but_no_crash(name, tmp_path):
    content, path = fixture_file(name).read_bytes(), tmp_path / "damaged"
    random = np.random.default_rng(0)
    for position in random.integers(len(torch_file.LEGACY_MAGIC), len(content), 150):
        damaged = bytearray(content)
        damaged[position] = random.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):
            torch_file.read(path)
