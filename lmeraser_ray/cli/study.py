"""The verbs that measure: `compare`, `sweep`, `recommend`."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from lmeraser_ray.cli.table import table
from lmeraser_ray.cli.verb import KEEP, Argument, Arguments, Report, Verb, counted
from lmeraser_ray.config import Config, presets
from lmeraser_ray.config.layers import Tree
from lmeraser_ray.config.options import read_yaml
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.paths import location, require_disk

if TYPE_CHECKING:
    from lmeraser_ray.study.recommendation import Question
    from lmeraser_ray.study.sweep import SweepRequest
    from lmeraser_ray.study.sweep_report import SweepResult

SUMMARY = (
    "test accuracy",
    "validation accuracy",
    "shards",
    "work of one record, mean",
    "work of one record, worst",
    "work of a person of ten, mean",
    "work of a batch of 1%, mean",
    "work of adding 1%, mean",
)
"""The columns of a comparison that are printed; its files have all."""
SECONDS = 170.0
"""After which `recommend` tries nothing more."""


def own_system_notes(base: Tree, file: Path | None) -> tuple[str, ...]:
    """Return what a person should know about a file that chooses a system of its own."""
    from lmeraser_ray.study.variants import own_sections

    own = own_sections(base)
    if not own:
        return ()
    return (
        f"{', '.join(own)} of {file or 'the workspace'} left out: a section with a kind is a "
        "system's own, and each system has its own.",
    )


def check_study(study: Path, configs: Sequence[Config], *, whole: bool = True) -> None:
    """Refuse a folder that is no study's and inputs that are not there, before torch is imported:
    it takes seconds. Errors: those of `operations.preflight`."""
    from lmeraser_ray.operations.preflight import check_inputs, check_writable
    from lmeraser_ray.study.study_folder import StudyFolder

    StudyFolder(require_disk(study)).check()
    check_writable(study)
    for _, config in groupby(configs, key=attrgetter("data", "sweep")):
        check_inputs(next(config), whole=whole)


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


SYSTEMS = Argument(
    "--systems",
    f"names or YAML files, with commas: all, or some of {', '.join(presets.names())}",
    default="all",
)
COMPARE = (
    Argument(
        "--config",
        "a YAML file, or quickstart, for data, backbone and execution; a field of a section that "
        "names no kind stands over that of each system",
        type=Path,
    ),
    SYSTEMS,
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
        "accuracy after each epoch, for the first COUNT seeds (1): trains each once more",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="COUNT",
    ),
    Argument(
        "--on",
        "the records to judge by: test, or validation (people held out of the training records, by "
        "sweep.fraction; no test record is read)",
        choices=("test", "validation"),
        default="test",
    ),
    KEEP,
)


def run_compare(args: Arguments, progress: Progress) -> Report:
    """Compare systems: accuracy against the price of forgetting."""
    from lmeraser_ray.study.variants import variants

    if any(name == "seed" for name, _ in args.overrides):
        raise ConfigError("compare takes several seeds: give --seeds 0,1,2 and not --seed.")
    if min(args.deletions, args.together, args.curves) < 0:
        raise ConfigError("--deletions, --together and --curves are numbers: give 0 or more.")
    base = read_yaml(args.config) if args.config else {}
    found = variants(base, args.systems.split(","), args.overrides, args.vary)
    check_study(args.study, [variant.config() for variant in found])
    from lmeraser_ray.pipeline.session import Session
    from lmeraser_ray.study.compare import CompareRequest, compare
    from lmeraser_ray.study.comparison_table import columns_on, shown
    from lmeraser_ray.study.measure import Extent

    extent = Extent(args.deletions, args.together, shares(args.forget, "--forget"))
    question = CompareRequest(
        found,
        numbers(args.seeds, "--seeds"),
        extent,
        curves=args.curves,
        keep=args.keep,
        on=args.on,
    )
    done = compare(Session(args.study, progress), question)
    columns = [column for column in columns_on(args.on) if column.name in SUMMARY]
    rows = [
        [name, *(shown(column, cells[column.name]) for column in columns)]
        for name, cells in done.systems.items()
    ]
    text = (
        f"{table(['system', *(column.name for column in columns)], rows)}\n\n"
        f"{done.caption}\n{counted(len(rows), 'system')}, with all figures written to "
        f"{', '.join(str(path) for path in done.files)}"
    )
    data = {
        "systems": done.systems,
        "files": [str(path) for path in done.files],
        "failed": done.failed,
    }
    notes = (
        *own_system_notes(base, args.config),
        *(f"{name} was not measured: {reason}" for name, reason in done.failed.items()),
    )
    return Report(text, data, notes, exit_code=ConfigError.exit_code if done.failed else 0)


QUESTION = (
    Argument(
        "--person",
        "the work of deleting one person with all records, instead of one record",
        action="store_true",
    ),
    Argument("--batch", "the work of deleting a random batch of this share: 1%%", metavar="SHARE"),
    Argument(
        "--budget",
        "recommend the most accurate whose mean work is at most this share of a full training: 1%%",
        metavar="SHARE",
    ),
)
"""What is asked about: whose deletion, and what it may cost."""
ERASED = Argument(
    "--workspace",
    "leave out whom this workspace erased, also while the command runs",
    type=location,
)
SWEEP = (
    Argument(
        "--config",
        "a YAML file, or quickstart; without it, the workspace's configuration, else the defaults",
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
        "values of any field of a system, or system=A,B; repeated: every combination",
        action="append",
        default=[],
        metavar="FIELD=A,B",
    ),
    *QUESTION,
    Argument("--seconds", "after which no trial goes on (no end)", type=float),
    ERASED,
    KEEP,
)


def run_sweep(args: Arguments, progress: Progress) -> Report:
    """Find which threshold, or other value, to train with, by accuracy and cost of a deletion."""
    from lmeraser_ray.study.variants import SYSTEM, parse_range, parse_swept, sweep_variants

    axes = [parse_swept(text) for text in args.sweep]
    if args.thresholds:
        axes.insert(0, ("partition.threshold", parse_range(args.thresholds)))
    question = question_of(args)
    if not axes:
        raise ConfigError(
            "Nothing to sweep was named: give --thresholds 5:40:8, or --sweep field=value,value."
        )
    base = base_of(args, args.system)
    found = sweep_variants(base, args.overrides, axes)
    systems = SYSTEM in dict(axes)
    if systems and args.system:
        raise ConfigError("--system and --sweep system=… both name systems: give one of the two.")
    configs = [variant.config() for variant in found]
    check_study(args.study, configs, whole=args.workspace is None)
    from lmeraser_ray.study.sweep import SweepRequest

    request = SweepRequest(
        found, args.workspace, keep=args.keep, question=question, seconds=args.seconds
    )
    report = swept_report(args.study, progress, request)
    notes = own_system_notes(base, args.config) if systems else ()
    return replace(report, notes=(*notes, *report.notes))


RECOMMEND = (
    Argument(
        "--config",
        "a YAML file, or quickstart, for data, backbone and execution; without it, the workspace's "
        "configuration, else the defaults; a field of a section that names no kind is held",
        type=Path,
    ),
    SYSTEMS,
    *QUESTION,
    Argument(
        "--seconds",
        f"after which nothing more is tried ({SECONDS:g}); what is finished is kept",
        type=float,
        default=SECONDS,
    ),
    ERASED,
    KEEP,
)


def run_recommend(args: Arguments, progress: Progress) -> Report:
    """Find which system suits your data: tries the named ones on people held out, and names one."""
    from lmeraser_ray.study.candidates import candidates, suiting

    base, question = base_of(args), question_of(args)
    found, unsuited = candidates(base, args.overrides, args.systems.split(","))
    configs = [variant.config() for variant in found]
    check_study(args.study, configs, whole=args.workspace is None)
    from lmeraser_ray.study.sweep import SweepRequest

    request = SweepRequest(
        found,
        args.workspace,
        keep=args.keep,
        question=question,
        seconds=args.seconds,
        verb="recommend",
        unsuited=unsuited,
        suits=suiting(base, args.overrides),
    )
    report = swept_report(args.study, progress, request)
    return replace(report, notes=(*own_system_notes(base, args.config), *report.notes), exit_code=0)


def question_of(args: Arguments) -> "Question":
    """Return what the options of `QUESTION` ask. Errors: `ConfigError`."""
    from lmeraser_ray.study.recommendation import question

    if args.seconds is not None and not args.seconds > 0:
        raise ConfigError(f"--seconds is {args.seconds:g}, expected more than 0.")
    return question(person=args.person, batch=args.batch, budget=args.budget)


def swept_report(study: Path, progress: Progress, request: "SweepRequest") -> Report:
    """Run what is swept, draw its figure, and return what is printed; its exit code is that of a
    mistake where a value could not be measured."""
    from lmeraser_ray.pipeline.session import Session
    from lmeraser_ray.study.figures import verb_figure
    from lmeraser_ray.study.sweep import sweep
    from lmeraser_ray.study.sweep_report import PRINTED, printed

    done = sweep(Session(study, progress), request)
    files = [*done.files, *verb_figure(study, request.verb, progress)]
    swept, choice = done.result, done.result.choice
    text = (
        f"{table(PRINTED, printed(done.rows))}\n\nwork: of deleting {swept.question.unit.words}, "
        f"as a share of a full training\n{choice.reason}\n{swept.sharing.sentence()}\n"
        f"train with it: `lmeraser train --config {study / 'best.yaml'}`\nwritten to "
        f"{', '.join(str(path) for path in files)}"
    )
    data = {
        "values": done.rows,
        "asked": {"unit": swept.question.unit.words, "budget": swept.question.budget},
        "recommended": {"value": choice.point.name, "reason": choice.reason, "fits": choice.fits},
        "records": asdict(swept.records),
        "sharing": asdict(swept.sharing),
        "failed": dict(swept.failed),
        "untried": dict(swept.untried),
        "files": [str(path) for path in files],
        "seconds": progress.rounded(),
    }
    return Report(
        text, data, sweep_notes(swept), exit_code=ConfigError.exit_code if swept.failed else 0
    )


def base_of(args: Arguments, system: str | None = None) -> Tree:
    """Return the configuration that is swept as a tree: that of the file, of the workspace, or the
    defaults; on a system where one is named, which takes the place of the workspace's."""
    tree: Tree = {}
    if args.config:
        tree = read_yaml(args.config)
    elif args.workspace is not None:
        from lmeraser_ray.pipeline.session import Session

        kept = Session(args.workspace).folder.load_config()
        tree = kept.undecided().model_dump(mode="json")
        if system:
            from lmeraser_ray.study.variants import on_another_system

            return on_another_system(tree, system)
    return presets.with_system(tree, system) if system else tree


def sweep_notes(swept: "SweepResult") -> tuple[str, ...]:
    """Return what a person should know about the sweep."""
    notes = [f"{name} was not measured: {reason}" for name, reason in swept.failed.items()]
    if swept.untried:
        each = "; ".join(f"{name}: {reason}" for name, reason in swept.untried.items())
        notes.append(f"{counted(len(swept.untried), 'value')} not tried: {each}.")
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
    Verb("recommend", run_recommend, RECOMMEND, folder="study", configures=True),
)
