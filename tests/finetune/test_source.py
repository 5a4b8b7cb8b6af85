"""`finetune.init_from`: a workdir, a checkpoint, or a file of PyTorch's, and what is said of it."""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import default
from resnet_jax import checkpoint
from resnet_jax.convert import published
from resnet_jax.finetune import likeness, source
from tests.convert.conftest import fixture_file
from tests.test_main import QUICKSTART, call

FILE = fixture_file("cifar_a")
"""A ResNet of 10 layers, widths 3-4-7, for images in colour."""


@pytest.fixture
def colour(tmp_path):
    """A directory of images in colour, 32 pixels, two classes."""
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "images" / "train" / name
        folder.mkdir(parents=True)
        for i in range(16):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def command(monkeypatch, capsys, colour):
    """The program in this process: arguments -> exit code, what it prints, and its errors."""

    def run(workdir, *arguments):
        words = ["--config", QUICKSTART, "--config.batch_size=8", "--config.num_steps=2"]
        words += ["--config.data.name=folder", f"--config.data.dir={colour}"]
        words += ["--config.data.image_size=32", "--config.conv_backend=xla", "--config.augment="]
        code = call(monkeypatch, *words, *arguments, "--workdir", workdir)
        return code, *capsys.readouterr()

    return run


def structure():
    """The fields of the file's network."""
    read = published.read(FILE, published.Choices()).config.model
    return [
        f"--config.model.{name}={read[name]}"
        for name in ("depth", "stage_widths", "stage_sizes", "projection")
    ]


def test_a_file_is_loaded_as_it_is_frozen_as_asked_and_named_in_the_workdir(command, tmp_path):
    start = f"--config.finetune.init_from={FILE}"
    head = ["--config.finetune.reinit=('head',)", "--config.finetune.freeze=('all_but_head',)"]
    code, shown, said = command(tmp_path / "w", start, *structure(), *head)
    assert (code, said) == (0, "")
    assert "2 fresh (head), 2 of the source dropped (head)" in shown
    theirs = published.read(FILE, published.Choices()).variables
    tuned = checkpoint.read_variables(tmp_path / "w", 2)
    kept = [
        jax.tree.leaves({**tree, "params": {**tree["params"], "head": {}}})
        for tree in (theirs, tuned)
    ]
    assert len(kept[0]) == len(kept[1]) > 20
    assert all(np.array_equal(a, b) for a, b in zip(*kept, strict=True))
    weights = json.loads((tmp_path / "w/parameters.json").read_text())["weights"]
    assert weights["source"] == str(FILE)
    assert weights["arrays_sha256"] == checkpoint.sha256(theirs)
    assert weights["file_sha256"] == hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert "mean (0.485, 0.456, 0.406)" in shown
    assert "by the custom of its layout cifar" in shown
    stored = json.loads((tmp_path / "w/versions.json").read_text())["data"]
    assert stored["mean"] == [0.485, 0.456, 0.406]


def test_a_file_and_the_workdir_made_of_it_are_the_same_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["resnet_jax"])
    from resnet_jax.convert import workdir

    workdir.read_weights(FILE, tmp_path / "w", published.Choices())
    made, file = source.find(str(tmp_path / "w")), source.find(str(FILE))
    assert (made.mean, made.std) == (file.mean, file.std)
    assert (made.size, file.size) == ((32, 32), None)  # of a file without it the size is not known
    assert likeness.notes(file, made.model, (32, 32, 3)) == []
    assert checkpoint.sha256(source.read(made)) == checkpoint.sha256(source.read(file))
    assert (str(made), str(file)) == (f"{tmp_path / 'w'} at step 0", str(FILE))


@pytest.mark.parametrize(
    "case", ["no weights", "cut short", "another network", "missing", "a stem"]
)
def test_a_file_that_does_not_serve_takes_no_workdir(command, tmp_path, case):
    path = tmp_path / "weights.th"
    match case:
        case "no weights":
            path.write_text("<html>")
        case "cut short":
            path.write_bytes(FILE.read_bytes()[:-2000])
        case "another network" | "a stem":
            shutil.copy(FILE, path)
    fields = structure() if case != "another network" else ["--config.model.depth=14"]
    if case == "a stem":
        fields += ["--config.model.stem=imagenet"]
    before = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
    code, _, said = command(tmp_path / "w", f"--config.finetune.init_from={path}", *fields)
    assert "finetune.init_from" in said or str(path) in said
    assert code == {"no weights": 3, "cut short": 3}.get(case, 2)
    assert len(said.splitlines()) <= 2
    assert not (tmp_path / "w").exists()
    assert before == (hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None)


def fields(**changed) -> ConfigDict:
    model = default.get_config().model
    model.update(changed)
    return model


def of(size=(32, 32), **changed) -> source.Source:
    return source.Source(FILE, None, size=size, model=fields(**changed))


def test_other_pixels_and_another_network_are_said():
    assert likeness.notes(of(), fields(), (32, 32, 3)) == []
    (note,) = likeness.notes(of(size=(224, 224)), fields(), (32, 32, 3))
    assert "224x224 pixels, this run has 32x32" in note
    assert "config.data.resize=224" in note
    (note,) = likeness.notes(of(activation="gelu"), fields(), (32, 32, 3))
    assert "model.activation='gelu' there, 'relu' here" in note


def test_a_new_head_is_no_other_network_and_another_one_is():
    hidden = of(head="dense(8) act(gelu)")
    ours = fields(head="dense(8) act(relu)")
    assert likeness.notes(hidden, ours, (32, 32, 3), new_head=True) == []
    (note,) = likeness.notes(hidden, ours, (32, 32, 3))
    assert "model.head='dense(8) act(gelu)' there, 'dense(8) act(relu)' here" in note


@pytest.mark.parametrize(
    "changed",
    [
        {"final": "drop(0.1)", "drop_path": 0.2},
        {"design": "original", "branch": "conv norm act conv norm", "after": "act"},
        {"stem": "cifar"},
        {"stem": "conv norm act"},
        {"weight_standardization": "none"},
        {"shortcut": "drop(0.1)"},
        {"zero_init": True, "remat": True},
        {"combine": "add(1, 1)"},
    ],
    ids=str,
)
def test_other_words_for_the_same_network_are_no_difference(changed):
    assert likeness.notes(of(), fields(**changed), (32, 32, 3)) == []


def test_dropout_behind_pre_activation_is_no_other_network():
    dropped = fields(design="full_preact", final="norm act drop(0.1)")
    assert likeness.notes(of(design="full_preact"), dropped, (32, 32, 3)) == []


def test_code_of_a_stranger_is_not_imported_to_compare():
    notes = likeness.notes(
        of(plugins=("no_such_module",), activation="gelu"), fields(), (32, 32, 3)
    )
    assert "model.activation='gelu' there" in notes[0]


def test_what_is_new_and_frozen_or_new_without_weights_is_said(command, tmp_path):
    start = f"--config.finetune.init_from={FILE}"
    frozen = ["--config.finetune.reinit=('head',)", "--config.finetune.freeze=('batchnorm_only',)"]
    code, shown, _ = command(tmp_path / "a", start, *structure(), *frozen)
    assert code == 0
    assert "note      head: new and frozen" in shown
    code, shown, _ = command(tmp_path / "b", *structure(), "--config.finetune.reinit=('head',)")
    assert code == 0
    assert "config.finetune.reinit without weights" in shown
