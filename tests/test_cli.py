import os
import re
import sys
from pathlib import Path

import pytest

from configs import default
from resnet_jax import cli
from resnet_jax import config as configs
from resnet_jax.errors import (
    ConfigError,
    DataError,
    NonFiniteError,
    Stopped,
    UserError,
    WorkdirError,
)

ROOT = Path(cli.__file__).resolve().parent.parent
CONFIG = str(ROOT / "configs" / "cifar10_resnet.py")
FIELDS = configs.flatten(default.get_config())
TEXTS = [
    f
    for f, rule in configs.RULES.items()
    if rule.expected in ("text", "a directory") or rule.expected.startswith("a workdir")
]
PATTERNS = [
    f for f, rule in configs.RULES.items() if rule.expected.startswith("a tuple of patterns")
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Starts every test in an empty folder, which parsing must leave empty."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == []


def parse(*overrides: str) -> dict:
    return configs.flatten(cli.parse(["--config", CONFIG, *overrides]).config)


def refusal(*arguments: str) -> str:
    """The message of a command line that is wrong: two lines at most, no traceback."""
    with pytest.raises(ConfigError) as caught:
        cli.parse(arguments)
    text = str(caught.value)
    assert 1 <= len(text.splitlines()) <= 2
    return text


class TestConfigFile:
    @pytest.mark.parametrize("form", [[f"--config={CONFIG}"], ["--config", CONFIG]])
    def test_is_named_with_an_equals_sign_or_a_space(self, form):
        assert cli.parse(form).config.model.depth == 20

    def test_arguments_stand_behind_a_colon(self):
        command = cli.parse([f"--config={CONFIG}:depth=56,recipe=paper"])
        assert command.config.model.depth == 56
        assert command.config.optimizer.schedule == "step"
        assert cli.parse([f"--config={CONFIG}:"]).config.model.depth == 20

    def test_may_be_a_relative_path_from_any_folder(self):
        relative = os.path.relpath(CONFIG)
        assert relative.startswith("..")
        assert cli.parse(["--config", relative]).config.model.depth == 20

    def test_of_a_user_may_import_the_projects_configs(self, tmp_path):
        mine = tmp_path / "my net ü.py"
        mine.write_text("from configs.default import get_config\n")
        assert cli.parse(["--config", str(mine)]).workdir == Path("runs/my_net_ü-s0")

    def test_is_required(self):
        for arguments in ([], ["--config="], ["--config=:"], ["--workdir", "x"]):
            text = refusal(*arguments)
            assert "--config configs/default.py" in text
            assert cli.USAGE in text

    def test_that_does_not_exist_is_answered_with_the_nearest_or_all(self, monkeypatch):
        assert "no config file 'nope.py'; there is no configs/ in " in refusal("--config=nope.py")
        monkeypatch.chdir(ROOT)
        for near in ("cifar10_resnt.py", "cifar10_resnet", "config/cifar10_resnet.py"):
            text = refusal(f"--config={near}")
            assert repr(near) in text
            assert "did you mean configs/cifar10_resnet.py?" in text
        assert "configs/cifar10_wide_resnet.py, " in refusal("--config=/")
        assert "no config file" in refusal("--config=configs/")
        assert "no config file" in refusal("--config=README.md")
        assert "no config file" in refusal(f"--config={'x' * 5000}.py")

    @pytest.mark.parametrize(
        ("source", "named"),
        [
            ("def get_config(:\n", "SyntaxError: invalid syntax"),
            ("x = '\0'\n", "SyntaxError"),
            ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
            ("def get_config():\n    return 1 / 0\n", "ZeroDivisionError: division by zero"),
            ("def get_config():\n    raise ValueError('a\\nb\\nc')\n", "ValueError: a"),
            ("def get_config():\n    assert False\n", "AssertionError"),
            ("def get_config():\n    return get_config()\n", "RecursionError"),
            ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
            ("def get_config(a, b):\n    pass\n", "TypeError"),
            ("x = 1\n", "has no function get_config"),
            ("get_config = 5\n", "has no function get_config"),
            ("def get_config():\n    pass\n", "returned NoneType, expected a ConfigDict"),
            ("def get_config():\n    return {'seed': 1}\n", "returned dict"),
            (
                "from configs import default\nfrom ml_collections import FrozenConfigDict\n"
                "def get_config():\n    return FrozenConfigDict(default.get_config())\n",
                "returned FrozenConfigDict",
            ),
            (
                "from ml_collections import ConfigDict\n"
                "def get_config():\n    return ConfigDict({'seed': 1})\n",
                "the config lacks num_epochs",
            ),
            (
                "from configs import default\n"
                "def get_config():\n    c = default.get_config()\n    c.seed = 'x'\n",
                "TypeError: Could not override field 'seed'",
            ),
            (
                "from configs import default\n"
                "def get_config():\n    c = default.get_config()\n    c.model.dept = 2\n    return c\n",
                "config.model.dept is no field; did you mean model.depth?",
            ),
        ],
    )
    def test_that_is_broken_is_refused_with_the_reason(self, tmp_path, source, named):
        broken = tmp_path / "broken.py"
        broken.write_text(source)
        for overrides in ([], ["--config.seed=1"], ["--config.model.depth=20"]):
            text = refusal(f"--config={broken}", *overrides)
            assert named in text
            assert len(text.splitlines()) == 1

    def test_that_takes_no_arguments_is_given_none(self, tmp_path):
        assert "takes no arguments; leave ':depth=3' out" in refusal(
            f"--config={ROOT}/configs/default.py:depth=3"
        )

    def test_that_is_loaded_leaves_the_search_path_as_it_was(self, tmp_path, monkeypatch):
        broken = tmp_path / "broken.py"
        broken.write_text("x = 1\n")
        before = list(sys.path)
        refusal(f"--config={broken}")
        parse()
        assert sys.path == before


class TestFields:
    @pytest.mark.parametrize(
        ("arguments", "field", "value"),
        [
            (["--config.seed=3"], "seed", 3),
            (["--config.seed", "3"], "seed", 3),
            (["--config.seed=1", "--config.seed=3"], "seed", 3),
            (["--config.num_epochs=5"], "num_epochs", 5.0),
            (["--config.optimizer.learning_rate=1e-2"], "optimizer.learning_rate", 0.01),
            (["--config.num_steps=10"], "num_steps", 10),
            (["--config.num_steps=10", "--config.num_steps=None"], "num_steps", None),
            (["--config.data.dir", "/data/ü b"], "data.dir", "/data/ü b"),
            (["--config.data.dir=None"], "data.dir", None),
            (["--config.tensorboard"], "tensorboard", True),
            (["--config.tensorboard=true"], "tensorboard", True),
            (["--config.tensorboard=1"], "tensorboard", True),
            (["--config.tensorboard", "--config.tensorboard=False"], "tensorboard", False),
            (["--noconfig.optimizer.nesterov"], "optimizer.nesterov", False),
            (["--config.model.stage_widths=(4,8,8)"], "model.stage_widths", (4, 8, 8)),
            (["--config.model.stage_widths", "4, 8, 8"], "model.stage_widths", (4, 8, 8)),
            (["--config.model.stage_sizes=1,2,3"], "model.stage_sizes", (1, 2, 3)),
            (["--config.model.stage_sizes=None"], "model.stage_sizes", None),
            (["--config.optimizer.decayed=.*"], "optimizer.decayed", (".*",)),
            (["--config.model.branch=conv act conv"], "model.branch", "conv act conv"),
            (["--config.model.branch", "conv act conv"], "model.branch", "conv act conv"),
            (["--config.model.after="], "model.after", ""),
            (["--config.model.after", ""], "model.after", ""),
            (["--config.augment=crop(4, reflect) flip"], "augment", "crop(4, reflect) flip"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_are_set_in_every_form(self, arguments, field, value):
        parsed = parse(*arguments)
        assert parsed[field] == value
        assert type(parsed[field]) is type(value)
        before = parse()
        assert {name for name in FIELDS if parsed[name] != before[name]} <= {field}

    def test_may_stand_in_front_of_the_config(self):
        command = cli.parse(["--config.seed", "3", "--workdir=w", "--config", CONFIG])
        assert (command.config.seed, command.workdir) == (3, Path("w"))

    @pytest.mark.parametrize("field", FIELDS)
    def test_mistyped_are_refused_with_their_name(self, field):
        slip = field[:-2] + field[-1]
        for form in ([f"--config.{slip}=1"], [f"--config.{slip}", "1"], [f"--config.{slip}"]):
            assert f"config.{slip} is no field" in refusal("--config", CONFIG, *form)

    @pytest.mark.parametrize("field", [f for f in FIELDS if f not in TEXTS])
    def test_of_another_type_are_refused_with_their_name_and_what_is_expected(self, field):
        value = "a{1,2}" if field in PATTERNS else "{"
        text = refusal("--config", CONFIG, f"--config.{field}={value}")
        assert f"config.{field}=" in text
        assert configs.RULES[field].expected in text

    @pytest.mark.parametrize("value", ["", "a", "1.5", "1.0", "-1", "99999999999", "True", "None"])
    def test_numbers_that_are_no_seed_are_refused(self, value):
        for form in ([f"--config.seed={value}"], ["--config.seed", value]):
            text = refusal("--config", CONFIG, *form)
            assert re.match(r"config\.seed=\S+: expected a whole number", text)

    @pytest.mark.parametrize("field", [f for f in FIELDS if not isinstance(FIELDS[f], bool)])
    def test_without_a_value_are_refused_instead_of_eating_the_next_flag(self, field):
        for rest in ([], ["--config.seed=3"], ["--config", CONFIG]):
            text = refusal("--config", CONFIG, f"--config.{field}", *rest)
            assert f"--config.{field} lacks its value; expected " in text

    @pytest.mark.parametrize(
        "name", ["model", "model.", "", ".seed", "seed.x", "model.to_dict", "__class__", "ünï"]
    )
    def test_that_are_none_are_refused(self, name):
        assert f"config.{name} is no field" in refusal("--config", CONFIG, f"--config.{name}=1")

    def test_only_booleans_are_negated(self):
        assert "--config.seed=VALUE" in refusal("--config", CONFIG, "--noconfig.seed")
        assert "--config.tensorboard=VALUE" in refusal(
            "--config", CONFIG, "--noconfig.tensorboard=1"
        )

    def test_are_validated_together(self):
        text = refusal("--config", CONFIG, "--config.batch_size=100", "--config.accumulation=3")
        assert "config.accumulation=3 does not divide config.batch_size=100" in text


class TestEverythingElse:
    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["config.seed=1"], "stray argument 'config.seed=1'; write --config.seed=1"),
            (["seed=1"], "stray argument 'seed=1'; write --config.seed=1"),
            (["seed"], "stray argument 'seed'; write --config.seed=VALUE"),
            (["--seed=1"], "unknown flag '--seed=1'; write --config.seed=1"),
            (
                ["--model.depth=20"],
                "unknown flag '--model.depth=20'; write --config.model.depth=20",
            ),
            (["-config.seed=1"], "unknown flag '-config.seed=1'; write --config.seed=1"),
            (["---config.seed=1"], "unknown flag '---config.seed=1'; write --config.seed=1"),
            (["--config.seed", "1", "2"], "stray argument '2'"),
            (["--config.tensorboard", "true"], "stray argument 'true'"),
            (["train"], "stray argument 'train'"),
            ([""], "stray argument ''"),
            (["--"], "unknown flag '--'"),
            (["--", "--config.seed=1"], "unknown flag '--'"),
            (["-x"], "unknown flag '-x'"),
            (["--conf=x"], "unknown flag '--conf=x'"),
            (["--work=x"], "unknown flag '--work=x'"),
            (["--flagfile=/etc/hosts"], "unknown flag '--flagfile=/etc/hosts'"),
            (["--undefok=seed"], "unknown flag '--undefok=seed'"),
            (["--helpfull"], "unknown flag '--helpfull'"),
            (["--ünï=1"], "unknown flag '--ünï=1'"),
            (["--workdir"], "argument --workdir: expected one argument"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_is_refused_with_the_usage(self, arguments, named):
        text = refusal("--config", CONFIG, *arguments)
        assert text == f"{named}\nusage: {cli.USAGE}"

    def test_help_lists_the_forms(self, capsys):
        for flag in ("--help", "-h"):
            with pytest.raises(SystemExit) as caught:
                cli.parse([flag])
            assert caught.value.code == 0
            out = capsys.readouterr().out
            assert cli.USAGE in out
            assert "configs/default.py lists every field" in out


PATHS = [("a b/ü", "a b/ü"), ("/x", "/x"), ("~/x", "/home/user/x"), ("~nobody_at_all/x",) * 2]


class TestWorkdir:
    @pytest.mark.parametrize(
        ("arguments", "name"),
        [
            ([f"--config={CONFIG}"], "cifar10_resnet-s0"),
            ([f"--config={CONFIG}", "--config.seed=7"], "cifar10_resnet-s7"),
            ([f"--config={CONFIG}:depth=56"], "cifar10_resnet-depth=56-s0"),
            ([f"--config={CONFIG}:"], "cifar10_resnet-s0"),
        ],
    )
    def test_defaults_to_runs_config_arguments_seed(self, arguments, name):
        assert cli.parse(arguments).workdir == Path("runs") / name

    def test_is_taken_as_given(self, monkeypatch):
        monkeypatch.setenv("HOME", "/home/user")
        for given, path in PATHS:
            assert cli.parse(["--config", CONFIG, "--workdir", given]).workdir == Path(path)

    def test_is_not_empty(self):
        assert "--workdir is empty" in refusal("--config", CONFIG, "--workdir=")


class TestReport:
    @pytest.mark.parametrize(
        ("error", "code"),
        [(ConfigError, 2), (DataError, 3), (WorkdirError, 4), (NonFiniteError, 5)],
    )
    def test_a_users_error_is_its_message_on_stderr_and_its_exit_code(self, capsys, error, code):
        def body():
            raise error("what was wrong;\nwhat to type")

        assert issubclass(error, UserError)
        assert cli.report(body) == code
        captured = capsys.readouterr()
        assert captured.err == "error: what was wrong;\nwhat to type\n"
        assert captured.out == ""

    def test_a_stop_on_request_is_no_error(self, capsys):
        def body():
            raise Stopped("the same command continues")

        assert cli.report(body) == 75
        assert capsys.readouterr().err == "the same command continues\n"

    def test_a_bug_keeps_its_traceback(self):
        def body():
            raise RuntimeError("bug")

        with pytest.raises(RuntimeError, match="bug"):
            cli.report(body)

    def test_the_code_of_the_body_is_passed_on(self):
        assert cli.report(lambda: 0) == 0
