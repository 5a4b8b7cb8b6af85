import dataclasses

import pytest

from configs import digits_quickstart
from resnet_jax import config as configs
from resnet_jax.ablation import design, speak
from resnet_jax.ablation.design import Arm, Sweep
from resnet_jax.errors import ConfigError

ARMS = (
    Arm("original", {"model.design": "original"}),
    Arm("full_preact", {"model.design": "full_preact"}, control="original"),
)


@pytest.fixture
def sweep() -> Sweep:
    base = digits_quickstart.get_config()
    return Sweep(name="s", question="Why?", base=base, arms=ARMS, seeds=(0, 1, 2))


def refusal(sweep: Sweep) -> str:
    with pytest.raises(ConfigError) as caught:
        design.validate(sweep)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def with_arms(sweep: Sweep, *arms: Arm) -> Sweep:
    return dataclasses.replace(sweep, arms=arms)


def test_runs_are_every_seed_of_every_arm_arm_by_arm(sweep):
    names = [(arm.name, seed) for arm, seed in sweep.runs]
    assert names == [(n, s) for n in ("original", "full_preact") for s in (0, 1, 2)]
    design.validate(sweep)


def test_an_arm_is_the_base_with_its_overrides_and_leaves_the_base_alone(sweep):
    before = configs.flatten(sweep.base)
    arm = Arm("a", {"model.depth": 14, "model.width": 2, "model.projection": "B"})
    config = design.resolve(sweep, arm, seed=7)
    changed = {k: v for k, v in configs.flatten(config).items() if before[k] != v}
    assert changed == {"seed": 7, "model.depth": 14, "model.width": 2, "model.projection": "B"}
    assert type(config.model.width) is float
    assert configs.flatten(sweep.base) == before
    configs.validate(config)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"model.dept": 8}, "did you mean model.depth?"),
        ({"model.depth": 9}, "config.model.depth=9"),
        ({"model.depth": "8"}, "config.model.depth='8'"),
        ({"model.branch": "cnv"}, "'cnv'"),
        ({"seed": 3}, "--seeds"),
    ],
)
def test_an_arm_that_is_no_config_is_named(sweep, overrides, named):
    text = refusal(with_arms(sweep, *ARMS, Arm("mine", overrides)))
    assert text.startswith("arm 'mine': ")
    assert named in text


@pytest.mark.parametrize("name", ["a b", "", ".x", "a/b", "ä", "a:b"])
def test_a_name_that_would_be_no_file_is_refused(sweep, name):
    assert f"arm {name!r}" in refusal(with_arms(sweep, Arm(name, {})))


def test_names_controls_seeds_and_tests_are_checked(sweep):
    assert "two of that name" in refusal(with_arms(sweep, Arm("a", {}), Arm("A", {})))
    assert "control 'b'" in refusal(with_arms(sweep, Arm("a", {}, control="b")))
    assert "control 'a'" in refusal(with_arms(sweep, Arm("a", {}, control="a")))
    assert "no arms" in refusal(with_arms(sweep))
    for seeds in ((), (1, 1)):
        assert "different seeds" in refusal(dataclasses.replace(sweep, seeds=seeds))
    assert "seed -1" in refusal(dataclasses.replace(sweep, seeds=(-1,)))
    assert "'t' is not one of welch" in refusal(dataclasses.replace(sweep, test="t"))


def test_several_values_multiply_the_arms_and_keep_their_controls(sweep):
    grid = design.with_grid(sweep, ["model.depth=8,14", "config.optimizer.learning_rate=0.1,1e-2"])
    design.validate(grid)
    assert len(grid.arms) == 8
    arms = {arm.name: arm for arm in grid.arms}
    arm = arms["full_preact,depth=14,learning_rate=1e-2"]
    assert arm.control == "original,depth=14,learning_rate=1e-2"
    assert arm.overrides == {
        "model.design": "full_preact",
        "model.depth": 14,
        "optimizer.learning_rate": 0.01,
    }


def test_one_value_changes_every_arm_and_no_name(sweep):
    grid = design.with_grid(sweep, ["num_steps=5"])
    assert [arm.name for arm in grid.arms] == ["original", "full_preact"]
    assert all(arm.overrides["num_steps"] == 5 for arm in grid.arms)


def test_a_comma_between_brackets_separates_nothing(sweep):
    grid = design.with_grid(sweep, ["model.stage_widths=(4,8,8),(8,8,8)"])
    assert [arm.overrides["model.stage_widths"] for arm in grid.arms[::2]] == [(4, 8, 8), (8, 8, 8)]
    design.validate(grid)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model.depth", "FIELD=VALUE"),
        ("model.dept=8", "did you mean model.depth?"),
        ("model.depth=x", "config.model.depth='x'"),
        ("seed=1,2", "--seeds"),
    ],
)
def test_a_bad_setting_is_refused(sweep, text, named):
    with pytest.raises(ConfigError, match=named.replace("?", r"\?")):
        design.with_grid(sweep, [text])
    with pytest.raises(ConfigError, match="given twice"):
        design.with_grid(sweep, ["num_steps=1", "num_steps=2"])


def test_seeds_are_counted_from_zero(sweep):
    assert design.with_seeds(sweep, 2).seeds == (0, 1)
    with pytest.raises(ConfigError, match="--seeds 0"):
        design.with_seeds(sweep, 0)


@pytest.mark.parametrize("count", [1, 5, 24])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 30])
def test_shares_are_balanced_disjoint_neighbours_and_everything(count, parts):
    runs = list(range(count))
    shares = [design.share(runs, part, parts) for part in range(1, parts + 1)]
    assert [run for share in shares for run in share] == runs
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("part", [0, 4])
def test_a_share_that_does_not_exist_is_refused(part):
    with pytest.raises(ConfigError, match=f"{part}/3"):
        design.share([1, 2, 3], part, 3)


def test_arms_stay_together_where_shares_are_as_many(sweep):
    for part in (1, 2):
        assert len({arm.name for arm, _ in design.share(sweep.runs, part, 2)}) == 1


def test_a_sweep_with_too_few_seeds_for_its_test_says_so(sweep):
    assert speak.warning(sweep) is None  # Welch, three seeds
    assert "--seeds 2" in speak.warning(dataclasses.replace(sweep, seeds=(0,)))
    paired = dataclasses.replace(sweep, test="sign_flip")
    # The smallest p of n pairs is 2^(1-n): 1/32 is the first below 0.05.
    assert "--seeds 6" in speak.warning(paired)
    assert speak.warning(design.with_seeds(paired, 6)) is None
    assert speak.warning(with_arms(paired, ARMS[0])) is None  # nothing is compared


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("def get_sweep():\n    return 1\n", "returned int, expected a Sweep"),
        ("x = 1\n", "no function get_sweep"),
        ("def get_sweep():\n    1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path, source, named):
    file = tmp_path / "mine.py"
    file.write_text(source)
    with pytest.raises(ConfigError, match=named):
        design.load(str(file))
