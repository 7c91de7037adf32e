"""The verbs that measure: `compare`, `sweep`."""

from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeraser_ray.cli.table import table
from lmeraser_ray.cli.verb import KEEP, Argument, Arguments, Report, Verb, counted
from lmeraser_ray.config import presets
from lmeraser_ray.config.options import read_yaml
from lmeraser_ray.config.quickstart import QUICKSTART
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import location

if TYPE_CHECKING:
    from lmeraser_ray.study.sweep_report import SweepResult

SUMMARY = (
    "test accuracy",
    "retained accuracy",
    "shards",
    "records retrained, mean share",
    "p99 share",
    "worst share",
    "seconds for one deletion",
)
"""The columns of a comparison that are printed; its files have all."""


def numbers(text: str, what: str) -> list[int]:
    """Parse whole numbers between commas. Errors: `ConfigError`."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"{what} {text!r} was not understood: give whole numbers with commas between them."
        ) from None
    return list(dict.fromkeys(found))


def shares(text: str, what: str) -> tuple[float, ...]:
    """Parse shares, 0 ≤ share < 1, between commas. Errors: `ConfigError`."""
    try:
        found = [float(part) for part in text.split(",") if part]
    except ValueError:
        found = [-1.0]
    if not all(0 <= share < 1 for share in found):
        raise ConfigError(
            f"{what} {text!r} was not understood: give shares from 0 to below 1 with commas "
            "between them."
        )
    return tuple(dict.fromkeys(found))


COMPARE = (
    Argument(
        "--config",
        "a YAML file for data, backbone and execution; without it, the quickstart's",
        type=Path,
    ),
    Argument(
        "--systems",
        f"names or YAML files, with commas: all, or some of {', '.join(presets.names())}",
        default="all",
    ),
    Argument("--seeds", "each seed is a split of its own too (0,1,2)", default="0,1,2"),
    Argument(
        "--vary",
        "measure each system with these values; may be repeated",
        action="append",
        default=[],
        metavar="FIELD=A,B",
    ),
    Argument(
        "--deletions",
        "single deletions that are timed for each system and seed (3)",
        type=int,
        default=3,
    ),
    Argument("--together", "records of one joint deletion (10)", type=int, default=10),
    Argument(
        "--forget",
        "shares of the training records to erase at once: 0,0.1,0.5",
        default="",
        metavar="A,B",
    ),
    Argument(
        "--curves",
        "accuracy after each epoch, for the first seed: trains it once more",
        action="store_true",
    ),
    KEEP,
)


def run_compare(args: Arguments, progress: Progress) -> Report:
    """Compare systems: accuracy against the price of forgetting."""
    from lmeraser_ray.study.compare import CompareRequest, compare
    from lmeraser_ray.study.comparison_table import COLUMNS, shown
    from lmeraser_ray.study.measure import Extent
    from lmeraser_ray.study.variants import variants

    if any(name == "seed" for name, _ in args.overrides):
        raise ConfigError("compare takes several seeds: give --seeds 0,1,2 and not --seed.")
    if min(args.deletions, args.together) < 0:
        raise ConfigError("--deletions and --together are numbers of records: give 0 or more.")
    base = read_yaml(args.config) if args.config else QUICKSTART
    found = variants(base, args.systems.split(","), args.overrides, args.vary)
    extent = Extent(args.deletions, args.together, shares(args.forget, "--forget"))
    question = CompareRequest(
        found, numbers(args.seeds, "--seeds"), extent, curves=args.curves, keep=args.keep
    )
    done = compare(Session(args.study, progress), question)
    columns = [column for column in COLUMNS if column.name in SUMMARY]
    rows = [
        [name, *(shown(column, cells[column.name]) for column in columns)]
        for name, cells in done.systems.items()
    ]
    text = (
        f"{table(['system', *(column.name for column in columns)], rows)}\n\n"
        f"{counted(len(rows), 'system')}, with all figures written to "
        f"{', '.join(str(path) for path in done.files)}"
    )
    data = {
        "systems": done.systems,
        "files": [str(path) for path in done.files],
        "failed": done.failed,
    }
    notes = tuple(f"{name} was not measured: {reason}" for name, reason in done.failed.items())
    return Report(text, data, notes, exit_code=ConfigError.exit_code if done.failed else 0)


SWEEP = (
    Argument(
        "--config",
        "a YAML file; without it, the workspace's configuration, else the quickstart's",
        type=Path,
    ),
    Argument(
        "--system",
        f"sweep another system: {', '.join(presets.names())}, or a YAML file with its three "
        "sections",
    ),
    Argument(
        "--thresholds",
        "values of partition.threshold, evenly spaced: 5:40:8",
        metavar="FIRST:LAST:COUNT",
    ),
    Argument(
        "--sweep",
        "values of any field of a system; repeated: every combination",
        action="append",
        default=[],
        metavar="FIELD=A,B",
    ),
    Argument(
        "--workspace",
        "leave out whom this workspace erased, also while the sweep runs",
        type=location,
    ),
    KEEP,
)


def run_sweep(args: Arguments, progress: Progress) -> Report:
    """Find which threshold, or other value, to train with, by accuracy and cost of a deletion."""
    from lmeraser_ray.study.figures import sweep_figure
    from lmeraser_ray.study.sweep import SweepRequest, sweep
    from lmeraser_ray.study.sweep_report import COLUMNS, cells
    from lmeraser_ray.study.variants import parse_axis, parse_range, sweep_variants

    axes = [parse_axis(text, "--sweep") for text in args.sweep]
    if args.thresholds:
        axes.insert(0, ("partition.threshold", parse_range(args.thresholds)))
    if not axes:
        raise ConfigError(
            "Nothing to sweep was named: give --thresholds 5:40:8, or --sweep field=value,value."
        )
    found = sweep_variants(base_of(args), args.overrides, axes)
    done = sweep(Session(args.study, progress), SweepRequest(found, args.workspace, keep=args.keep))
    files = [*done.files, *sweep_figure(args.study, progress)]
    swept, choice = done.result, done.result.choice
    text = (
        f"{table(COLUMNS, cells(done.rows))}\n\n{choice.reason}\n{swept.sharing.sentence()}\n"
        f"train with it: `lmeraser train --config {args.study / 'best.yaml'}`\nwritten to "
        f"{', '.join(str(path) for path in files)}"
    )
    data = {
        "values": done.rows,
        "recommended": {"value": choice.point.name, "reason": choice.reason},
        "records": asdict(swept.records),
        "sharing": asdict(swept.sharing),
        "failed": dict(swept.failed),
        "files": [str(path) for path in files],
        "seconds": progress.rounded(),
    }
    return Report(
        text, data, sweep_notes(swept), exit_code=ConfigError.exit_code if swept.failed else 0
    )


def base_of(args: Arguments) -> dict[str, Any]:
    """Return the configuration that is swept as a tree: that of the file, of the workspace, or the
    quickstart's; with the sections of another system where one is named."""
    if args.config:
        tree = read_yaml(args.config)
    elif args.workspace:
        tree = Session(args.workspace).folder.load_config().model_dump(mode="json")
    else:
        tree = deepcopy(QUICKSTART)
    return presets.with_system(tree, args.system) if args.system else tree


def sweep_notes(swept: "SweepResult") -> tuple[str, ...]:
    """Return what a person should know about the sweep."""
    notes = [f"{name} was not measured: {reason}" for name, reason in swept.failed.items()]
    if swept.records.erased:
        notes.append(
            f"{counted(swept.records.erased, 'record')} erased while the sweep ran: all values "
            "were measured without them."
        )
    if swept.records.on == "test":
        notes.append(
            "the choice has seen the test records: their accuracy is no honest figure any more "
            "(sweep.on validation avoids it)."
        )
    return tuple(notes)


VERBS = (
    Verb("compare", run_compare, COMPARE, folder="study", configures=True),
    Verb("sweep", run_sweep, SWEEP, folder="study", configures=True),
)
