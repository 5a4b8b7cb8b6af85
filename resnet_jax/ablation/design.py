"""What a sweep is: arms, which override fields of one base config, and seeds."""

import copy
import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from resnet_jax import cli, optimizer
from resnet_jax import config as configs
from resnet_jax.errors import ConfigError

TESTS = ("welch", "sign_flip")
METRICS = ("test_accuracy",)

_NAME = re.compile(r"[\w+=-][\w.,+=-]*", re.ASCII)
"""Names become file names, on every system."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: letters, digits and `_ . , + = -`; files are named after it.
        overrides: dotted config field, without `config.` -> value.
        control: the arm it is compared with; None: it is a control itself, or only described.
    """

    name: str
    overrides: Mapping[str, Any]
    control: str | None = None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Arms, seeds, and how they will be compared: declared before the first run.

    Attributes:
        name: of the config, with its variant.
        question: what is asked, in one sentence.
        base: what the arms override.
        arms: at least one.
        seeds: every arm runs with all of them.
        test: welch, or sign_flip, which pairs by seed.
        metric: what is compared, at the end of the last epoch.
        margin: points, the region of practical equivalence.
        smallest: points, the smallest difference of interest, for the power.
        level: of significance, over all comparisons.
        before: runs that are done first, for arms to start from (`before.reference`).
    """

    name: str
    question: str
    base: ConfigDict
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...] = tuple(range(8))
    test: str = "welch"
    metric: str = "test_accuracy"
    margin: float = 0.1
    smallest: float = 0.2
    level: float = 0.05
    before: "Sweep | None" = None

    @property
    def runs(self) -> tuple[tuple[Arm, int], ...]:
        """Every (arm, seed), arm by arm."""
        return tuple((arm, seed) for arm in self.arms for seed in self.seeds)


def load(file: str, argument: str | None = None) -> Sweep:
    """The sweep that the function `get_sweep` of a Python file returns.

    Args:
        file: such as `configs/ablations/digits.py`.
        argument: what stands behind the colon.

    Raises:
        ConfigError: no such file, or one that fails; the sweep itself is not yet validated.
    """
    sweep = cli.call(file, "get_sweep", argument, "configs/ablations/digits.py")
    if not isinstance(sweep, Sweep):
        raise ConfigError(
            f"{file}: get_sweep returned {type(sweep).__name__}, expected a Sweep; "
            "start from configs/ablations/digits.py"
        )
    return sweep


def variant(argument: str | None, *known: str) -> str | None:
    """Checks a sweep's argument, for its `get_sweep`.

    Raises:
        ConfigError: it is none of the variants that the file knows.
    """
    if argument is not None and argument not in known:
        expected = " or ".join(known) or "no argument"
        raise ConfigError(f"config argument {argument!r}: expected {expected}")
    return argument


def resolve(sweep: Sweep, arm: Arm, seed: int | None = None) -> ConfigDict:
    """The config of an arm's runs; with that seed if one is given.

    Raises:
        ConfigError: an override of a field that does not exist, naming the arm.
    """
    values = configs.flatten(sweep.base)
    for field, value in arm.overrides.items():
        if field not in values:
            with named(arm):
                configs.expected(field)
        # 2 and 2.0 are the same recipe, and should read so in its file.
        number = isinstance(values.get(field), float) and type(value) is int
        values[field] = float(value) if number else value
    if seed is not None:
        values["seed"] = seed
    return unflatten(values)


def unflatten(values: Mapping[str, Any]) -> ConfigDict:
    """A config from its fields by dotted name."""
    tree: dict[str, Any] = {}
    for field, value in values.items():
        *sections, leaf = field.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = value
    return ConfigDict(tree)


class named:
    """Puts the arm's name in front of what a config error says."""

    def __init__(self, arm: Arm):
        self._arm = arm

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, ConfigError):
            raise ConfigError(f"arm {self._arm.name!r}: {error}") from None


def validate(sweep: Sweep) -> None:
    """Checks a whole sweep before anything runs.

    Raises:
        ConfigError: the first thing that is wrong; where it is a config, with its arm.
    """
    if not sweep.arms:
        raise ConfigError(
            f"sweep {sweep.name!r} has no arms; start from configs/ablations/digits.py"
        )
    for text, known in ((sweep.test, TESTS), (sweep.metric, METRICS)):
        if text not in known:
            raise ConfigError(f"sweep {sweep.name!r}: {text!r} is not one of {', '.join(known)}")
    if not sweep.seeds or len(set(sweep.seeds)) != len(sweep.seeds):
        raise ConfigError(f"sweep {sweep.name!r}: expected different seeds, not {sweep.seeds}")
    names = [arm.name for arm in sweep.arms]
    lower = [name.lower() for name in names]
    for arm in sweep.arms:
        if not _NAME.fullmatch(arm.name):
            raise ConfigError(
                f"arm {arm.name!r}: a name is made of letters, digits and _ . , + = -"
            )
        # Some file systems take upper and lower case for the same.
        if lower.count(arm.name.lower()) > 1:
            raise ConfigError(f"arm {arm.name!r}: there are two of that name; rename one")
        if not _leads_to_a_control(arm, sweep):
            raise ConfigError(
                f"arm {arm.name!r}: its control {arm.control!r} is no other arm; "
                f"there are {', '.join(names)}"
            )
        if "seed" in arm.overrides:
            raise ConfigError(f"arm {arm.name!r}: seeds belong to the sweep; write --seeds N")
        config = resolve(sweep, arm)
        with named(arm):
            configs.validate(config)
    for seed in sweep.seeds:
        if not configs.RULES["seed"].accepts(seed):
            raise ConfigError(f"seed {seed!r}: expected {configs.expected('seed')}")


def _leads_to_a_control(arm: Arm, sweep: Sweep) -> bool:
    """Whether its control, or that one's control, and so on, is an arm that has none."""
    controls = {other.name: other.control for other in sweep.arms}
    name, steps = arm.control, 0
    while name is not None:
        name, steps = controls.get(name, name), steps + 1
        if steps > len(controls):  # in a circle, or at a name that is no arm
            return False
    return True


def validate_patterns(sweep: Sweep, parameters: Mapping[str, Any]) -> None:
    """Checks what needs the names of the parameters: the patterns of every arm's optimizer and rates.

    Args:
        sweep: otherwise valid.
        parameters: arm name -> shapes of its network's parameters.

    Raises:
        ConfigError: a pattern matches nothing, or a rate has no value, naming the arm.
    """
    for arm in sweep.arms:
        config = resolve(sweep, arm)
        recipe, shapes = config.optimizer, parameters[arm.name]
        with named(arm):
            rates = optimizer.rate_factors(config)
            optimizer.create(recipe, optimizer.schedule(recipe, 1), shapes, rates)


def with_seeds(sweep: Sweep, count: int) -> Sweep:
    """The same with the seeds 0 to `count - 1`.

    Raises:
        ConfigError: fewer than one.
    """
    if count < 1:
        raise ConfigError(f"--seeds {count}: expected a whole number of at least 1")
    return dataclasses.replace(sweep, seeds=tuple(range(count)))


def with_grid(sweep: Sweep, assignments: Iterable[str]) -> Sweep:
    """Sets fields of every arm; several values of a field multiply the arms.

    Args:
        sweep: to extend.
        assignments: `FIELD=V1,V2`, as after `--set`. A comma between brackets separates nothing.
            An arm of a field with several values is called `<arm>,<field>=<value>`, and is compared
            with its control at the same values.

    Raises:
        ConfigError: no such field, or not its type.
    """
    axes: list[list[tuple[str, Any, str]]] = []
    for text in assignments:
        field, equals, values = text.partition("=")
        field = field.removeprefix("config.")
        if not equals:
            raise ConfigError(f"--set {text}: write FIELD=VALUE or FIELD=VALUE,VALUE")
        configs.expected(field)
        if field == "seed":
            raise ConfigError("--set seed: write --seeds N")
        if field in {axis[0][0] for axis in axes}:
            raise ConfigError(f"--set {field} is given twice; write --set {field}=VALUE,VALUE")
        points = _split(values)
        ending = f",{field.rpartition('.')[2]}="
        axes.append(
            [
                (field, _read(sweep.base, field, value), _clean(ending + value))
                if len(points) > 1
                else (field, _read(sweep.base, field, value), "")
                for value in points
            ]
        )
    arms = [_set(arm, point) for point in itertools.product(*axes) for arm in sweep.arms]
    return dataclasses.replace(sweep, arms=tuple(arms))


def _set(arm: Arm, point: Sequence[tuple[str, Any, str]]) -> Arm:
    ending = "".join(end for _, _, end in point)
    overrides = dict(arm.overrides) | {field: value for field, value, _ in point}
    control = None if arm.control is None else arm.control + ending
    return Arm(arm.name + ending, overrides, control)


def _clean(text: str) -> str:
    return re.sub(r"[^\w.,+=-]", "_", text, flags=re.ASCII)


def _split(text: str) -> list[str]:
    """Splits at commas that are not between brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _read(base: ConfigDict, field: str, text: str) -> Any:
    """The value that `--config.FIELD=TEXT` gives the field."""
    changed = cli.override(copy.deepcopy(base), [f"--config.{field}={text}"])
    return configs.flatten(changed)[field]


def share(runs: Sequence[Any], part: int, parts: int) -> Sequence[Any]:
    """The `part`-th (from 1) of `parts` shares of a list: neighbours, and as many each, or one more.

    Raises:
        ConfigError: no such share.
    """
    if not 1 <= part <= parts:
        raise ConfigError(f"--only {part}/{parts}: expected 1/{parts} to {parts}/{parts}")
    return runs[(part - 1) * len(runs) // parts : part * len(runs) // parts]
