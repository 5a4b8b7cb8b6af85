import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import logging as absl_logging

from resnet_jax import platform


@pytest.fixture(autouse=True)
def levels():
    """Puts back what `prepare` sets for the logs of the whole process."""
    jax_logger, ours = logging.getLogger("jax._src.xla_bridge"), logging.getLogger("resnet_jax")
    before = jax_logger.level, absl_logging.get_verbosity()
    yield
    jax_logger.setLevel(before[0])
    absl_logging.set_verbosity(before[1])
    ours.handlers, ours.propagate = [], True


def test_warnings_of_this_package_look_like_lines_of_a_run(capfd):
    platform.prepare({})
    logging.getLogger("resnet_jax.data.cache").warning("decoding again: %s", "damaged")
    assert capfd.readouterr().err == "note      decoding again: damaged\n"


def test_what_the_user_has_set_stays():
    mine = {
        "TF_CPP_MIN_LOG_LEVEL": "0",
        "GRPC_VERBOSITY": "INFO",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": "/mine",
        "MALLOC_ARENA_MAX": "4",
        "XLA_FLAGS": "--xla_mine=1",
    }
    environ = dict(mine)
    platform.prepare(environ)
    assert environ.pop("XLA_FLAGS").startswith("--xla_mine=1")
    assert environ.items() >= {k: v for k, v in mine.items() if k != "XLA_FLAGS"}.items()


def test_on_an_accelerator_libraries_are_quietened_and_nothing_else_is_set():
    environ = {"JAX_PLATFORMS": "tpu,cpu"}
    assert platform.prepare(environ) == ()
    assert set(environ) == {"JAX_PLATFORMS", "TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY"}


def test_it_runs_before_jax_is_imported():
    script = (
        "import sys; from resnet_jax import platform; platform.prepare({}); "
        "sys.exit('jax' in sys.modules)"
    )
    root = Path(platform.__file__).parents[1]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True, timeout=60)


def test_the_flag_is_set_for_measured_versions_and_gives_way_to_the_users(monkeypatch):
    name = platform.XLA_FLAG.partition("=")[0]
    monkeypatch.setattr(platform, "_version", {"jaxlib": "0.10.2"}.get)
    environ = {"XLA_FLAGS": "--xla_mine=1"}
    assert platform.set_xla_flag(environ)
    assert environ["XLA_FLAGS"] == f"--xla_mine=1 {platform.XLA_FLAG}"
    for other in ({"XLA_FLAGS": f"{name}="}, {"JAX_PLATFORMS": "cuda"}):
        environ = dict(other)
        assert platform.set_xla_flag(environ) == ()
        assert environ == other
    monkeypatch.setattr(platform, "_version", {"jaxlib": "0.10.3"}.get)
    environ = {}
    assert platform.set_xla_flag(environ) == ()
    assert environ == {}


@pytest.mark.parametrize(
    ("environ", "installed", "backend"),
    [
        ({}, {}, "cpu"),
        ({}, {"jax-cuda12-plugin": "1"}, "accelerator"),
        ({}, {"libtpu": "1"}, "accelerator"),
        ({"JAX_PLATFORMS": "cpu"}, {"libtpu": "1"}, "cpu"),
        ({"JAX_PLATFORMS": "tpu,cpu"}, {}, "accelerator"),
    ],
)
def test_the_backend_is_guessed_from_the_environment_and_what_is_installed(
    monkeypatch, environ, installed, backend
):
    monkeypatch.setattr(platform, "_version", installed.get)
    assert platform.guess_backend(environ) == backend


@pytest.mark.parametrize(
    ("version", "cached"), [("0.10.1", False), ("0.10.2", True), ("0.11.0", True)]
)
def test_programs_are_cached_from_the_version_on_that_can(monkeypatch, tmp_path, version, cached):
    monkeypatch.setattr(platform, "_version", {"jaxlib": version}.get)
    environ = {"XDG_CACHE_HOME": str(tmp_path), "MALLOC_ARENA_MAX": "8"}
    platform.prepare(environ)
    folder = environ.get("JAX_COMPILATION_CACHE_DIR")
    assert (folder is not None) is cached
    if cached:
        assert Path(folder).name == f"{version}-{platform.machine()}"


GRADIENTS = """
import sys
from resnet_jax import platform
if sys.argv[1] == "with":
    assert len(platform.prepare()) == 2
    assert platform.set_xla_flag()
import jax, numpy as np
from configs import digits_quickstart
from resnet_jax import plan, step
from resnet_jax.data import pipeline
from resnet_jax.models.designs import DESIGNS
random = np.random.default_rng(0)
images = random.integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
labels = random.integers(0, 10, 64).astype(np.int32)
for design in DESIGNS:
    config = digits_quickstart.get_config()
    config.model.design, config.conv_backend, config.batch_size = design, "xla", 16
    recipe = plan.make(config, jax.devices()[:1]).recipe
    examples = pipeline.place(pipeline.Examples(images, labels), recipe.batches.mesh)
    state = step.init_state(recipe, 0, (8, 8, 1))
    gradients, _, metrics = jax.jit(lambda s: step._gradients(recipe, s, examples))(state)
    print(metrics.means()["loss"], *(float(np.linalg.norm(g)) for g in jax.tree.leaves(gradients)))
"""


def test_loss_and_gradients_of_every_design_are_the_same_with_the_settings(tmp_path):
    if platform._version("jaxlib") not in platform.MEASURED_JAXLIB:
        pytest.skip("the XLA flag is not set for this version of jaxlib")
    drop = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "JAX_COMPILATION_CACHE_DIR")
    environ = {k: v for k, v in os.environ.items() if k not in drop}
    environ |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    root = Path(platform.__file__).parents[1]
    numbers = []
    for settings in ("with", "without"):
        command = [sys.executable, "-c", GRADIENTS, settings]
        done = subprocess.run(
            command, cwd=root, env=environ, check=True, timeout=300, capture_output=True, text=True
        )
        numbers.append([float(word) for word in done.stdout.split()])
    # The norms of whole gradients: where rounding moves a ReLU over its edge, single numbers jump.
    assert numbers[0] == pytest.approx(numbers[1], rel=5e-3, abs=1e-5)
    assert len(numbers[0]) > 40
