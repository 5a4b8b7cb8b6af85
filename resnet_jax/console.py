"""What a person sees of a run: the recipe, a progress bar or plain lines, the result."""

import sys
import time
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from resnet_jax import config as configs
from resnet_jax import optimizer
from resnet_jax.data import mix
from resnet_jax.data.spec import Dataset
from resnet_jax.models import architecture


def duration(seconds: float) -> str:
    """`0:05`, `12:40` or `1:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


def network_name(model: ConfigDict) -> str:
    """`ResNet-20 original`, `ResNet-28 x10 full_preact bottleneck`, `plain-20 custom`.

    The number counts layers; units per stage that are given instead are named: `ResNet-(2,2,2)`.
    A design of which a config overrides a string is `custom`.
    """
    strings = (model.branch, model.after, model.stem, model.final)
    design = model.design if strings == (None,) * 4 else "custom"
    size = ",".join(map(str, model.stage_sizes or ()))
    size = f"({size})" if size else str(model.depth)
    words = [f"{'plain' if model.shortcut == 'none' else 'ResNet'}-{size}"]
    words += [f"x{model.width:g}"] if model.width != 1 else []
    words += [design] + (["bottleneck"] if model.bottleneck else [])
    return " ".join(words)


def describe(config: ConfigDict, dataset: Dataset, parameters: int, devices: list) -> list[str]:
    """The resolved recipe in a few lines."""
    model, recipe = config.model, config.optimizer
    design = architecture.resolve_design(model)
    steps, examples = configs.num_steps(config, dataset), configs.train_examples(config, dataset)
    nesterov = " Nesterov" if recipe.nesterov else ""
    how = f"{recipe.name}{nesterov}, " + (
        f"momentum {recipe.momentum:g}, " if recipe.name == "sgd" else ""
    )
    extras = [
        f"label smoothing {config.label_smoothing:g}" if config.label_smoothing else "",
        f"EMA {config.ema_decay:g}" if config.ema_decay else "",
        f"teacher {config.finetune.teacher} (weight {config.finetune.teacher_weight:g}, temperature "
        f"{config.finetune.teacher_temperature:g})"
        if config.finetune.teacher
        else "",
        f"L2-SP {config.finetune.l2_sp:g}" if config.finetune.l2_sp else "",
        f"clip {recipe.clip_norm:g}" if recipe.clip_norm else "",
        f"adaptive clip {recipe.adaptive_clip:g}" if recipe.adaptive_clip else "",
        f"{config.accumulation} micro-batches" if config.accumulation > 1 else "",
    ]
    held_out = f", {config.data.validation} held out" if config.data.validation else ""
    # What result.json calls test is the split that the data set is evaluated on, whatever its name.
    split = f", tested on {dataset.test_split!r}" if dataset.test_split != "test" else ""
    size = config.data.resize
    resized = f", resized to {size}x{size}" if size else ""
    data = config.data
    if data.fraction < 1:
        held_out += f", {data.fraction:.3g} of the rest used (drawn by seed {data.fraction_seed})"
    if data.mix is not None:
        held_out += f", {mix.size(config):,} of them of {data.mix}"
    count = f"{len(devices)} x " if len(devices) > 1 else ""
    return [
        f"network   {network_name(model)}: {parameters:,} parameters, {config.precision}",
        f"unit      branch '{design.branch}', after '{design.after}', shortcut {model.shortcut}, "
        f"projection {model.projection}"
        + (f", combine {model.combine}" if model.combine != "add" else "")
        + (f"; a class of your own: {model.unit}" if model.unit else ""),
        *([f"head      '{model.head}'"] if model.head else []),
        *([f"plugins   {', '.join(model.plugins)}"] if model.plugins else []),
        f"recipe    {how}rate {recipe.learning_rate:g} {recipe.schedule}"
        f"{f' after {recipe.warmup:.1%} warm-up' if recipe.warmup else ''}, "
        f"{optimizer.decay_coupling(recipe)} weight decay {recipe.weight_decay:g}"
        + "".join(f", {extra}" for extra in extras if extra),
        f"data      {dataset.name}: {examples:,} training images{held_out}{split}{resized}, "
        f"augment '{config.augment}'",
        f"run       {steps:,} steps of {config.batch_size} images "
        f"({steps * config.batch_size / examples:.3g} epochs), seed {config.seed}, "
        f"{count}{devices[0].device_kind}",
    ]


class Progress:
    """A progress bar on a terminal, plain lines elsewhere.

    Args:
        steps: length of the run.
        done: steps done before this process began.
        batch_size: images a step.
    """

    def __init__(self, steps: int, done: int, batch_size: int):
        self._steps = steps
        self._batch_size = batch_size
        self._bar = tqdm(
            total=steps, initial=done, unit="step", disable=None, leave=False, file=sys.stderr
        )
        self._announced = False
        self._busy = 0.0
        self._timed = 0
        self._marked: tuple[float, int] | None = None

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.write(line, file=sys.stdout)

    def advance(self, step: int) -> None:
        """Reports that `step` updates have been computed; times those between calls."""
        now = time.perf_counter()
        if self._marked is not None:
            self._busy += now - self._marked[0]
            self._timed += step - self._marked[1]
        self._marked = (now, step)
        self._bar.update(step - self._bar.n)
        if not self._announced and self._timed >= 10 and step < self._steps:
            self._announced = True
            self.say(
                f"about     {duration(self.seconds_left(step))} to go at "
                f"{self.images_per_second():,.0f} images/s"
            )

    def pause(self) -> None:
        """Leaves the time until the next `advance` out: compilation, evaluation, saving."""
        self._marked = None

    def images_per_second(self) -> float | None:
        """Training images per second over the time that was not paused, None before two steps."""
        return self._timed * self._batch_size / self._busy if self._timed else None

    def seconds_left(self, step: int) -> float | None:
        """Estimated seconds of training from `step` to the end."""
        return (self._steps - step) * self._busy / self._timed if self._timed else None

    def row(self, row: dict[str, Any]) -> None:
        """Shows a row of metrics."""
        speed = row.get("images_per_second")
        left = self.seconds_left(row["step"])
        parts = [
            f"step {row['step']:>{len(str(self._steps))}}/{self._steps}",
            f"epoch {row['epoch']:6.2f}",
            f"{row['split']:<10} loss {row['loss']:.4f}  accuracy {row['accuracy']:7.2%}",
            f"rate {row['learning_rate']:.4g}" if row.get("learning_rate") is not None else "",
            f"{speed:,.0f} images/s" if speed else "",
            f"{duration(left)} left" if row["split"] == "train" and left else "",
        ]
        self.say("  ".join(part for part in parts if part))

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()


def describe_result(result: dict[str, Any], name: str, workdir: Any) -> str:
    """One clear line on how the run ended."""
    right = round(result["test_accuracy"] * result["test_examples"])
    chosen = f" of {result['steps_taken']:,}, the {result['chosen']}" if "chosen" in result else ""
    views = f" over views '{result['eval_augment']}'" if result.get("eval_augment") else ""
    return (
        f"done      {name}: test accuracy {result['test_accuracy']:.2%}{views} "
        f"({right:,} of {result['test_examples']:,}), loss {result['test_loss']:.4f}, "
        f"step {result['step']:,}{chosen}, seed {result['seed']}, {duration(result['seconds'])}; {workdir}"
    )
