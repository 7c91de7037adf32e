"""`figures`: the paper's figures from a study, and sheets and prompts from a workspace.

STUDY/compare.json                          → one figure a question, PNG and SVG
STUDY/sweep.json, recommend.json, attack.json → one figure each
WORKSPACE                                   → sheets of members, prompts as pictures
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.reader import Pixels, Reader
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.chains import Positions
from lmeraser_ray.operations.evaluate import Evaluation
from lmeraser_ray.operations.learned_prompts import largest, learned_prompts, name_of
from lmeraser_ray.operations.single_costs import shards_in
from lmeraser_ray.pipeline.manifest import Manifest, ShardState
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published
from lmeraser_ray.storage.files import disk_errors, make_folder
from lmeraser_ray.storage.paths import inside
from lmeraser_ray.storage.store import Store
from lmeraser_ray.storage.whole_file import write_whole
from lmeraser_ray.study.figure.affected import affected_by_a_deletion
from lmeraser_ray.study.figure.attack import power_of_an_attack
from lmeraser_ray.study.figure.confusion import confusion_matrix, reliability_diagram
from lmeraser_ray.study.figure.epochs import accuracy_over_epochs, average_accuracy
from lmeraser_ray.study.figure.frontier import frontier_of_people, frontier_of_systems
from lmeraser_ray.study.figure.mistakes import worst_errors
from lmeraser_ray.study.figure.pairs import one_head_against_many, random_against_adaptive
from lmeraser_ray.study.figure.prompts import prompt_pictures
from lmeraser_ray.study.figure.ratios import ratio_and_prompts, retained_accuracy
from lmeraser_ray.study.figure.results import Study, study_of
from lmeraser_ray.study.figure.sheets import SheetRow, sheets
from lmeraser_ray.study.figure.style import FORMATS, Missing, house_style, rendered
from lmeraser_ray.study.figure.sweep import front_of_a_sweep
from lmeraser_ray.study.hashed_order import hashed_order
from lmeraser_ray.study.study_folder import StudyFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_A_STUDY: tuple[tuple[str, Callable[[Study], "Figure | Missing"]], ...] = (
    ("accuracy_over_epochs", accuracy_over_epochs),
    ("average_accuracy", average_accuracy),
    ("ratio_and_prompts", ratio_and_prompts),
    ("retained_accuracy", retained_accuracy),
    ("affected_by_a_deletion", affected_by_a_deletion),
    ("random_against_adaptive", random_against_adaptive),
    ("one_head_against_many", one_head_against_many),
    ("frontier", frontier_of_systems),
    ("frontier_of_people", frontier_of_people),
)
OF_A_VERB: dict[str, Callable[[Any], "Figure | Missing"]] = {
    "sweep": partial(front_of_a_sweep, verb="sweep"),
    "recommend": partial(front_of_a_sweep, verb="recommend"),
    "attack": power_of_an_attack,
}
"""Figures of verbs that have one, by the verb."""
TITLES = {
    "affected_by_a_deletion": "What one deletion trains again",
    "frontier": "Accuracy against the cost of a deletion",
    "frontier_of_people": "Accuracy against the cost of forgetting a person",
    "ratio_and_prompts": "Accuracy by share erased and number of shards",
    "attack": "What an attack finds of forgotten records",
    "recommend": "Accuracy against the work of a deletion",
    "sweep": "Accuracy against the work of a deletion",
}
"""Of figures whose names are too short to be their titles."""
TITLE = 0.18
"""Inches that a title takes, above what a figure needs."""
SHARDS, MEMBERS, PROMPTS = 8, 12, 12
"""Rows and columns of a sheet, and how many prompts are shown."""


@dataclass(frozen=True)
class Figures:
    """The files that were written; skipped: why a figure was not made, by the figure's name."""

    files: tuple[Path, ...]
    skipped: dict[str, str]


MakeFigure = Callable[[], "Figure | Missing"]


def study_figures(study: Path, out: Path, progress: Progress | None = None) -> Figures:
    """Make every figure that the study's results allow, of whatever verb. Errors: `DataError` where
    there are no results, or where they are of another version."""
    there = [verb for verb in OF_A_VERB if (study / f"{verb}.json").is_file()]
    drawn: list[tuple[str, MakeFigure]] = [(verb, partial(drawn_of, study, verb)) for verb in there]
    if not there or (study / "compare.json").is_file():
        data = StudyFolder(study).read("compare.json")
        found = study_of(data, where=str(study / "compare.json"))
        drawn = [*((name, partial(draw, found)) for name, draw in OF_A_STUDY), *drawn]
    return draw_all(drawn, out, progress)


def verb_figure(study: Path, verb: str, progress: Progress | None = None) -> tuple[Path, ...]:
    """Make the figure of what one verb of `OF_A_VERB` has found in a study. Returns its files."""
    return draw_all([(verb, partial(drawn_of, study, verb))], study / "figures", progress).files


def drawn_of(study: Path, verb: str) -> "Figure | Missing":
    """Return the figure of a verb's results; of another version's it says that there is none.
    Errors: `DataError` where there are no results."""
    data = StudyFolder(study).read(f"{verb}.json")
    try:
        return OF_A_VERB[verb](data)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return Missing(
            f"{study / f'{verb}.json'} is not what this version's `lmeraser {verb}` writes "
            f"({error!r}): run it again into a new study"
        )


def evaluation_figures(
    evaluation: Evaluation, out: Path, progress: Progress | None = None
) -> Figures:
    """Make the figures of an evaluation: the confusion matrix, the reliability diagram, and its
    worst mistakes, which are private records that no erasure reaches."""
    quality, source = evaluation.quality, f"State {evaluation.fingerprint[:12]}."
    nothing = Missing("the workspace has no test records")
    each: list[tuple[str, MakeFigure]] = [
        ("confusion", lambda: confusion_matrix(quality, source) if quality else nothing),
        ("reliability", lambda: reliability_diagram(quality, source) if quality else nothing),
        ("worst_errors", lambda: worst_errors(evaluation.worst, source) if quality else nothing),
    ]
    return draw_all(each, out, progress)


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
            ("prompts", lambda: prompts_figure(store, config, manifest)),
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
        make_folder(out)
    shown = progress or Progress(quiet=True)
    with shown.stage("figures"), shown.bar("figures", len(each), "fig") as advance:
        for name, draw in each:
            with house_style():
                figure = draw()
            if isinstance(figure, Missing):
                skipped[name] = figure.reason
            else:
                figure.set_figheight(figure.get_figheight() + TITLE)
                figure.suptitle(title_of(name), x=0.01, ha="left", fontsize=8, fontweight="bold")
                for form in FORMATS:
                    written.append(out / f"{name}.{form}")
                    write_whole(written[-1], rendered(figure, form))
            advance(1)
    return Figures(tuple(written), skipped)


def title_of(name: str) -> str:
    """Return the title of a figure: what its name says, in words."""
    words = name.replace("_", " ")
    return TITLES.get(name, words[:1].upper() + words[1:])


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
        f"The {len(chosen)} largest of {len(manifest.only(0).shards)} shards, "
        f"{len(shard_of):,} training records; members and groups by keyed hash (seed "
        f"{config.seed}); pictures as the backbone sees them. State "
        f"{manifest.fingerprint[:12]}. Private records."
    )
    labels = [name_of(shard) for shard in chosen]
    return sheets(
        rows_of(reader, index, members, labels),
        rows_of(reader, index, strangers, ["" for _ in labels]),
        source,
    )


def by_hash(index: RecordIndex, seed: int, domain: str) -> Positions:
    """Return the training records in a hashed order: [n] int64, positions among the training
    records."""
    return hashed_order(index.names("record_id", index.training), seed, f"figures/{domain}")


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


def prompts_figure(store: Store, config: Config, manifest: Manifest) -> "Figure | Missing":
    """Show the prompts of the largest shards that have several classes."""
    found = learned_prompts(store, config, manifest, PROMPTS)
    if isinstance(found, str):
        return Missing(found)
    source = (
        f"The {len(found)} largest of {len(manifest.only(0).shards)} shards that have several "
        f"classes, and their number of records. State {manifest.fingerprint[:12]}."
    )
    return prompt_pictures(found, source)
