"""Every file of `configs/` is found here; a new one is tested without a line of code."""

import importlib
import re
import shlex
from pathlib import Path

import jax
import pytest

import configs
from configs import default
from resnet_jax import cli, params, plan, step
from resnet_jax import config as fields
from resnet_jax.errors import ConfigError
from resnet_jax.models import architecture

FOLDER = Path(configs.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def docstring(name: str) -> str:
    return importlib.import_module(f"configs.{name}").__doc__


def commands(name: str) -> list[list[str]]:
    """The command lines in a config's docstring, without what is said beside them."""
    lines = re.findall(r"^ *python main\.py (.*?)(?:  .*)?$", docstring(name), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def arguments(name: str) -> list[str]:
    """The arguments that a config's docstring explains."""
    _, _, section = docstring(name).partition("Arguments:\n")
    return re.findall(r"^    (\w+) ", section.partition("\n\n")[0], re.MULTILINE)


def load(name: str, argument: str | None = None):
    return cli.load(str(FOLDER / f"{name}.py"), argument)


def test_there_are_configs():
    assert {"default", "cifar10_resnet", "digits_quickstart"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_has_all_fields_and_is_a_network_and_an_optimizer(name, one_device):
    config = load(name)
    assert fields.flatten(config).keys() == fields.RULES.keys()
    made = plan.make(config, one_device)
    assert made.parameters > 10_000
    assert made.steps == round(
        config.num_epochs * fields.train_examples(config) / config.batch_size
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_config_leaves_number_of_steps_seed_and_data_directory_to_the_command_line(name):
    config = load(name)
    assert (config.num_steps, config.seed, config.data.dir) == (None, 0, None)


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_in_a_docstring_work(name, monkeypatch):
    monkeypatch.chdir(FOLDER.parent)
    assert commands(name)
    for command in commands(name):
        assert command[1].startswith(f"configs/{name}.py")
        cli.parse(command)


@pytest.mark.parametrize("name", NAMES)
def test_exactly_the_arguments_that_a_docstring_explains_exist(name):
    if not arguments(name):
        with pytest.raises(ConfigError, match="takes no arguments"):
            load(name, "depth=20")
        return
    with pytest.raises(ConfigError, match="the arguments are") as caught:
        load(name, "no_such=1")
    listed = str(caught.value).partition("the arguments are ")[2]
    assert [item.partition("=")[0] for item in listed.split(", ")] == arguments(name)
    assert fields.flatten(load(name, listed.replace(" ", ""))) == fields.flatten(load(name))


@pytest.mark.parametrize("name", [name for name in NAMES if arguments(name)])
def test_an_argument_of_another_kind_is_refused(name):
    for argument in arguments(name):
        with pytest.raises(ConfigError, match=f"{argument}=\\W*a b"):
            fields.validate(load(name, f"{argument}=a b"))


@pytest.mark.parametrize("name", NAMES)
def test_loading_a_config_twice_gives_two_equal_ones(name):
    first, second = load(name), load(name)
    first.model.depth = 1
    first.optimizer.momentum = 0.5
    assert fields.flatten(second) == fields.flatten(load(name))
    assert default.get_config().optimizer.momentum == 0.9


class TestCifar10Resnet:
    """He et al. 2015, arXiv 1512.03385, section 4.2."""

    def test_is_the_papers_network_and_recipe(self):
        config = load("cifar10_resnet")
        model, optimizer = config.model, config.optimizer
        assert config.data.name == "cifar10"
        assert config.augment == "crop(4) flip"
        assert (config.batch_size, config.num_epochs) == (128, 164.0)
        assert (model.design, model.depth, model.projection) == ("original", 20, "A")
        assert (model.stage_widths, model.width) == ((16, 32, 64), 1.0)
        assert (optimizer.name, optimizer.nesterov) == ("sgd", False)
        assert (optimizer.learning_rate, optimizer.momentum) == (0.1, 0.9)
        assert optimizer.weight_decay == 1e-4
        assert optimizer.decay_coupling in (None, "coupled")
        assert (config.label_smoothing, config.ema_decay, optimizer.clip_norm) == (0.0, 0.0, 0.0)
        assert config.data.validation == 0

    def test_decays_by_cosine_after_a_short_warm_up(self, one_device):
        made = plan.make(load("cifar10_resnet"), one_device)
        rates = [float(made.learning_rates[step]) for step in range(0, made.steps, 100)]
        peak = rates.index(max(rates))
        assert 0 < peak < 0.05 * len(rates)
        assert rates[0] < 0.01
        assert max(rates) == pytest.approx(0.1, rel=0.01)
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        assert rates[-1] < 1e-4

    @pytest.mark.parametrize(
        ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
    )
    def test_has_the_papers_number_of_parameters(self, depth, millions, one_device):
        """Table 6."""
        made = plan.make(load("cifar10_resnet", f"depth={depth}"), one_device)
        assert made.parameters / 1e6 == pytest.approx(millions, abs=0.05 if depth == 110 else 0.006)

    def test_recipe_paper_divides_by_ten_at_a_half_and_three_quarters(self, one_device):
        made = plan.make(load("cifar10_resnet", "recipe=paper"), one_device)
        assert made.steps == pytest.approx(64_000, rel=0.002)
        at = {fraction: made.learning_rates[int(fraction * made.steps)] for fraction in (0, 0.49)}
        at |= {f: made.learning_rates[int(f * made.steps)] for f in (0.51, 0.74, 0.76, 0.999)}
        assert [float(rate) for rate in at.values()] == pytest.approx(
            [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
        )

    @pytest.mark.parametrize("depth", [20, 56, 110, 200])
    def test_recipe_paper_warms_up_at_depth_110_and_above_only(self, depth):
        optimizer = load("cifar10_resnet", f"depth={depth},recipe=paper").optimizer
        if depth < 110:
            assert optimizer.warmup == 0
        else:
            assert round(optimizer.warmup * 64_000) == 400
            assert (optimizer.warmup_shape, optimizer.warmup_factor) == ("constant", 0.1)

    def test_recipe_paper_decays_every_parameter_and_cosine_the_kernels(self):
        assert load("cifar10_resnet", "recipe=paper").optimizer.decayed == (".*",)
        assert load("cifar10_resnet").optimizer.decayed == (".*/kernel",)


def test_the_quickstart_needs_no_download_and_mirrors_no_digit():
    config = load("digits_quickstart")
    assert config.data.name == "digits"
    assert "flip" not in config.augment


@pytest.mark.parametrize(
    ("name", "argument", "parameters"),
    [
        # Xie et al. 2017, arXiv 1611.05431, table 7: 34.4M and 68.1M.
        ("cifar10_resnext", None, 34_426_698),
        ("cifar10_resnext", "cardinality=16", 68_155_210),
        # As without dropout: Zagoruyko & Komodakis 2016, arXiv 1605.07146, table 5: 36.5M.
        ("cifar10_wide_resnet", "depth=28,width=10,dropout=0.3", 36_479_194),
        ("cifar10_stochastic_depth", None, 1_727_962),
        # torchvision's ResNet-50 has 25,557,032, of which the last layer 2048 * 1000 + 1000.
        ("cifar10_resnet50_transfer", None, 25_557_032 - 2_049_000 + 2049 * 256 + 257 * 10),
        # A gate of C channels and reduction 16 adds 2 C C / 16 weights, C / 16 + C biases:
        # 18 units each of 16, 32 and 64 channels; 64, 128 and 256 with bottlenecks.
        ("cifar10_se_resnet", None, 1_727_962 + 18 * (32 + 17 + 128 + 34 + 512 + 68)),
        (
            "cifar10_se_resnet",
            "depth=164,bottleneck=1",
            1_703_258 + 18 * (512 + 68 + 2048 + 136 + 8192 + 272),
        ),
    ],
)
def test_the_networks_of_the_papers_have_their_numbers_of_parameters(name, argument, parameters):
    config = load(name, argument)
    fields.validate(config)
    network = architecture.build(config.model, 10)
    shapes = jax.eval_shape(lambda: step.init_variables(network, 0, (32, 32, 3)))["params"]
    assert params.count(shapes) == parameters


def test_the_recipes_of_the_papers_divide_the_rate_where_they_say():
    resnext, depth = load("cifar10_resnext"), load("cifar10_stochastic_depth")
    assert [resnext.num_epochs * m for m in resnext.optimizer.milestones] == [150, 225]
    assert [depth.num_epochs * m for m in depth.optimizer.milestones] == [250, 375]
    assert resnext.optimizer.weight_decay == 5e-4
    assert depth.model.drop_path == 0.5
    assert (depth.model.drop_path_schedule, depth.model.projection) == ("linear", "A")
    assert load("cifar10_wide_resnet").model.branch is None
