"""The training run: build, restore, step, evaluate, save, report."""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from resnet_jax import (
    atomic,
    checkpoint,
    console,
    inputs,
    interrupt,
    plan,
    probes,
    profile,
    sharding,
    start,
    step,
)
from resnet_jax import config as configs
from resnet_jax import workdir as files
from resnet_jax.data import pipeline
from resnet_jax.early_stopping import Patience
from resnet_jax.errors import Stopped
from resnet_jax.finetune import borrowed, sequence
from resnet_jax.finetune.borrowed import Borrowed
from resnet_jax.journal import Journal
from resnet_jax.metrics import Metrics
from resnet_jax.native import coverage
from resnet_jax.programs import Programs
from resnet_jax.step import TrainState


def train_and_evaluate(
    config: ConfigDict,
    workdir: Path,
    devices: list[jax.Device] | None = None,
    settings: Sequence[str] = (),
    programs: Programs | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Trains, or continues, the run of `config` in `workdir`, and evaluates the test images once.

    With `finetune.phases` it does so for each phase, and returns the result of the last.

    Args:
        config: fields as in `configs/default.py`.
        workdir: made if missing; see the README for what it will hold.
        devices: all of them if None.
        settings: what `platform.prepare` did, to be shown.
        programs: of another seed of the same config, so that nothing is compiled again; None for
            its own. They come with their devices.
        watch: called with the steps that have been dispatched and the length of the run.

    Returns:
        the content of `result.json`; at once if the run had finished before.

    Raises:
        UserError: one of `errors.py`; what was saved before stays valid.
    """
    configs.validate(config)
    if config.finetune.phases:
        one = functools.partial(train_and_evaluate, devices=devices, settings=settings, watch=watch)
        return sequence.run(config, workdir, devices, one)
    files.check_claim(workdir, config)
    finished = files.read_result(workdir)
    if finished is not None:
        print(f"{workdir} has finished; its result again:")
        print(console.describe_result(finished, console.network_name(config.model), workdir))
        return finished
    if programs is None:
        dataset = start.dataset(config, workdir)
        programs = Programs.create(plan.make(config, devices, dataset))
    programs = programs.of(config)
    run = programs.plan
    inputs.ensure(config, run.dataset)
    taken = borrowed.take(run, workdir)
    files.claim(workdir, config)
    for line in console.describe(config, run.dataset, run.parameters, run.devices):
        print(line)
    for note in run.dataset.notes:
        print(f"note      {note}")
    print(f"conv      {run.backend}{coverage.note(run)}")
    if settings:
        print(f"settings  {', '.join(settings)}")
    print(f"workdir   {workdir}", flush=True)
    checkpoints = checkpoint.Checkpoints(workdir, config.checkpoint.keep)
    try:
        result = _Run(programs, workdir, checkpoints, taken, watch).complete()
    finally:
        checkpoints.close()
    print(console.describe_result(result, console.network_name(config.model), workdir), flush=True)
    return result


class _Run:
    """One process's share of a run: from the newest checkpoint, or from nothing, to the end."""

    def __init__(
        self,
        programs: Programs,
        workdir: Path,
        checkpoints: checkpoint.Checkpoints,
        taken: Borrowed,
        watch: Callable[[int, int], None] | None,
    ):
        self._plan = run = programs.plan
        self._programs = programs
        self._watch = watch
        self._config = config = run.config
        self._workdir = workdir
        self._checkpoints = checkpoints
        self._weights = taken.weights
        self._mesh = run.recipe.batches.mesh
        read = inputs.load(run, workdir, taken)
        self._examples, self._held_out, self._test = read.train, read.held_out, read.test
        self._eval_every = config.eval_every or max(
            1, round(configs.train_examples(config, run.dataset) / config.batch_size)
        )
        self._patience = Patience(config.early_stopping, self._eval_every)
        self._began = time.perf_counter()

    def complete(self) -> dict[str, Any]:
        """Trains to the last step, evaluates, and writes the result."""
        begun = start.begin(self._plan, self._checkpoints, self._workdir, self._weights)
        self._weights = None  # they are the state now
        state, metrics = begun.state, self._on_mesh(begun.metrics)
        if self._programs.cache is not None:
            self._cache_features(state)
        self._seconds_before = begun.seconds
        done, images = int(state.step), len(self._examples)
        self._journal = Journal(self._plan, self._workdir, done, images, begun.saved)
        self._progress = self._journal.progress
        folder = self._workdir / "profile"
        self._profiler = profile.Profiler(folder, done) if self._config.profile else None
        self._probes = None
        if every := self._config.probe.every:
            path = self._workdir / probes.FILE
            self._probes = probes.Probes(self._plan.recipe, path, every, done)
        try:
            with interrupt.requests() as request:
                state = self._train(state, metrics, done, request)
            self._progress.close()
            return self._finish(state)
        finally:
            self._journal.close()
            if self._probes is not None:
                self._probes.close()

    def _cache_features(self, state: TrainState) -> None:
        """Puts what the frozen body makes of the images into their place."""
        began = time.perf_counter()
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        self._examples = self._programs.cache(variables, self._examples)
        if self._held_out is not None:
            self._held_out = self._programs.cache(variables, self._held_out)
        shape = "x".join(map(str, self._examples.images.shape[2:]))
        taken = console.duration(time.perf_counter() - began)
        print(f"features  {len(self._examples):,} x {shape} computed once, in {taken}", flush=True)

    def _train(
        self, state: TrainState, metrics: Metrics, done: int, request: interrupt.Request
    ) -> TrainState:
        """Takes the remaining steps. Rows are fetched one dispatch late, so the device never waits.

        Raises:
            Stopped: on request, when the step at hand is saved.
        """
        row: tuple[int, str, Metrics] | None = None
        previous = metrics
        while done < self._plan.steps and not self._out_of_patience(done):
            if self._probes is not None:
                self._probes.before(done, state, self._examples)
            count = self._until_next_event(done)
            if self._profiler is not None:
                self._profiler.before(done, metrics)
            state, metrics = self._programs.steps(state, metrics, self._examples, count)
            done += count
            if self._profiler is not None:
                args = (state, metrics, self._examples)
                text = functools.partial(self._programs.steps.compiled_text, *args)
                for line in self._profiler.after(done, metrics, text):
                    self._progress.say(line)
            if row is not None:
                self._journal.row(*row)
                row = None
            # Waiting for the dispatch before keeps the device busy and this process close to it.
            jax.block_until_ready(previous)
            previous = metrics
            self._progress.advance(done - count)
            if self._watch is not None:
                self._watch(done, self._plan.steps)
            last = done == self._plan.steps
            if done % self._config.log_every == 0 or last:
                row, metrics = (done, "train", metrics), self._on_mesh(Metrics.empty())
            evaluates = self._held_out is not None and (done % self._eval_every == 0 or last)
            stops = bool(request) and not last
            saves = done % self._config.checkpoint.every == 0 or last or stops
            if evaluates or saves:
                jax.block_until_ready(previous)
                self._progress.advance(done)
                if row is not None:
                    self._journal.row(*row)
                    row = None
                accuracy = self._validate(state, done) if evaluates else None
                self._save(state, metrics, accuracy, due=saves)
                self._progress.pause()
            if stops:
                raise Stopped(
                    f"stopped by {request.name}: step {done:,} of {self._plan.steps:,} is saved in "
                    f"{self._workdir}; the same command continues"
                )
        if done < self._plan.steps:
            self._progress.say(
                f"stopped   at step {done:,}: {self._patience.evaluations} evaluations in a row were no "
                f"better than that of step {self._checkpoints.best_step():,}"
            )
        return state

    def _out_of_patience(self, done: int) -> bool:
        """Whether the run ends early; the best step is that on disk, which a resumed run knows too."""
        due = self._patience.evaluations and done % self._eval_every == 0
        return bool(due) and self._patience.is_over(done, self._checkpoints.best_step())

    def _until_next_event(self, done: int) -> int:
        """Steps to dispatch at once: on a CPU one, on accelerators up to the next event."""
        if not sharding.on_accelerator(self._mesh):
            return 1
        every = [self._config.log_every, self._config.checkpoint.every]
        every += [self._eval_every] if self._held_out is not None else []
        ends = [self._plan.steps - done, *(period - done % period for period in every)]
        if self._probes is not None:
            ends.append(self._probes.steps_left(done))
        if self._profiler is not None:
            ends.append(self._profiler.steps_left(done))
        return min(ends)

    def _on_mesh(self, metrics: Metrics) -> Metrics:
        return jax.device_put(metrics, sharding.replicated(self._mesh))

    def _validate(self, state: TrainState, at: int) -> float:
        metrics = self._programs.evaluate(state.evaluated(), self._held_out)
        return self._journal.row(at, "validation", metrics)["accuracy"]

    def _save(
        self, state: TrainState, metrics: Metrics, accuracy: float | None, *, due: bool
    ) -> None:
        """Saves if it is due, or if the validation accuracy is the best so far."""
        best = self._checkpoints.best_accuracy()
        improved = accuracy is not None and (best is None or accuracy > best)
        if not (due or improved):
            return
        # A tie does not displace the best, so that it does not depend on when saving was due.
        accuracy = accuracy if improved else None
        self._journal.check_finite(state)
        extra = {"unlogged": metrics.to_json(), "seconds": self._seconds()}
        self._checkpoints.save(state, extra, accuracy)
        self._journal.saved = int(state.step)

    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._began

    def _finish(self, state: TrainState) -> dict[str, Any]:
        chosen = {}
        if self._patience.evaluations:
            chosen = {
                "chosen": "best by validation",
                "validation_accuracy": self._checkpoints.best_accuracy(),
                "steps_taken": int(state.step),
            }
            shapes = step.state_shapes(self._plan.recipe, self._plan.dataset.image_shape)
            state, _ = self._checkpoints.restore(shapes, self._checkpoints.best_step())
        test = pipeline.place(self._test, self._mesh)
        metrics, correct = self._programs.test(state.evaluated(), test)
        row = self._journal.row(int(state.step), "test", metrics)
        result = {
            "test_accuracy": row["accuracy"],
            "test_loss": row["loss"],
            "test_examples": metrics.examples(),
            "step": int(state.step),
            "seed": self._config.seed,
            "parameters": self._plan.parameters,
            "state_sha256": checkpoint.sha256(state),
            "seconds": self._seconds(),
            "images_per_second": self._progress.images_per_second(),
            **chosen,
            "eval_augment": self._config.eval_augment,
        }
        files.write_correct(self._workdir, np.asarray(correct))
        atomic.write_json(self._workdir / files.RESULT, result)
        return result
