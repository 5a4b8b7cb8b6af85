"""What a worker process is asked to do: one arm, some seeds."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from resnet_jax import config as configs
from resnet_jax.ablation import design, directory
from resnet_jax.ablation.design import Arm, Sweep


@dataclasses.dataclass(frozen=True)
class Job:
    """Runs that share one compilation, to be done one after the other.

    Attributes:
        directory: of the sweep.
        arm: its name.
        seeds: of the runs.
        config: resolved; its seed is to be replaced.
        overrides: of the arm, plain values.
    """

    directory: Path
    arm: str
    seeds: tuple[int, ...]
    config: ConfigDict
    overrides: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What every row says of the recipe, however the run ended."""
        sha256 = directory.config_sha256(self.config)
        return {"config_sha256": sha256, "overrides": dict(self.overrides)}

    def without(self, seeds: Sequence[int]) -> "Job":
        """The same without some seeds."""
        kept = tuple(seed for seed in self.seeds if seed not in seeds)
        return dataclasses.replace(self, seeds=kept)

    def to_json(self) -> str:
        """One line."""
        fields = {field: directory.plain(v) for field, v in configs.flatten(self.config).items()}
        whole = {"directory": str(self.directory), "arm": self.arm, "seeds": self.seeds}
        return json.dumps(whole | {"config": fields, "overrides": dict(self.overrides)})

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """What `to_json` wrote."""
        job = json.loads(text)
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in job["config"].items()}
        config = design.unflatten(fields)
        where, seeds = Path(job["directory"]), tuple(job["seeds"])
        return cls(where, job["arm"], seeds, config, job["overrides"])


def plan(sweep: Sweep, where: Path, runs: Sequence[tuple[Arm, int]], slots: int) -> list[Job]:
    """One job an arm; the seeds of the last arms, for which slots would wait, are parted.

    Args:
        sweep: valid.
        where: its directory.
        runs: to be done, arm by arm.
        slots: processes that will run at once.
    """
    seeds: dict[str, list[int]] = {}
    for arm, seed in runs:
        seeds.setdefault(arm.name, []).append(seed)
    arms = {arm.name: arm for arm in sweep.arms}
    jobs = []
    # A part compiles anew, but seconds: a slot that waits for the last arm loses whole runs. Where the
    # slots divide the arms it may wait too, since some arms take longer than others.
    last = len(seeds) % slots or 1
    for number, (name, mine) in enumerate(seeds.items()):
        arm = arms[name]
        overrides = {field: directory.plain(value) for field, value in arm.overrides.items()}
        parts = min(len(mine), math.ceil(slots / last)) if number >= len(seeds) - last else 1
        for part in range(1, parts + 1):
            some = tuple(design.share(mine, part, parts))
            jobs.append(Job(where, name, some, design.resolve(sweep, arm), overrides))
    return jobs
