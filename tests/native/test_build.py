"""The C++ test program, and what may go wrong between the sources and a loaded library."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_jax.__main__ import _Parser
from resnet_jax.commands import build_kernels
from resnet_jax.errors import UserError
from resnet_jax.native import build

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("kernels_test.cc")
CPU_FLAGS = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def compile_by(tmp_path_factory, kernels, monkeypatch):
    """Sets a compiler that does a shell command; by default it copies the library built before."""
    path = tmp_path_factory.mktemp("compiler") / "quick-g++"
    monkeypatch.setenv("CXX", str(path))

    def write(action=f"cp {kernels.path} $last", version="1.0"):
        answer = f'[ "$1" = --version ] && echo "quick {version}" && exit'
        path.write_text(f"#!/bin/sh\n{answer}\nfor last; do true; done\n{action}\n")
        path.chmod(0o755)

    write()
    return write


def compiler():
    found = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    return found or pytest.skip("no C++ compiler")


def run_program(tmp_path, *flags):
    """Compiles and runs the C++ test program; returns what it prints."""
    program = tmp_path / "kernels_test"
    include = Path(build.__file__).parent
    command = [compiler(), "-std=c++17", "-pthread", "-ffp-contract=fast", f"-I{include}", *flags]
    subprocess.run([*command, str(PROGRAM), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_program_under_sanitizers(tmp_path):
    probe = tmp_path / "probe.cc"
    probe.write_text("int main() {}")
    works = [compiler(), *SANITIZERS, str(probe), "-o", str(tmp_path / "probe")]
    if subprocess.run(works, capture_output=True).returncode:
        pytest.skip("the compiler has no AddressSanitizer")
    assert "ok" in run_program(tmp_path, *SANITIZERS, "-march=native")


@pytest.mark.parametrize(
    ("needed", "flags", "lanes"),
    [
        (" avx512f", ("-march=native",), 16),
        (" avx2", ("-march=native", "-mavx2", "-mno-avx512f"), 8),
        (" sse2", ("-march=x86-64",), 4),
        ("asimd", ("-march=native",), 4),
    ],
)
def test_program_with_every_vector_unit(tmp_path, needed, flags, lanes):
    if needed not in CPU_FLAGS:
        pytest.skip(f"this CPU has no{needed}")
    assert f"vectors of {lanes}" in run_program(tmp_path, "-O2", *flags)


def test_the_second_time_nothing_is_compiled(cache, compile_by):
    first, second = build.load(), build.load()
    assert first.seconds is not None
    assert second.seconds is None
    assert first.path == second.path
    assert [path.name for path in first.path.parent.iterdir()] == [first.path.name]


def test_another_compiler_builds_anew(cache, compile_by):
    first = build.load()
    compile_by(version="1.1")
    assert build.load().path.parent != first.path.parent


def test_a_damaged_library_is_built_again(cache, compile_by):
    path = build.load().path
    content = path.read_bytes()
    # Written elsewhere first: the file itself is mapped into this process.
    damaged = path.with_suffix(".damaged")
    damaged.write_bytes(content[: len(content) // 2])
    damaged.replace(path)
    again = build.load()
    assert again.seconds is not None
    assert again.path.read_bytes() == content


def test_two_processes_build_at_once(cache, kernels, compile_by):
    compile_by(f"sleep 1; cp {kernels.path} $last")
    script = (
        "from resnet_jax.native import build; built = build.load();"
        "print(built.path, built.seconds is not None, built.lanes)"
    )
    command = [sys.executable, "-c", script]
    pair = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    answers = [process.communicate()[0].split() for process in pair]
    assert answers[0] == answers[1]
    assert answers[0][1:] == ["True", str(kernels.lanes)]
    assert [str(path) for path in Path(answers[0][0]).parent.iterdir()] == [answers[0][0]]


def test_no_compiler_is_a_reason(cache, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(cache))
    assert "no C++ compiler; install" in build.load().reason
    monkeypatch.setenv("CXX", "icpx -O1")
    assert "no C++ compiler 'icpx', which CXX names" in build.load().reason


def test_a_compile_error_is_a_reason(cache, monkeypatch):
    monkeypatch.setenv("CXX", f"{compiler()} --no-such-option")
    reason = build.load().reason
    assert "no-such-option" in reason
    assert "\n" not in reason


def test_an_unwritable_cache_is_a_reason(cache, compile_by, monkeypatch):
    occupied = cache / "a file"
    occupied.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(occupied))
    assert "NotADirectoryError" in build.load().reason


def test_what_is_no_library_is_a_reason(cache, compile_by):
    compile_by("echo no library > $last")
    assert "OSError" in build.load().reason


def test_wrong_numbers_are_a_reason(cache, compile_by, monkeypatch):
    original = build.np.einsum
    monkeypatch.setattr(build.np, "einsum", lambda *args: original(*args) * 1.001)
    assert "compute wrong numbers" in build.load().reason


def test_an_unknown_platform_is_a_reason(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert "not win32" in build.load().reason


def test_loading_does_not_import_jax(kernels):
    script = (
        "from resnet_jax.native import build; import sys; build.load();"
        "sys.exit('jax' in sys.modules)"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(kernels.path.parents[3])}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, env=environment)


def command(*arguments):
    parser = _Parser()
    build_kernels.add_arguments(parser)
    return build_kernels.run(parser.parse_args(arguments))


def test_the_command_says_where_and_how(cache, compile_by, kernels, capsys):
    assert command("--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert Path(answer["path"]).is_file()
    assert answer["lanes"] == kernels.lanes
    assert answer["already_built"] is False
    assert command() == 0
    assert f"vectors of {kernels.lanes} floats, was there already" in capsys.readouterr().out


def test_the_command_fails_with_the_reason(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler"):
        command()
