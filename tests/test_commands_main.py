"""`python -m resnet_jax`: finding, explaining and refusing commands."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_jax import __main__ as program
from resnet_jax.errors import ConfigError

COMMANDS = Path(program.commands.__path__[0])
ROOT = COMMANDS.parents[1]
NAMES = sorted(
    path.stem.replace("_", "-") for path in COMMANDS.glob("*.py") if path.stem != "__init__"
)


def refusal(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        program.parse(arguments)
    text = str(caught.value)
    assert 1 <= len(text.splitlines()) <= 2
    return text


def help_of(*arguments: str, capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        program.parse(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_in_one_line(arguments, capsys):
    lines = [line.split() for line in help_of(*arguments, capsys=capsys).splitlines()]
    listed = {words[0]: words[1:] for words in lines if words and words[0] in NAMES}
    assert sorted(listed) == NAMES
    assert all(len(words) >= 4 for words in listed.values())


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command_is_its_docstring_and_its_arguments(name, capsys):
    text = help_of(name, "--help", capsys=capsys)
    docstring = ast.get_docstring(
        ast.parse((COMMANDS / f"{name.replace('-', '_')}.py").read_text())
    )
    assert docstring in text
    assert f"python -m resnet_jax {name}" in docstring
    assert "usage: " in text


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_argument_is_refused_with_the_usage_on_one_line(name):
    for arguments in (["--no-such-flag"], ["x", "--no-such-flag=1"]):
        text = refusal(name, *arguments)
        assert text.splitlines()[1].startswith(f"usage: python -m resnet_jax {name} ")
    assert "--no-such-flag" in refusal(name, "x", "--no-such-flag")


@pytest.mark.parametrize("name", NAMES)
def test_flags_are_not_abbreviated(name):
    assert "--hel" in refusal(name, "x", "--hel")


def test_an_unknown_command_is_answered_with_the_nearest_or_all():
    assert refusal("evalute") == "no command 'evalute'; did you mean evaluate?"
    assert refusal("xyz") == f"no command 'xyz'; the commands are: {', '.join(NAMES)}"
    assert "no command '../config'" in refusal("../config")
    assert "COMMAND" in refusal("--json")


def test_a_parsed_command_knows_what_to_run():
    parsed = program.parse(["curves", "a", "b", "--out", "c.png"])
    assert parsed.workdirs == [Path("a"), Path("b")]
    assert parsed.out == Path("c.png")
    assert callable(parsed.run)


def test_help_and_mistakes_need_no_jax_and_end_with_their_codes():
    script = "import sys\nfrom resnet_jax import __main__ as m\n" + (
        "try:\n    m.parse(sys.argv[1:])\nexcept m.ConfigError as e:\n    print(e)\n"
        "except SystemExit:\n    pass\nsys.exit('jax' in sys.modules)\n"
    )
    for arguments in (["--help"], ["evaluate", "--help"], ["nope"]):
        command = [sys.executable, "-c", script, *arguments]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60, stdout=subprocess.DEVNULL)
    command = [sys.executable, "-m", "resnet_jax", "nope"]
    done = subprocess.run(command, cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: no command 'nope'; the commands are: {', '.join(NAMES)}\n"
