"""A mistake in weights or a teacher writes nothing: the corrected command runs in the same workdir."""

import dataclasses
import shutil

import pytest

from resnet_jax import checkpoint
from resnet_jax.data import spec
from tests.test_main import QUICKSTART, call

TINY = ["--config.batch_size=16", "--config.conv_backend=xla", "--config.num_steps=2"]
TINY.append("--config.model.stage_widths=(4,8,8)")
PHASES = "--config.finetune.phases=(('a',(('num_steps',1),)),('b',()))"
HEAD = "--config.finetune.reinit=('head',)"


@pytest.fixture
def command(monkeypatch, capsys):
    """The program in this process: arguments -> exit code and what it says on stderr."""

    def run(workdir, *arguments):
        words = ["--config", QUICKSTART, *TINY, *arguments, "--workdir", workdir]
        code = call(monkeypatch, *words)
        return code, capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run of two steps."""
    workdir = tmp_path_factory.mktemp("source") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "--config", QUICKSTART, *TINY, "--workdir", workdir) == 0
    return workdir


@pytest.mark.parametrize(
    "mistake",
    [
        ["--config.finetune.reinit=('heads',)"],
        ["--config.model.depth=14"],
        ["--config.finetune.drop=('x',)"],
        ["--config.finetune.reinit=('heads',)", PHASES],
        ["--config.finetune.drop=('x',)", PHASES],
        [HEAD, "--config.finetune.phases=(('a',()),('b',(('finetune.reinit',('heads',)),)))"],
        [HEAD, "--config.finetune.phases=(('a',()),('b',(('model.depth',14),)))"],
    ],
    ids=lambda words: " ".join(words).replace("--config.", ""),
)
def test_weights_that_do_not_fit_take_no_workdir(command, source, tmp_path, mistake):
    start = f"--config.finetune.init_from={source}"
    code, said = command(tmp_path / "w", start, *mistake)
    assert code == 2
    assert len(said.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_another_number_of_classes_names_the_field_and_takes_no_workdir(
    command, source, tmp_path, monkeypatch
):
    digits = spec.get("digits")
    fewer = dataclasses.replace(digits, classes=digits.classes[:4])
    monkeypatch.setattr(spec, "get", lambda name: fewer)
    code, said = command(tmp_path / "w", f"--config.finetune.init_from={source}")
    assert code == 2
    assert "for 10 classes, this one has 4; add --config.finetune.reinit='(\"head\",)'" in said
    assert len(said.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_the_corrected_command_then_runs(command, source, tmp_path):
    start = f"--config.finetune.init_from={source}"
    assert command(tmp_path / "w", start, "--config.finetune.reinit=('heads',)")[0] == 2
    assert command(tmp_path / "w", start, HEAD) == (0, "")
    assert checkpoint.newest(tmp_path / "w") == 2


def _without_arrays(workdir):
    shutil.rmtree(workdir / "checkpoints/2/state")


def _cut(workdir):
    file = max(
        (workdir / "checkpoints/2").rglob("*"), key=lambda f: f.is_file() and f.stat().st_size
    )
    file.write_bytes(file.read_bytes()[:100])


def _empty_metadata(workdir):
    for name in ("_METADATA", "_CHECKPOINT_METADATA"):
        for file in (workdir / "checkpoints/2").rglob(name):
            file.write_text("")


@pytest.mark.parametrize("field", ["init_from", "teacher"])
@pytest.mark.parametrize("damage", [_without_arrays, _cut, _empty_metadata])
def test_a_damaged_checkpoint_is_named_and_nothing_is_written(
    command, source, tmp_path, field, damage
):
    shutil.copytree(source, tmp_path / "first")
    damage(tmp_path / "first")
    code, said = command(tmp_path / "w", f"--config.finetune.{field}={tmp_path / 'first'}")
    assert code == 4
    assert "first/checkpoints/2 could not be read" in said
    assert "NoneType" not in said
    assert len(said.splitlines()) <= 2
    assert not (tmp_path / "w").exists()
