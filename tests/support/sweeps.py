"""What the tests of sweeps share: questions about a tiny world, asked in one process or on Ray."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.study.sweep import SweepRequest, sweep
from lmeraser_ray.study.sweep_records import ErasureWatch, sweep_records
from lmeraser_ray.study.sweep_report import Written
from lmeraser_ray.study.variants import sweep_variants
from tests.support.world import Recorder, World

VALUES = ["4", "5", "6", "7"]

SHARDS = ("partition.shards", ["2", "4", "6", "8"])


def tree(world: World, **sections: Any) -> dict[str, Any]:
    return json.loads(world.config(**sections).model_dump_json())


def question(
    world: World,
    *axes: tuple[str, Sequence[str]],
    workspace: Path | None = None,
    keep: bool = False,
    **sections: Any,
) -> SweepRequest:
    found = sweep_variants(
        tree(world, **sections), [], [(name, list(values)) for name, values in axes or (SHARDS,)]
    )
    return SweepRequest(found, workspace, keep)


def run(
    world: World, asked: SweepRequest, recorder: Recorder | None = None, root: Path | None = None
) -> Written:
    return sweep((recorder or Recorder()).session(root or world.folder / "study"), asked)


def never_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmeraser_ray.study.race.beaten_by", lambda at_most, measured: None)


def sides(world: World, config: Config) -> tuple[set[str], set[str]]:
    """The ids that a sweep trains on, and those that it judges by."""
    from lmeraser_ray.data.index import RecordIndex

    folder = WorkspaceFolder(world.space())
    folder.create()
    with folder.locked() as workspace:
        index = RecordIndex.read(
            workspace.store, sweep_records(config, workspace.store, ErasureWatch(None).now())
        )
    names = index.names("record_id")
    held = {name for name, test in zip(names, index.test, strict=True) if test}
    return set(names) - held, held


def sweep_on(
    world: World,
    engine: str,
    root: Path,
    *,
    without: str = "",
    workspace: Path | None = None,
    axis: Any = None,
    **execution: Any,
) -> Written:
    """Sweep into the study `root`. without: a record that is left out from the start."""
    execution["engine"] = engine
    sections: dict[str, Any] = {
        "partition": {"sample_size": 30},
        "learner": {"optimizer": "sgd"},
        "execution": execution,
    }
    config = world.without([without], **sections) if without else world.config(**sections)
    found = sweep_variants(
        json.loads(config.model_dump_json()), [], [axis or ("partition.shards", VALUES)]
    )
    return sweep(Session(root), SweepRequest(found, workspace, keep=True))
