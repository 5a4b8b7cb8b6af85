import argparse
import dataclasses
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from resnet_jax.commands import prepare as command
from resnet_jax.data import spec
from resnet_jax.errors import ConfigError, DataError


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A published CIFAR-10 of 5 + 2 black images, which `spec.get` then describes."""
    path = tmp_path / "archive.tar.gz"
    files = {f"data_batch_{i}.bin": bytes(3073) for i in range(1, 6)}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (files | {"test_batch.bin": bytes(2 * 3073)}).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    content = path.read_bytes()
    cifar10 = spec.get("cifar10")
    published = dataclasses.replace(
        cifar10.archive, size=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    small = dataclasses.replace(cifar10, splits={"train": 5, "test": 2}, archive=published)
    monkeypatch.setattr(spec, "get", lambda name: small)
    return path


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_json_is_all_that_is_on_stdout(archive, tmp_path, capfd):
    assert run("cifar10", "--archive", archive, "--data-dir", tmp_path / "data", "--json") == 0
    answer = json.loads(capfd.readouterr().out)
    assert Path(answer["path"]) == tmp_path / "data" / "cifar10" / "3.0.2"
    assert (Path(answer["path"]) / "dataset_info.json").exists()
    assert answer["splits"] == {"train": 5, "test": 2}
    assert answer["already_prepared"] is False
    assert answer["seconds"] >= 0


def test_people_are_told_where_and_how_many(archive, tmp_path, capfd):
    assert run("cifar10", "--archive", archive, "--data-dir", tmp_path / "data") == 0
    out = capfd.readouterr().out
    assert str(tmp_path / "data" / "cifar10" / "3.0.2") in out
    assert "5 train, 2 test" in out


def test_the_directory_defaults_to_the_environment(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "from_environment"))
    assert run("cifar10", "--archive", archive) == 0
    assert (tmp_path / "from_environment" / "cifar10" / "3.0.2" / "features.json").exists()


def test_the_second_time_says_so(archive, tmp_path, capfd):
    arguments = ("cifar10", "--archive", archive, "--data-dir", tmp_path / "data", "--json")
    run(*arguments)
    capfd.readouterr()
    assert run(*arguments) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["already_prepared"] is True
    assert "already prepared" in captured.err


def test_another_file_is_a_data_error(archive, tmp_path):
    other = tmp_path / "other.tar.gz"
    other.write_bytes(b"something else")
    with pytest.raises(DataError, match="14 bytes instead of"):
        run("cifar10", "--archive", other, "--data-dir", tmp_path / "data")


def test_an_unknown_name_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="imagenet"):
        run("imagenet", "--data-dir", tmp_path)


def test_importing_the_command_imports_neither_tfds_nor_jax():
    script = (
        "import resnet_jax.commands.prepare, sys;"
        "sys.exit('jax' in sys.modules or 'tensorflow_datasets' in sys.modules)"
    )
    root = Path(spec.__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)
