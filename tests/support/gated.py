"""Trainings that a test can watch, hold, let go on and let fail, in whatever process they are: by
files in a folder."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from lmeraser_ray.config import Config
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import UNWATCHED, WHOLE, ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.prompt_head import PromptHead


class Gated(PromptHead):
    """Notes which trainings began and ended, and holds them after their first batch until a file
    `open` is there. Fails where told so."""

    def __init__(self, config: Config, folder: Path) -> None:
        super().__init__(config.learner)
        self.folder = folder

    def train(
        self,
        shard: ShardData,
        backbone: Backbone,
        *,
        stage: Stage = WHOLE,
        watch: Watch = UNWATCHED,
    ) -> Constituent:
        if (self.folder / f"poison-{shard.key}").exists():
            raise ZeroDivisionError("of person-0/picture-0")

        def records(count: int) -> None:
            watch.records(count)
            (self.folder / f"begun-{shard.key}-{os.getpid()}").touch()
            while not (self.folder / "open").exists():
                time.sleep(0.005)

        made = super().train(shard, backbone, stage=stage, watch=Watch(records, watch.epoch))
        (self.folder / f"ended-{shard.key}-{os.getpid()}").touch()
        return made


@dataclass(frozen=True)
class Begun:
    """A training that has begun: the key of what it makes, and the process that it is in."""

    key: str
    pid: int


@dataclass(frozen=True)
class Gate:
    """The folder of such trainings, as the test sees it."""

    folder: Path

    def begun(self) -> set[Begun]:
        """What has begun so far."""
        parts = [path.name.split("-") for path in self.folder.glob("begun-*")]
        return {Begun(key, int(pid)) for _, key, pid in parts}

    def ended(self, one: Begun) -> bool:
        """Whether a training has come to its end."""
        return (self.folder / f"ended-{one.key}-{one.pid}").exists()

    def open(self) -> None:
        """Let all go on."""
        (self.folder / "open").touch()

    def poison(self, key: str) -> None:
        """Let the trainings of a key fail."""
        (self.folder / f"poison-{key}").touch()
