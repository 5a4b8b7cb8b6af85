import json
import os
from pathlib import Path

import jax
import pytest

from resnet_jax import atomic, earlier, versions
from resnet_jax import config as configs
from resnet_jax import workdir as files
from resnet_jax.errors import WorkdirError

RESULT = {
    "test_accuracy": 0.5,
    "test_loss": 1.0,
    "test_examples": 360,
    "step": 8,
    "seed": 0,
    "parameters": 10,
    "state_sha256": "0" * 64,
    "seconds": 1.5,
    "images_per_second": None,
    "eval_augment": "flip",
}
ANOTHER = {
    bool: lambda v: not v,
    int: lambda v: v + 1,
    float: lambda v: v + 0.01,
    str: lambda v: v + " ",
    tuple: lambda v: (*v, *(v[-1:] or ("x",))),
    type(None): lambda v: 5,
}


def refusal(call, *arguments) -> str:
    """The message of a WorkdirError: two lines at most."""
    with pytest.raises(WorkdirError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert 1 <= len(text.splitlines()) <= 2
    return text


class TestDefaultPath:
    @pytest.mark.parametrize(
        ("path", "arguments", "seed", "name"),
        [
            ("configs/cifar10_resnet.py", None, 0, "cifar10_resnet-s0"),
            ("/abs/my.net.py", "", 3, "my.net-s3"),
            ("c.py", "depth=56,recipe=paper", 1, "c-depth=56,recipe=paper-s1"),
            ("c.py", "rate=1e-3", 0, "c-rate=1e-3-s0"),
            ("c.py", "dir=/data/x y", 0, "c-dir=_data_x_y-s0"),
            ("c.py", "../../x", 0, "c-.._.._x-s0"),
        ],
    )
    def test_is_one_folder_in_runs(self, path, arguments, seed, name):
        assert files.default_path(path, arguments, seed) == Path("runs") / name

    def test_differs_between_seeds_and_arguments(self):
        paths = {files.default_path("c.py", a, s) for a in (None, "depth=20") for s in (0, 1, 10)}
        assert len(paths) == 6


class TestClaim:
    def test_makes_the_folder_and_writes_the_config(self, tiny_config, tmp_path):
        workdir = tmp_path / "a" / "b ü"
        files.claim(workdir, tiny_config)
        assert os.listdir(workdir) == [files.CONFIG]
        stored = configs.from_json((workdir / files.CONFIG).read_text())
        assert configs.flatten(stored) == configs.flatten(tiny_config)

    def test_takes_an_empty_folder(self, tiny_config, tmp_path):
        files.claim(tmp_path, tiny_config)
        assert (tmp_path / files.CONFIG).exists()

    def test_takes_a_folder_in_which_a_start_was_killed(self, tiny_config, tmp_path):
        (tmp_path / f".{files.CONFIG}.4711.tmp").write_text('{"seed"')
        files.claim(tmp_path, tiny_config)
        files.claim(tmp_path, tiny_config)

    def test_of_the_same_config_changes_nothing(self, tiny_config, tmp_path):
        files.claim(tmp_path, tiny_config)
        before = (tmp_path / files.CONFIG).stat()
        files.claim(tmp_path, tiny_config)
        assert (tmp_path / files.CONFIG).stat() == before

    def test_of_another_config_names_the_fields_that_differ_and_both_values(
        self, tiny_config, tmp_path
    ):
        files.claim(tmp_path, tiny_config)
        before = (tmp_path / files.CONFIG).read_text()
        tiny_config.seed = 3
        tiny_config.model.after = ""
        text = refusal(files.claim, tmp_path, tiny_config)
        assert "seed: 0 there, 3 now" in text
        assert "model.after: None there, '' now" in text
        assert "learning_rate" not in text
        assert "--workdir" in text
        assert (tmp_path / files.CONFIG).read_text() == before

    @pytest.mark.parametrize("field", configs.RULES)
    def test_allows_another_value_exactly_where_it_does_not_change_the_result(
        self, tiny_config, tmp_path, field
    ):
        files.claim(tmp_path, tiny_config)
        section, _, leaf = field.rpartition(".")
        part = tiny_config[section] if section else tiny_config
        with tiny_config.ignore_type():
            part[leaf] = ANOTHER[type(part[leaf])](part[leaf])
        free = {
            "eval_batch_size",
            "conv_backend",
            "profile",
            "probe.every",
            "tensorboard",
            "data.dir",
            "data.prepare",
            "data.placement",
        }
        if field in free | {"checkpoint.every", "checkpoint.keep"}:
            files.claim(tmp_path, tiny_config)
        else:
            assert field in refusal(files.claim, tmp_path, tiny_config)

    def test_refuses_what_is_no_workdir(self, tiny_config, tmp_path):
        (tmp_path / "precious").write_text("x")
        assert "no workdir of a run" in refusal(files.claim, tmp_path, tiny_config)
        assert "no workdir of a run" in refusal(files.claim, tmp_path / "precious", tiny_config)
        assert os.listdir(tmp_path) == ["precious"]
        assert (tmp_path / "precious").read_text() == "x"

    def test_below_a_file_says_why_it_cannot_write(self, tiny_config, tmp_path):
        # A file as a parent stands for every folder that cannot be made: root may write anywhere.
        (tmp_path / "file").touch()
        for workdir in (tmp_path / "file" / "a", tmp_path / "file" / "a" / "b"):
            text = refusal(files.claim, workdir, tiny_config)
            assert f"cannot write {workdir}" in text
            assert "--workdir" in text
        assert os.listdir(tmp_path) == ["file"]

    def test_with_a_name_that_is_too_long_says_so(self, tiny_config, tmp_path):
        assert "name too long" in refusal(files.claim, tmp_path / ("x" * 300), tiny_config)


class TestReadConfig:
    def test_returns_what_claim_wrote(self, tiny_config, tmp_path):
        files.claim(tmp_path, tiny_config)
        stored = files.read_config(tmp_path)
        assert configs.flatten(stored) == configs.flatten(tiny_config)
        assert type(stored.model.stage_widths) is tuple

    def test_of_something_else_says_that_it_is_no_workdir(self, tmp_path):
        (tmp_path / "file").touch()
        for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
            assert f"{path} has no config.json" in refusal(files.read_config, path)

    @pytest.mark.parametrize(
        "content",
        [b"", b"null", b"[]", b"{", b"\xff\xfe\x00", b"\0" * 100, b'{"a.b": 1}', b'{"lock": 1}'],
    )
    def test_of_a_damaged_file_names_it(self, tmp_path, content):
        (tmp_path / files.CONFIG).write_bytes(content)
        text = refusal(files.read_config, tmp_path)
        assert f"{tmp_path / files.CONFIG} is damaged" in text

    @pytest.mark.parametrize("length", [1, 50, 400, -3])
    def test_of_a_file_that_was_cut_off_names_it(self, tiny_config, tmp_path, length):
        text = configs.to_json(tiny_config)
        (tmp_path / files.CONFIG).write_text(text[:length])
        assert "is damaged" in refusal(files.read_config, tmp_path)

    @pytest.mark.parametrize("field", configs.RULES)
    def test_with_a_field_missing_or_added_or_wrong_names_it(self, tiny_config, tmp_path, field):
        section, _, leaf = field.rpartition(".")
        for change in ("missing", "added", "wrong"):
            values = tiny_config.to_dict()
            part = values[section] if section else values
            if change == "missing":
                if field in earlier.config_fields():  # an earlier version did not have it
                    continue
                del part[leaf]
            elif change == "added":
                part[f"{leaf}_x"] = 1
            else:
                part[leaf] = {"x": 1}
            (tmp_path / files.CONFIG).write_text(json.dumps(values))
            text = refusal(files.read_config, tmp_path)
            assert field in text
            assert str(tmp_path / files.CONFIG) in text
        refusal(files.claim, tmp_path, tiny_config)


class TestReadResult:
    def test_returns_what_was_written(self, tmp_path):
        atomic.write_json(tmp_path / files.RESULT, RESULT)
        assert files.read_result(tmp_path) == RESULT

    def test_of_an_unfinished_run_is_none(self, tmp_path):
        (tmp_path / "file").touch()
        for path in (tmp_path, tmp_path / "nothing", tmp_path / "file", tmp_path / ("x" * 300)):
            assert files.read_result(path) is None

    @pytest.mark.parametrize("content", ["", "null", "5", "[]", "{}", '{"test_accuracy": 1}', "{"])
    def test_of_a_damaged_file_says_what_to_do(self, tmp_path, content):
        (tmp_path / files.RESULT).write_text(content)
        text = refusal(files.read_result, tmp_path)
        assert f"{tmp_path / files.RESULT} is damaged" in text
        assert "delete it" in text

    def test_of_a_version_without_views_had_none(self, tmp_path):
        old = {field: value for field, value in RESULT.items() if field != "eval_augment"}
        atomic.write_json(tmp_path / files.RESULT, old)
        assert files.read_result(tmp_path) == old | {"eval_augment": ""}

    def test_names_every_field_that_a_result_lacks(self, tmp_path):
        for field in RESULT.keys() - {"eval_augment"}:
            atomic.write_json(
                tmp_path / files.RESULT, {k: v for k, v in RESULT.items() if k != field}
            )
            refusal(files.read_result, tmp_path)


class TestWriteAtomically:
    def test_replaces_the_whole_file_and_leaves_nothing_beside_it(self, tmp_path):
        for text in ("a long first text\n", "x"):
            atomic.write(tmp_path / "new" / "file", text)
            assert (tmp_path / "new" / "file").read_text() == text
        assert os.listdir(tmp_path / "new") == ["file"]

    def test_that_fails_keeps_the_old_content(self, tmp_path, monkeypatch):
        atomic.write(tmp_path / "file", "old")

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        text = refusal(atomic.write, tmp_path / "file", "new")
        assert "No space left on device" in text
        assert (tmp_path / "file").read_text() == "old"
        assert os.listdir(tmp_path) == ["file"]


class TestVersions:
    def test_name_packages_devices_and_code(self):
        found = versions.current(jax.devices())
        assert set(found["packages"]) == set(versions.PACKAGES)
        assert found["packages"]["jax"] == jax.__version__
        assert found["device_count"] == 8
        assert found["platform"] == "cpu"
        json.dumps(found)

    def test_know_the_commit_of_a_repository(self):
        found = versions.current(jax.devices())
        if (Path(files.__file__).parents[1] / ".git").exists():
            assert len(found["git_commit"]) == 40
            assert type(found["git_clean"]) is bool

    def test_are_null_where_git_is_missing(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        found = versions.current(jax.devices())
        assert (found["git_commit"], found["git_clean"]) == (None, None)
