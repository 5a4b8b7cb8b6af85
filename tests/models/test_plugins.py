"""A user's own tokens and units: found, checked, applied, and never imported unasked."""

import argparse
import itertools
import re
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import digits_quickstart
from resnet_jax import cli, params, step, train
from resnet_jax import config as configs
from resnet_jax import workdir as files
from resnet_jax.commands import evaluate
from resnet_jax.errors import ConfigError, WorkdirError
from resnet_jax.models import architecture, plugins
from resnet_jax.models.layers import STEM_VOCABULARY
from resnet_jax.native import build
from resnet_jax.native.ops import Kernels
from resnet_jax.sharding import make_mesh

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
_NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of a name of its own and returns its import path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> str:
        name = f"plugin_of_a_test_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    for name in [n for n in sys.modules if n.startswith(("plugin_of_a_test", "my_pkg"))]:
        del sys.modules[name]


@pytest.fixture
def page_modules(module, tmp_path):
    """The modules of docs/plugins.md."""
    for path, text in re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)


def load(*modules: str):
    return plugins.load(modules, STEM_VOCABULARY)


def refusal(*modules: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*modules)
    text = str(caught.value)
    assert len(text.splitlines()) <= 2
    assert "config.model.plugins" in text
    return text


def config_with(**fields):
    config = digits_quickstart.get_config()
    config.num_steps, config.batch_size, config.eval_batch_size = 2, 16, 120
    config.model.stage_widths, config.model.stage_sizes = (4, 8, 8), (1, 1, 1)
    config.conv_backend = "xla"
    for field, value in fields.items():
        config.model[field] = value
    return config


class TestTokens:
    def test_functions_and_linen_modules_of_the_module_are_tokens(self, module):
        path = module(
            "import jax.numpy as jnp\nfrom flax import linen as nn\nfrom math import sqrt\n"
            "def double(x):\n  '''Twice x.'''\n  return 2 * x\n"
            "def _helper(x):\n  return x\n"
            "class Shift(nn.Module):\n  by: float\n  def __call__(self, x):\n    return x + self.by\n"
            "class Other:\n  pass\n"
            "CONSTANT = 3\n"
        )
        found = {plugin.name: plugin for plugin in load(path)}
        assert set(found) == {"double", "Shift"}
        assert found["double"].signature.meaning == "Twice x."

    def test_all_names_the_tokens_where_there_is_one(self, module):
        path = module("__all__ = ['a']\ndef a(x):\n  return x\ndef b(x):\n  return x\n")
        assert [plugin.name for plugin in load(path)] == ["a"]

    @pytest.mark.parametrize("postponed", ["", "from __future__ import annotations\n"])
    @pytest.mark.parametrize(
        ("arguments", "text", "values"),
        [
            ("n: int", "t(3)", (3,)),
            ("n: int = 2, p: float = 1", "t", (2, 1.0)),
            ("p: float = 1e-3", "t(2)", (2.0,)),
            ("b: bool = False", "t(True)", (True,)),
            ("b: bool = True", "t(false)", (False,)),
            ("s: str = 'x y'", "t", ("x y",)),
            ("k: Literal['a', 'b'] = 'b'", "t(a)", ("a",)),
            ("n: int | None = None", "t", (None,)),
            ("n: Optional[int] = None", "t(4)", (4,)),
        ],
    )
    def test_arguments_follow_the_signature(self, module, postponed, arguments, text, values):
        path = module(
            f"{postponed}from typing import Literal, Optional\ndef t(x, *, {arguments}):\n  return x\n"
        )
        known = plugins.vocabulary(STEM_VOCABULARY, load(path))
        (token,) = architecture.tokens.parse(text, known, "f")
        assert token.arguments == values
        assert [type(v) for v in token.arguments] == [type(v) for v in values]
        assert architecture.tokens.parse(str(token), known, "f") == (token,)

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("t", "needs n"),
            ("t(1.5)", "is no whole number"),
            ("t(1, c)", "is none of a, b"),
            ("t(1, a, 3)", "write t(n, k)"),
            ("tt(1)", "did you mean 't'"),
        ],
    )
    def test_a_bad_argument_is_refused_like_that_of_a_built_in_token(self, module, text, named):
        path = module(
            "from typing import Literal\ndef t(x, n: int, k: Literal['a', 'b'] = 'a'):\n  return x\n"
        )
        for field in ("branch", "after", "stem", "final"):
            value = f"conv norm conv {text}" if field in ("branch", "stem") else text
            with pytest.raises(ConfigError) as caught:
                configs.validate(config_with(plugins=(path,), **{field: value}))
            assert f"config.model.{field}" in str(caught.value)
            assert named in str(caught.value)

    @pytest.mark.parametrize(
        ("body", "named"),
        [
            ("def conv(x):\n  return x", "so has resnet_jax"),
            ("def pool(x):\n  return x", "so has resnet_jax"),
            ("def f():\n  return 1", "takes no x"),
            ("def f(*x):\n  return x", "takes no x"),
            ("def f(x, n):\n  return x", "argument n has no annotation"),
            ("def f(x, n: list):\n  return x", "the annotation <class 'list'>"),
            ("def f(x, **more):\n  return x", "argument more has no annotation"),
            ("def f(x, n: int = 1.5):\n  return x", "default 1.5"),
            ("def f(x, n: nonsense = 1):\n  return x", "NameError"),
            ("def größe(x):\n  return x", "no name of a token"),
            ("__all__ = ['missing']", "no function"),
            ("X = 3", "no public function"),
            ("raise KeyError('why')", "KeyError: 'why'"),
            ("import sys; sys.exit(0)", "SystemExit: 0"),
            ("def f(:", "SyntaxError"),
        ],
    )
    def test_what_can_be_no_token_is_refused_with_its_name(self, module, body, named):
        path = module(body + "\n")
        text = refusal(path)
        assert path in text
        assert named in text

    def test_a_module_that_is_not_there_is_named_with_the_cause(self):
        text = refusal("not_there.at_all")
        assert "'not_there.at_all'" in text
        assert "ModuleNotFoundError: No module named 'not_there'" in text

    def test_two_plugins_of_one_name_are_refused(self, module):
        first, second = (module("def f(x):\n  return x\n") for _ in range(2))
        text = refusal(first, second)
        assert first in text
        assert second in text

    @pytest.mark.parametrize(
        ("body", "named"),
        [
            ("return x[..., 0]", "made an array [2, 8, 8] of an array [2, 8, 8, 4]"),
            ("return 3", "a value of the type int"),
            ("return x @ x", "fails: TypeError"),
            ("raise ValueError('why')", "the token f of"),
        ],
    )
    def test_a_token_that_fails_or_breaks_the_shape_is_refused_before_anything_runs(
        self, module, body, named
    ):
        path = module(f"def f(x):\n  {body}\n")
        with pytest.raises(ConfigError) as caught:
            configs.validate(config_with(plugins=(path,), branch="conv f conv"))
        assert named in str(caught.value)
        assert path in str(caught.value)

    def test_a_branch_that_would_be_broadcast_against_the_shortcut_is_refused(self, module):
        path = module("def f(x):\n  return x[..., :1]\n")
        with pytest.raises(ConfigError, match=r"branch .*\[2, 8, 8, 1\].*\[2, 8, 8, 4\]"):
            configs.validate(config_with(plugins=(path,), branch="conv conv f", after=""))

    def test_state_that_a_run_would_lose_is_refused(self, module):
        path = module(
            "from flax import linen as nn\nclass Cache(nn.Module):\n  @nn.compact\n"
            "  def __call__(self, x):\n    self.variable('cache', 'c', lambda: 0.0)\n    return x\n"
        )
        with pytest.raises(ConfigError, match="keeps cache"):
            configs.validate(config_with(plugins=(path,), after="Cache"))

    def test_built_in_layers_around_a_token_still_use_the_kernels(self, module, images):
        built = build.library()
        if isinstance(built, build.Unavailable):
            pytest.skip(built.reason)
        path = module("def square(x, *, train):\n  return x * x if train else x\n")
        model = config_with(plugins=(path,), branch="conv norm act square conv norm").model
        model.stage_widths = (16, 16, 16)
        kernels = Kernels(built.lanes, make_mesh(jax.devices()[:1]))
        plain, fused = (architecture.build(model, 10, native=k) for k in (None, kernels))
        variables = step.init_variables(plain, 0, images.shape[1:])

        def logits(network):
            apply = jax.jit(
                lambda v, x: network.apply(v, x, train=True, mutable=["batch_stats"])[0]
            )
            return apply(variables, images), apply.lower(variables, images).as_text()

        (expected, _), (found, text) = logits(plain), logits(fused)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        assert "custom_call" in text
        # Without the token, the logits are others.
        model.branch = "conv norm act conv norm"
        assert not np.allclose(logits(architecture.build(model, 10))[0], expected, atol=1e-3)


class TestUnits:
    @pytest.mark.parametrize(
        ("value", "body", "named"),
        [
            ("{}:Nothing", "class Nothin: pass", "did you mean {}:Nothin?"),
            ("{}:f", "def f(spec, options): pass", "no linen module class but function"),
            ("{}:U", "class U: pass", "no linen module class but type"),
            ("{}:U", "raise OSError('why')", "cannot import '{}': OSError: why"),
            ("not_there:U", "", "No module named 'not_there'"),
        ],
    )
    def test_what_is_no_unit_class_is_refused(self, module, value, body, named):
        path = module(body)
        with pytest.raises(ConfigError) as caught:
            configs.validate(config_with(unit=value.format(path)))
        text = str(caught.value)
        assert text.startswith("config.model.unit")
        assert named.format(path) in text
        assert len(text.splitlines()) <= 2

    @pytest.mark.parametrize(
        ("fields", "body", "named"),
        [
            ("spec: Any\n  options: Any", "return x[:, ::2]", "expected [2, 8, 8, 4] (stride 1)"),
            ("spec: Any\n  options: Any", "return x", "expected [2, 4, 4, 8] (stride 2)"),
            ("spec: Any\n  options: Any", "return 1 / 0", "fails: ZeroDivisionError"),
            ("spec: Any", "return x", "fails: TypeError"),
        ],
    )
    def test_a_unit_of_another_shape_or_interface_is_refused(self, module, fields, body, named):
        path = module(
            "from typing import Any\nfrom flax import linen as nn\n"
            f"class U(nn.Module):\n  {fields}\n  def __call__(self, x, train):\n    {body}\n"
        )
        with pytest.raises(ConfigError) as caught:
            configs.validate(config_with(unit=f"{path}:U"))
        assert f"{path}:U" in str(caught.value)
        assert named in str(caught.value)


class TestThePage:
    def test_its_tokens_train_and_their_parameters_are_named(self, page_modules, tmp_path, capsys):
        config = config_with(
            plugins=("my_pkg.my_tokens",),
            branch="conv norm swish_gate(1.5) conv norm ChannelShift(0.1, all)",
            final="swish_gate ChannelShift",
        )
        known = params.names(_shapes(config))
        assert "stage2/block1/ChannelShift1/shift" in known
        assert "final/ChannelShift/shift" in known
        result = train.train_and_evaluate(config, tmp_path / "run", jax.devices()[:1])
        assert "plugins   my_pkg.my_tokens" in capsys.readouterr().out
        found = evaluate.evaluate(tmp_path / "run", plugins=["my_pkg.my_tokens"])
        assert found["state_sha256"] == result["state_sha256"]
        assert found["loss"] == result["test_loss"]

    def test_a_change_of_its_source_is_said_when_the_run_is_continued(
        self, page_modules, tmp_path, capsys
    ):
        config = digits_quickstart.get_config()
        config.model.plugins, config.num_steps = ("my_pkg.my_tokens",), 1
        for comment in ("", "# changed\n"):
            (tmp_path / "run" / "result.json").unlink(missing_ok=True)
            with (tmp_path / "my_pkg" / "my_tokens.py").open("a") as file:
                file.write(comment)
            train.train_and_evaluate(config, tmp_path / "run", jax.devices()[:1])
        assert (
            "note      earlier steps had plugins {'my_pkg.my_tokens': " in capsys.readouterr().out
        )

    def test_its_unit_computes_logits_and_a_gradient(self, page_modules, images):
        model = config_with(unit="my_pkg.my_unit:MaxUnit").model
        network = architecture.build(model, 10)
        variables = step.init_variables(network, 0, images.shape[1:])
        assert "stage2/block1/projection/kernel" in params.names(variables["params"])

        def loss(parameters):
            both = {**variables, "params": parameters}
            logits, _ = network.apply(both, images, train=True, mutable=["batch_stats"])
            return step.cross_entropy(logits, np.arange(len(images))).mean()

        gradients = jax.jit(jax.grad(loss))(variables["params"])
        assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradients["stage3"]))

    def test_its_commands_parse(self, page_modules, monkeypatch):
        monkeypatch.chdir(Path(__file__).parents[2])
        page = PAGE.replace("\\\n", " ")
        commands = re.findall(r"^    python main\.py (.*)$", page, re.MULTILINE)
        assert len(commands) == 2
        for text in commands:
            cli.parse(shlex.split(text))


def _shapes(config):
    model = architecture.build(config.model, 10)
    return jax.eval_shape(lambda: step.init_variables(model, 0, (8, 8, 1)))["params"]


class TestAStrangersWorkdir:
    """Its config names a module that writes a file when it is imported."""

    @pytest.fixture
    def mark(self, tmp_path):
        return tmp_path / "imported"

    @pytest.fixture
    def path(self, module, mark):
        return module(
            "from flax import linen as nn\n__all__ = ['f']\n"
            f"open({str(mark)!r}, 'w').close()\n"
            "def f(x):\n  return x\n"
            "class U(nn.Module):\n  spec: object\n  options: object\n"
            "  def __call__(self, x, train):\n    return x\n"
        )

    @pytest.fixture(params=["plugins", "unit"])
    def stranger(self, request, path, tmp_path):
        """A workdir, and the argument that would trust it."""
        folder = tmp_path / "stranger"
        folder.mkdir()
        value = {"plugins": (path,), "unit": f"{path}:U"}[request.param]
        config = config_with(**{request.param: value})
        (folder / files.CONFIG).write_text(configs.to_json(config))
        return folder, f"--{request.param} {path}{':U' * (request.param == 'unit')}"

    def test_evaluating_it_imports_nothing_and_says_what_to_type(self, stranger, mark):
        folder, argument = stranger
        parser = argparse.ArgumentParser()
        evaluate.add_arguments(parser)
        for more in ([], ["--plugins", "other"], ["--unit", "other:U"]):
            with pytest.raises(ConfigError) as caught:
                evaluate.run(parser.parse_args([str(folder), *more]))
            assert argument in str(caught.value)
            assert caught.value.exit_code == 2
        assert not mark.exists()

    def test_naming_it_is_what_imports_it(self, stranger, mark):
        folder, argument = stranger
        parser = argparse.ArgumentParser()
        evaluate.add_arguments(parser)
        with pytest.raises(Exception, match=r"checkpoint|made an array"):
            evaluate.run(parser.parse_args([str(folder), *argument.split()]))
        assert mark.exists()

    def test_training_another_config_there_imports_nothing(self, stranger, mark):
        folder, argument = stranger
        with pytest.raises(WorkdirError, match=f"another run.*{argument.split()[0][2:]}"):
            train.train_and_evaluate(config_with(), folder)
        assert not mark.exists()

    def test_a_config_that_is_no_config_imports_nothing(self, path, mark, tmp_path):
        folder = tmp_path / "broken"
        folder.mkdir()
        for plugins_value in (f'"{path}"', f'[["{path}"]]', "3", f'{{"a": "{path}"}}'):
            text = configs.to_json(config_with()).replace(
                '"plugins": []', f'"plugins": {plugins_value}'
            )
            (folder / files.CONFIG).write_text(text)
            with pytest.raises((ConfigError, WorkdirError)):
                files.read_config(folder)
        assert not mark.exists()
