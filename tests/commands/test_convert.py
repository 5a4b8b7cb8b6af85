"""`convert`: from a file to a workdir that `evaluate` reads, back to a file, and what it refuses."""

import argparse
import json
import os
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from resnet_jax import checkpoint, plan, step, train, versions
from resnet_jax import workdir as files
from resnet_jax.__main__ import parse
from resnet_jax.commands import convert as command
from resnet_jax.commands import evaluate
from resnet_jax.convert import safetensors_file, weights_file
from resnet_jax.data import source, spec
from resnet_jax.errors import ConfigError, DataError, WorkdirError
from tests.convert.conftest import fixture_file

DATA = Path(os.environ.get("TFDS_DATA_DIR", "/nowhere"))
WEIGHTS = Path(os.environ.get("RESNET_JAX_WEIGHTS", "/nowhere"))


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def convert(name: str, target: Path, *more) -> Path:
    assert run(fixture_file(name), "--to", target, *more) == 0
    return target


def variables(workdir: Path) -> dict:
    config = files.read_config(workdir)
    dataset = versions.dataset(workdir, config)
    run = plan.make(config, jax.devices()[:1], dataset)
    shapes = step.state_shapes(run.recipe, dataset.image_shape)
    return checkpoint.read(workdir, shapes, "latest").evaluated()


@pytest.fixture(scope="module")
def cifar(tmp_path_factory) -> Path:
    return convert("cifar_a", tmp_path_factory.mktemp("converted") / "cifar")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Path:
    return convert("hugging_face_bottleneck", tmp_path_factory.mktemp("converted") / "hf")


def test_a_cifar_network_becomes_a_workdir_of_cifar10(cifar):
    assert sorted(path.name for path in cifar.iterdir()) == [
        "checkpoints",
        "config.json",
        "versions.json",
    ]
    config = files.read_config(cifar)
    assert (config.data.name, config.model.projection) == ("cifar10", "A")
    dataset = versions.dataset(cifar, config)
    assert (dataset.mean, dataset.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert dataset.image_shape == (32, 32, 3)
    where = versions.read(cifar)["converted"]
    assert where["file"] == "cifar_a.th"
    assert where["sha256"] == weights_file.read(fixture_file("cifar_a")).sha256


def test_evaluate_reads_the_workdir(cifar, monkeypatch):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    examples = source.Examples(images, random.integers(0, 10, 20).astype(np.int32))
    monkeypatch.setattr(source, "check", lambda dataset, where: None)
    monkeypatch.setattr(source, "load", lambda dataset, split, where: examples)
    found = evaluate.evaluate(cifar)
    assert (found["examples"], found["step"]) == (20, 0)
    assert np.isfinite(found["loss"])


def test_a_network_without_a_data_set_says_so(imagenet, capfd):
    config = files.read_config(imagenet)
    assert config.data.name == spec.NONE
    dataset = versions.dataset(imagenet, config)
    assert (dataset.num_classes, dataset.image_shape) == (7, (224, 224, 3))
    with pytest.raises(DataError, match="no data set") as caught:
        evaluate.evaluate(imagenet)
    assert len(str(caught.value).splitlines()) == 2


def test_a_run_does_not_continue_in_a_converted_workdir(cifar):
    with pytest.raises(WorkdirError, match="converted weights"):
        files.check_claim(cifar, files.read_config(cifar))


def test_no_run_begins_without_a_data_set(tiny_config, tmp_path):
    tiny_config.data.name = spec.NONE
    tiny_config.augment = ""
    with pytest.raises(DataError, match="no data set"):
        train.train_and_evaluate(tiny_config, tmp_path / "run", jax.devices()[:1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["cifar", "imagenet"])
def test_back_to_pytorchs_names_and_again_is_exact_to_the_bit(name, request, tmp_path):
    workdir = request.getfixturevalue(name)
    original = "cifar_a" if name == "cifar" else "hugging_face_bottleneck"
    file = tmp_path / "new" / "net.safetensors"
    assert run(workdir, "--to", file) == 0
    written, expected = (weights_file.read(f).tensors for f in (file, fixture_file(original)))
    assert written.keys() == expected.keys()
    for key in expected:
        if not key.endswith("num_batches_tracked"):
            assert written[key].tobytes() == expected[key].tobytes()
    assert run(file, "--to", tmp_path / "again") == 0
    again = variables(tmp_path / "again")
    assert jax.tree.all(jax.tree.map(np.array_equal, variables(workdir), again))


def test_preprocessing_travels_with_the_weights(tmp_path, capfd):
    given = ("--mean", "0.5,0.4,0.3", "--std", "0.2,0.25,0.3", "--size", "48")
    first = convert("torchvision_basic", tmp_path / "a", *given)
    assert run(first, "--to", tmp_path / "b.safetensors") == 0
    assert run(tmp_path / "b.safetensors", "--to", tmp_path / "c", "--json") == 0
    answer = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (answer["mean"], answer["std"], answer["size"]) == (
        [0.5, 0.4, 0.3],
        [0.2, 0.25, 0.3],
        48,
    )
    for workdir in (first, tmp_path / "c"):
        dataset = versions.dataset(workdir, files.read_config(workdir))
        assert dataset.mean == (0.5, 0.4, 0.3)
        assert dataset.std == (0.2, 0.25, 0.3)
        assert dataset.image_shape == (48, 48, 3)


def test_the_size_that_a_file_holds_is_what_the_network_sees(tmp_path):
    first = convert("cifar_a", tmp_path / "a")
    config = json.loads((first / files.CONFIG).read_text())
    config["data"]["resize"] = 64
    (first / files.CONFIG).write_text(json.dumps(config))
    assert run(first, "--to", tmp_path / "b.safetensors") == 0
    assert run(tmp_path / "b.safetensors", "--to", tmp_path / "c") == 0
    stored = files.read_config(tmp_path / "c")
    assert (stored.data.name, stored.data.resize) == ("cifar10", 64)


def test_the_averages_of_a_run_are_written_and_its_preprocessing(tmp_path, tiny_config):
    tiny_config.ema_decay = 0.9
    made = plan.make(tiny_config, jax.devices()[:1])
    state = step.init_state(made.recipe, 0, made.dataset.image_shape)
    state = state.replace(ema=jax.tree.map(lambda x: x + 1, state.ema), step=state.step + 2)
    workdir, file, again = (tmp_path / name for name in ("run", "net.safetensors", "again"))
    files.claim(workdir, tiny_config)
    checkpoints = checkpoint.Checkpoints(workdir)
    checkpoints.save(state, {})
    checkpoints.close()
    assert run(workdir, "--to", file) == 0
    assert safetensors_file.read(file)[0]["bn1.num_batches_tracked"] == 2
    assert run(file, "--to", again, "--data", "digits") == 0
    assert jax.tree.all(jax.tree.map(np.array_equal, state.ema, variables(again)))
    dataset = versions.dataset(again, files.read_config(again))
    assert dataset == made.dataset


def test_an_existing_target_is_refused_and_left_alone(cifar, tmp_path):
    for target in (tmp_path / "file.safetensors", tmp_path / "folder"):
        target.mkdir() if target.name == "folder" else target.write_text("mine")
        for start in (fixture_file("cifar_a"), cifar):
            if start == cifar and target.name == "folder":
                continue
            with pytest.raises(WorkdirError, match="exists"):
                run(start, "--to", target)
    assert (tmp_path / "file.safetensors").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ([], ConfigError, "--to is missing"),
        (["--to", "OUT", "--layout", "keras"], ConfigError, "cifar, torchvision, hugging_face"),
        (["--to", "OUT", "--layout", "hugging_face"], DataError, "is missing"),
        (["--to", "OUT", "--stem", "conv(3"], ConfigError, "--stem"),
        (["--to", "OUT", "--stem", "norm act"], DataError, "conv1.weight"),
        (["--to", "OUT", "--stride-on", "last"], ConfigError, "3x3 or first"),
        (["--to", "OUT", "--mean", "0.5,0.5,0.5"], ConfigError, "belong together"),
        (["--to", "OUT", "--mean", "125,1,1", "--std", "1,1,1"], ConfigError, "divide it by 255"),
        (["--to", "OUT", "--mean", "0,0,0", "--std", "0,1,1"], ConfigError, "--std holds 0"),
        (["--to", "OUT", "--mean", "0.5", "--std", "0.5"], ConfigError, "3 channels"),
        (["--to", "OUT", "--mean", "nan,0,0", "--std", "1,1,1"], ConfigError, "0..1"),
        (["--to", "OUT", "--data", "digits"], ConfigError, "leave --data out"),
        (["--to", "OUT", "--data", "mnist"], ConfigError, "no data set"),
        (["--to", "OUT", "--size", "0"], ConfigError, "--size 0"),
        (["--to", "OUT", "--size", "64"], ConfigError, "leave --size out"),
        (["--to", "OUT", "--step", "3"], ConfigError, "--step is for a workdir"),
    ],
)  # fmt: skip
def test_mistakes_are_named_and_write_nothing(arguments, error, named, tmp_path):
    arguments = [tmp_path / "out" if word == "OUT" else word for word in arguments]
    with pytest.raises(error) as caught:
        run(fixture_file("cifar_a"), *arguments)
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (["--to", "net.pth"], ConfigError, "NAME.safetensors"),
        (["--to", "net.safetensors", "--mean", "0,0,0", "--std", "1,1,1"], ConfigError, "--mean"),
        (["--to", "net.safetensors", "--layout", "torchvision"], ConfigError, "cannot express"),
        (["--to", "net.safetensors", "--step", "7"], WorkdirError, "no checkpoint of step 7"),
    ],
)  # fmt: skip
def test_mistakes_about_a_workdir_are_named_too(arguments, error, named, cifar, tmp_path):
    arguments[1] = tmp_path / arguments[1]
    with pytest.raises(error, match=named) as caught:
        run(cifar, *arguments)
    assert len(str(caught.value).splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WorkdirError, match=r"no config\.json"):
        run(tmp_path, "--to", tmp_path / "net.safetensors")


def test_a_list_of_numbers_that_is_none_is_explained():
    with pytest.raises(ConfigError, match=r"expected numbers such as 0\.5,0\.5,0\.5"):
        parse(["convert", "x", "--to", "y", "--mean", "grey"])


def test_bad_files_write_nothing(tmp_path):
    names = ("a.pth", "b.th", "c.safetensors", "d.pth")
    html, cut, vgg, harmful = (tmp_path / name for name in names)
    with zipfile.ZipFile(harmful, "w") as archive:
        archive.writestr("net/data.pkl", f"cposix\nsystem\n(S'touch {tmp_path}/ran'\ntR.")
    html.write_text("<!DOCTYPE html>")
    cut.write_bytes(fixture_file("cifar_a").read_bytes()[:9000])
    vgg.write_bytes(safetensors_file.encode({"features.0.weight": np.ones((2, 3, 3, 3), "f4")}, {}))
    for path in (html, cut, vgg, harmful, tmp_path / "missing.pth"):
        with pytest.raises(DataError) as caught:
            run(path, "--to", tmp_path / "new" / "out")
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 2
    assert sorted(tmp_path.iterdir()) == [html, cut, vgg, harmful]


def test_a_disk_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise WorkdirError("disk full")

    monkeypatch.setattr(checkpoint.Checkpoints, "save", full)
    with pytest.raises(WorkdirError, match="disk full"):
        run(fixture_file("cifar_a"), "--to", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(WorkdirError, match="cannot write"):
        run(fixture_file("cifar_a"), "--to", tmp_path / "file" / "out")


@pytest.mark.skipif(
    not (WEIGHTS / "resnet20-cifar10.th").exists() or not (DATA / "cifar10").is_dir(),
    reason="needs RESNET_JAX_WEIGHTS and TFDS_DATA_DIR",
)
def test_the_published_resnet20_scores_what_it_scores_in_pytorch(tmp_path):
    """91.73% on CIFAR-10's test split is what the same file scores in PyTorch."""
    assert run(WEIGHTS / "resnet20-cifar10.th", "--to", tmp_path / "run") == 0
    found = evaluate.evaluate(tmp_path / "run")
    assert found["examples"] == 10_000
    assert found["accuracy"] == pytest.approx(0.9173, abs=1e-9)
    assert found["parameters"] == 269_722
