"""What the seeds of a config share: its plan and the functions that are compiled once a process."""

import dataclasses
from collections.abc import Callable

from ml_collections import ConfigDict

from resnet_jax import config as configs
from resnet_jax import evaluate, steps
from resnet_jax.finetune import distill, features
from resnet_jax.plan import Plan
from resnet_jax.steps import Steps


@dataclasses.dataclass(frozen=True)
class Programs:
    """A plan and its jitted functions, which all seeds of a config can share: a seed is data.

    Attributes:
        plan: with the config of any seed.
        steps: the training steps.
        evaluate: `(variables, examples) -> Metrics`, of the validation images.
        test: the same of the test images, with what is correct.
        cache: `(variables, examples) -> examples` of features, on which `steps` and `evaluate` then
            work; None where they work on images.
    """

    plan: Plan
    steps: Steps
    evaluate: Callable
    test: Callable
    cache: Callable | None = None

    @classmethod
    def create(cls, run: Plan) -> "Programs":
        """Prepares what is compiled at its first call.

        Raises:
            ConfigError: there is no such teacher, or it does not fit.
        """
        run = dataclasses.replace(run, recipe=distill.with_teacher(run))
        recipe, size, cache = run.recipe, run.config.eval_batch_size, None
        test = evaluate.compile_correctness(recipe.model, recipe.batches, size)
        if run.config.finetune.cache_features:
            cache = features.compile_cache(recipe.model, recipe.batches, size)
            recipe = features.on_features(recipe)
        evaluation = evaluate.compile_evaluation(recipe.model, recipe.batches, size)
        # A copy: whoever changes the config afterwards would change what it is compared with.
        run = dataclasses.replace(run, config=run.config.copy_and_resolve_references())
        return cls(run, steps.compile(recipe), evaluation, test, cache)

    def of(self, config: ConfigDict) -> "Programs":
        """The same for `config`, which may differ in its seed only."""
        before, after = configs.flatten(self.plan.config), configs.flatten(config)
        if before | {"seed": None} != after | {"seed": None}:
            raise ValueError("programs are shared by seeds of one config, not by other configs")
        return dataclasses.replace(self, plan=dataclasses.replace(self.plan, config=config))
