"""The verbs that measure: `compare`."""

from pathlib import Path

from lmeraser_ray import systems
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.options import read_yaml
from lmeraser_ray.progress import Progress
from lmeraser_ray.quickstart import QUICKSTART
from lmeraser_ray.session import Session
from lmeraser_ray.verbs.base import Arguments, Parser, Report, counted


def numbers(text: str, what: str) -> list[int]:
    """Whole numbers between commas. Errors: `ConfigError`."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{what} {text!r} was not understood: give whole numbers with commas between them.") from None
    return list(dict.fromkeys(found))


def shares(text: str, what: str) -> tuple[float, ...]:
    """Shares, 0 ≤ share < 1, between commas. Errors: `ConfigError`."""
    try:
        found = [float(part) for part in text.split(",") if part]
    except ValueError:
        found = [-1.0]
    if not all(0 <= share < 1 for share in found):
        raise ConfigError(f"{what} {text!r} was not understood: give shares from 0 to below 1 with commas between them.")
    return tuple(dict.fromkeys(found))


def compare_options(parser: Parser) -> None:
    """What is compared, and how far it is measured."""
    parser.add_argument("--config", type=Path, help="a YAML file for data, backbone and execution; without it, the quickstart's")
    parser.add_argument("--systems", default="all", help=f"names or YAML files, with commas: all, or some of {', '.join(systems.names())}")
    parser.add_argument("--seeds", default="0,1,2", help="each seed is a split of its own too (0,1,2)")
    parser.add_argument(
        "--vary", action="append", default=[], metavar="FIELD=A,B", help="measure each system with these values; may be repeated"
    )
    parser.add_argument("--deletions", type=int, default=3, help="single deletions that are timed for each system and seed (3)")
    parser.add_argument("--together", type=int, default=10, help="records of one joint deletion (10)")
    parser.add_argument("--forget", default="", metavar="A,B", help="shares of the training records to erase at once: 0,0.1,0.5")
    parser.add_argument("--curves", action="store_true", help="accuracy after each epoch, for the first seed: trains it once more")
    parser.add_argument("--keep", action="store_true", help="keep the records and models under STUDY/work for another run")


def run_compare(args: Arguments, progress: Progress) -> Report:
    """`lmeraser compare`."""
    from lmeraser_ray.compare import Question, compare
    from lmeraser_ray.study.measure import Extent
    from lmeraser_ray.study.table import to_markdown
    from lmeraser_ray.study.variants import variants

    if any(name == "seed" for name, _ in args.overrides):
        raise ConfigError("compare takes several seeds: give --seeds 0,1,2 and not --seed.")
    if min(args.deletions, args.together) < 0:
        raise ConfigError("--deletions and --together are numbers of records: give 0 or more.")
    base = read_yaml(args.config) if args.config else QUICKSTART
    found = variants(base, args.systems.split(","), args.overrides, args.vary)
    extent = Extent(args.deletions, args.together, shares(args.forget, "--forget"))
    question = Question(found, numbers(args.seeds, "--seeds"), extent, curves=args.curves, keep=args.keep)
    done = compare(Session(args.study, progress), question)
    text = f"{to_markdown(done.systems)}\n\n{counted(len(found), 'system')}, written to {', '.join(str(path) for path in done.files)}"
    data = {"systems": done.systems, "files": [str(path) for path in done.files], "failed": done.failed}
    notes = tuple(f"{name} was not measured: {reason}" for name, reason in done.failed.items())
    return Report(text, data, notes, exit_code=ConfigError.exit_code if done.failed else 0)
