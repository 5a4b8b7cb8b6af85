"""The network of a workdir, rebuilt with the preprocessing of its run: what commands evaluate."""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_jax import trust
from resnet_jax.errors import ConfigError

if TYPE_CHECKING:  # they import JAX, which waits for its settings
    from resnet_jax.data.source import Examples
    from resnet_jax.data.spec import Dataset
    from resnet_jax.plan import Plan
    from resnet_jax.step import TrainState


@dataclasses.dataclass(frozen=True)
class Rebuilt:
    """A network without its weights, which `state` reads.

    Attributes:
        workdir: of the run.
        run: what follows from its config, on the devices of this machine.
        data_dir: where the data is.
        batch_size: images at a time.
    """

    workdir: Path
    run: "Plan"
    data_dir: str | None
    batch_size: int

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all logits: of a run on two data sets, those of both."""
        from resnet_jax.data import mix

        return mix.union(self.run.config, self.run.dataset).classes

    @property
    def views(self) -> str:
        """What an evaluation averages over, as in the config; "" for the image alone."""
        return self.run.recipe.batches.views.text

    def named(self, state: "TrainState") -> str:
        """The workdir, the step of its weights, and the views, for people."""
        views = f", views '{self.views}'" if self.views else ""
        return f"{self.workdir} at step {int(state.step):,}{views}"

    def titled(self, state: "TrainState", split: str | None = None) -> str:
        """The same with the name of the workdir alone, for pictures."""
        text = self.named(state).replace(str(self.workdir), self.workdir.absolute().name, 1)
        return text if split is None else f"{text}, {split}"

    def names(self, split: str) -> list[str] | None:
        """The file of each image of a split; None for a data set that is no folder."""
        import numpy as np

        from resnet_jax.data import pipeline
        from resnet_jax.data.source import Examples

        files = self._dataset.names
        if files is None:
            return None
        if split not in self._parts:
            return files(split)
        found = files("train")
        numbers = np.arange(len(found), dtype=np.int32)
        halves = pipeline.hold_out(Examples(numbers, numbers), self.run.config.data.validation)
        return [found[number] for number in halves[self._parts[split]].labels]

    def check(self, split: str | None) -> str:
        """Checks that the run has such images and that they are there.

        Args:
            split: of the data set, or `validation`, what the run held out of `train`; None: test.

        Returns:
            the split.

        Raises:
            ConfigError: it has no such images.
            DataError: the data is missing; or a folder has other classes than the run.
        """
        from resnet_jax.data import source

        split = split or self.run.dataset.test_split
        known = list(dict.fromkeys([*self.run.dataset.splits, *self._parts]))
        if split not in known:
            raise ConfigError(f"--split {split}: there are {', '.join(known)}")
        source.check(self._dataset, self.data_dir)
        return split

    def state(self, step: str = "latest") -> "TrainState":
        """The state at a step: `latest`, `best` by validation, or a number.

        Raises:
            ConfigError: no such step.
            WorkdirError: the checkpoint is missing or damaged.
        """
        from resnet_jax import checkpoint
        from resnet_jax import step as steps

        shapes = steps.state_shapes(self.run.recipe, self.run.image_shape)
        return checkpoint.read(self.workdir, shapes, step)

    def examples(self, split: str) -> "Examples":
        """The images of a split, or of a part of the training split.

        Raises:
            DataError: the data is missing or damaged.
        """
        from resnet_jax.data import pipeline, source

        if split not in self._parts:
            return source.load(self._dataset, split, self.data_dir)
        images = source.load(self._dataset, "train", self.data_dir)
        return pipeline.hold_out(images, self.run.config.data.validation)[self._parts[split]]

    @property
    def _dataset(self) -> "Dataset":
        """That of the run; of a folder, with the images that are there now."""
        from resnet_jax.data import folder, spec

        dataset, config = self.run.dataset, self.run.config
        if dataset.name != spec.FOLDER:
            return dataset
        return folder.of_run(dataset, config.data, self.data_dir)

    @property
    def _parts(self) -> dict[str, int]:
        """The parts of the data set's training split: what the run kept of it, what it held out."""
        return {"train": 0, "validation": 1} if self.run.config.data.validation else {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what says which network: workdir, step, batch size, views, code that may be imported."""
    parser.add_argument("workdir", metavar="WORKDIR", type=Path, help="of a run")
    parser.add_argument(
        "--step", default="latest", help="latest (default), best by validation, or a number"
    )
    parser.add_argument("--batch-size", type=int, help="images at a time; default: that of the run")
    parser.add_argument(
        "--eval-augment",
        metavar="TOKENS",
        help="views to average over, such as 'flip crops(5)'; default: those of the run; '' for none",
    )
    trust.add_arguments(parser)


def add_split(parser: argparse.ArgumentParser) -> None:
    """Adds what says which of the run's images."""
    parser.add_argument(
        "--split",
        help="default: the data set's test split; validation is what the run held out of train",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="default: that of the run")


def of_arguments(args: argparse.Namespace) -> Rebuilt:
    """The network that the arguments of `add_arguments` and `add_split` name; see `rebuild`."""
    return rebuild(
        args.workdir,
        getattr(args, "data_dir", None),
        args.batch_size,
        eval_augment=args.eval_augment,
        plugins=args.plugins,
        unit=args.unit,
    )


def rebuild(
    workdir: Path,
    data_dir: str | None = None,
    batch_size: int | None = None,
    *,
    eval_augment: str | None = None,
    plugins: Sequence[str] = (),
    unit: str | None = None,
) -> Rebuilt:
    """Rebuilds the network of a run.

    Args:
        workdir: of the run.
        data_dir: where the data is; None: where the run had it.
        batch_size: images at a time; None: as the run.
        eval_augment: views to average over, as in the config; None: as the run.
        plugins: modules that the run's config may import.
        unit: unit class that it may import.

    Raises:
        ConfigError: an argument is wrong, or the run needs a module that is not named.
        WorkdirError: the workdir is none, or damaged.
    """
    from resnet_jax import plan, sharding, versions
    from resnet_jax import workdir as files
    from resnet_jax.data import resize, views
    from resnet_jax.native import backend

    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: expected a whole number of at least 1")
    config = files.read_config(workdir, plugins, unit)
    backend.tune(config)
    # The run's batch size may not suit this machine; evaluation takes the devices that divide it.
    devices = sharding.all_devices()
    count = math.gcd(config.batch_size // config.accumulation, len(devices))
    dataset = versions.dataset(workdir, config)
    where = data_dir or config.data.dir
    if eval_augment is not None:
        seen = resize.shape(dataset.image_shape, config.data.resize)
        views.parse(eval_augment, seen, "--eval-augment")
        config.eval_augment = eval_augment
        config.finetune.cache_features = False  # the network is evaluated whole, with any views
    run = plan.make(config, devices[:count], dataset)
    return Rebuilt(workdir, run, where, batch_size or config.eval_batch_size)
