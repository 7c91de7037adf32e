"""`figures`: the paper's figures from a study, and sheets and prompts from a workspace.

STUDY/compare.json → one figure a question, PNG and SVG
WORKSPACE          → sheets of members, prompts as pictures
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.reader import Pixels, Reader
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.chains import Positions
from lmeraser_ray.operations.cost import shards_in
from lmeraser_ray.pipeline.manifest import Manifest, ShardState
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published
from lmeraser_ray.storage.digests import keyed_hashes, seeded_key
from lmeraser_ray.storage.files import disk_errors, write_atomic
from lmeraser_ray.storage.paths import inside
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.figure.affected import affected_by_a_deletion
from lmeraser_ray.study.figure.epochs import accuracy_over_epochs
from lmeraser_ray.study.figure.frontier import frontier_of_systems
from lmeraser_ray.study.figure.pairs import one_head_against_many, random_against_adaptive
from lmeraser_ray.study.figure.prompts import Prompt, in_pixels, prompt_pictures
from lmeraser_ray.study.figure.ratios import ratio_and_prompts, retained_accuracy
from lmeraser_ray.study.figure.results import Study, study_of
from lmeraser_ray.study.figure.sheets import SheetRow, sheets
from lmeraser_ray.study.figure.style import FORMATS, Missing, house_style, rendered
from lmeraser_ray.study.figure.sweep import front_of_a_sweep
from lmeraser_ray.study.study_folder import StudyFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_A_STUDY: tuple[tuple[str, Callable[[Study], "Figure | Missing"]], ...] = (
    ("accuracy_over_epochs", accuracy_over_epochs),
    ("ratio_and_prompts", ratio_and_prompts),
    ("retained_accuracy", retained_accuracy),
    ("affected_by_a_deletion", affected_by_a_deletion),
    ("random_against_adaptive", random_against_adaptive),
    ("one_head_against_many", one_head_against_many),
    ("frontier", frontier_of_systems),
)
SHARDS, MEMBERS, PROMPTS = 8, 12, 12
"""Rows and columns of a sheet, and how many prompts are shown."""


@dataclass(frozen=True)
class Figures:
    """The files that were written; skipped: why a figure was not made, by the figure's name."""

    files: tuple[Path, ...]
    skipped: dict[str, str]


MakeFigure = Callable[[], "Figure | Missing"]


def study_figures(study: Path, out: Path, progress: Progress | None = None) -> Figures:
    """Make every figure that the study's results allow. Errors: `DataError` where there are no
    results, or where they are of another version."""
    data = StudyFolder(study).read("compare.json")
    found = study_of(data, where=str(study / "compare.json"))
    drawn = [(name, partial(draw, found)) for name, draw in OF_A_STUDY]
    return draw_all(drawn, out, progress)


def sweep_figure(study: Path, progress: Progress | None = None) -> tuple[Path, ...]:
    """Make the figure of a study's sweep. Returns its files."""
    data = StudyFolder(study).read("sweep.json")
    return draw_all([("sweep", lambda: front_of_a_sweep(data))], study / "figures", progress).files


def workspace_figures(session: Session, out: Path) -> Figures:
    """Make figures of a published workspace's shards and prompts. They show private records, and no
    erasure reaches them.

    Errors: `ConfigError` where `out` lies within the workspace, `DataError` without training
    records.
    """
    if inside(out, session.root):
        raise ConfigError(
            f"--out {out} lies within the workspace, which holds nothing but its own files: "
            "choose a folder outside of it."
        )
    config = session.config()

    def draw(state: Published) -> Figures:
        manifest = state.manifest
        if not manifest.shards:
            raise DataError(
                f"{session.root} holds no training records, so there is nothing to draw: train it "
                "on some first."
            )
        store = session.folder.store
        each: list[tuple[str, MakeFigure]] = [
            ("shard_members", lambda: shard_members(store, config, manifest)),
            ("prompts", lambda: learned_prompts(store, config, manifest)),
        ]
        return draw_all(each, out, session.progress)

    return session.consistently(draw)


def draw_all(
    each: Sequence[tuple[str, MakeFigure]], out: Path, progress: Progress | None
) -> Figures:
    """Make and write figures by name."""
    written: list[Path] = []
    skipped = {}
    with disk_errors(out):
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    shown = progress or Progress(quiet=True)
    with shown.stage("figures"), shown.bar("figures", len(each), "fig") as advance:
        for name, draw in each:
            with house_style():
                figure = draw()
            if isinstance(figure, Missing):
                skipped[name] = figure.reason
            else:
                for form in FORMATS:
                    written.append(out / f"{name}.{form}")
                    write_atomic(written[-1], rendered(figure, form), scratch=out)
            advance(1)
    return Figures(tuple(written), skipped)


def largest(manifest: Manifest, count: int) -> list[int]:
    """Return the places of the largest shards, the largest first, ties in their order."""
    return sorted(
        range(len(manifest.shards)), key=lambda place: (-manifest.shards[place].size, place)
    )[:count]


def shard_members(store: Store, config: Config, manifest: Manifest) -> "Figure":
    """Show the largest shards with some of their members, by keyed hash, and as many random records
    for each."""
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    shard_of = shards_in(store, config, manifest, index)
    chosen = [manifest.shards[place] for place in largest(manifest, SHARDS)]
    members = [
        index.training[found]
        for found in members_of(shard_of, by_hash(index, config.seed, "members"), chosen)
    ]
    strangers = np.split(
        index.training[by_hash(index, config.seed, "groups")],
        np.cumsum([len(found) for found in members]),
    )[: len(members)]
    reader = Reader(store, manifest.backbone.spec, config.data.max_pixels)
    source = (
        f"The {len(chosen)} largest of {len(manifest.shards)} shards, {len(shard_of):,} training "
        f"records; members and groups by keyed hash (seed {config.seed}); pictures as the "
        f"backbone sees them. State {manifest.fingerprint[:12]}. Private records."
    )
    labels = [name_of(shard) for shard in chosen]
    return sheets(
        rows_of(reader, index, members, labels),
        rows_of(reader, index, strangers, ["" for _ in labels]),
        source,
    )


def by_hash(index: RecordIndex, seed: int, domain: str) -> Positions:
    """Return the training records in the order of a keyed hash of their ids: [n] int64, positions
    among the training records."""
    hashes = keyed_hashes(
        seeded_key(seed, f"figures/{domain}"), index.names("record_id", index.training)
    )
    return np.array(sorted(range(len(hashes)), key=lambda at: hashes[at]), np.int64)


def members_of(shard_of: Labels, order: Positions, shards: Sequence[ShardState]) -> list[Positions]:
    """Return for each shard its first members in an order [n], at most `MEMBERS`."""
    return [order[shard_of[order] == shard.number][:MEMBERS] for shard in shards]


def rows_of(
    reader: Reader, index: RecordIndex, groups: Sequence[Positions], labels: Sequence[str]
) -> list[SheetRow]:
    """Return one row for each group of records, with their pictures in the given order."""
    return [
        SheetRow(label, pixels_of(reader, index, group))
        for label, group in zip(labels, groups, strict=True)
    ]


def pixels_of(reader: Reader, index: RecordIndex, positions: Positions) -> Pixels:
    """Return the pictures of records [m, 3, s, s] uint8, in the order of the positions."""
    ordered: NDArray[np.int64] = np.argsort(np.argsort(positions))
    return np.concatenate([reader.pixels(rows) for rows in index.rows(positions)])[ordered]


def learned_prompts(store: Store, config: Config, manifest: Manifest) -> "Figure | Missing":
    """Show the prompts of the largest shards that have several classes; a shard of one class learns
    no prompt."""
    joint, std = make_learner(config).joint, manifest.backbone.spec.std
    found: list[Prompt] = []
    for place in largest(manifest, len(manifest.shards)):
        constituent = Constituent.from_bytes(store.read(manifest.shards[place].constituent))
        tensor = constituent.tensors.get("prompt")
        if tensor is None or tensor.size == 0:
            return Missing(f"a {config.learner.kind} constituent has no prompt")
        if len(constituent.classes) > 1:
            found.append(
                Prompt(
                    name_of(manifest.shards[place]), in_pixels(tensor[place if joint else 0], std)
                )
            )
        if len(found) == PROMPTS:
            break
    if not found:
        return Missing("every shard has a single class, so that no prompt was learned")
    source = (
        f"The {len(found)} largest of {len(manifest.shards)} shards that have several classes, "
        f"and their number of records. State {manifest.fingerprint[:12]}."
    )
    return prompt_pictures(found, source)


def name_of(shard: ShardState) -> str:
    """Return a shard's number and its number of records: `shard 3 · 57`."""
    return f"shard {shard.number} · {shard.size:,}"
