"""The verbs that ask a workspace: `predict`, `evaluate`."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmeraser_ray.cli.figures import PRIVATE
from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, counted, workspace_of
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.paths import inside

if TYPE_CHECKING:
    from lmeraser_ray.operations.predict import Predicting, Unreadable

BY = ("class", "shard", "confusion")
FORMATS = ("text", "csv", "jsonl", "parquet")
LISTED = 10
"""Pictures that could not be used and are named at the end."""
PREDICT = (
    Argument(
        "images",
        "picture files, folders, patterns in quotes ('a/**/*.png'), Parquet files",
        nargs="+",
        metavar="PATH",
    ),
    Argument("--top_k", "only the K most probable classes", type=int, metavar="K"),
    Argument("--output", "write to a file, by its ending .csv, .jsonl or .parquet", type=Path),
    Argument("--format", "the format, whatever the file's ending", choices=FORMATS),
    Argument("--image_column", "the Parquet column of the pictures (image, or the only one)"),
)


def run_predict(args: Arguments, progress: Progress) -> Report:
    """Label pictures; goes on after one that cannot be used.

    Rows are written as they come, so that memory does not grow with their number (with --json it
    does). Exit code 3 where pictures could not be used; all others are predicted.
    """
    if args.top_k is not None and args.top_k < 1:
        raise ConfigError(f"--top_k is {args.top_k}, expected 1 or more.")
    if args.output and inside(args.output, args.workspace):
        raise ConfigError(
            f"--output {args.output} lies within the workspace, which holds nothing but its own "
            "files: choose a file outside of it."
        )
    from lmeraser_ray.cli.prediction_rows import Entry, in_memory, opened

    kept: list[Entry] = []
    texts: list[str] = []
    form = format_of(args.format, args.output)
    chunks = workspace_of(args, progress).predict_each(args.images, image_column=args.image_column)
    with (
        in_memory(args.top_k, kept, texts)
        if args.json and args.output is None
        else opened(form, args.output, args.top_k, texts)
    ) as sink:
        count, left = consume(chunks, sink, progress)
        if not count.total():
            raise DataError(f"{args.images[0]} holds no picture: name files, folders or patterns.")
    said = f"{counted(count['predicted'], 'picture')} predicted, written to {args.output}"
    held = {"file": str(args.output)} if args.output else {"predictions": kept}
    return Report(
        said if args.output else "\n".join(texts),
        {**held, **count, "seconds": progress.rounded()},
        unread_notes(left, count["unreadable"]),
        DataError.exit_code if left else 0,
    )


def format_of(chosen: str | None, output: Path | None) -> str:
    """Return the format that the options name, or the file's ending. Errors: `ConfigError`."""
    ending = output.suffix.lower().removeprefix(".") if output else "text"
    found = chosen or {"ndjson": "jsonl", "txt": "text"}.get(ending, ending)
    if found not in FORMATS:
        raise ConfigError(
            f"--output {output} does not say a format: end it with .csv, .jsonl or .parquet, or "
            "give --format."
        )
    if found == "parquet" and output is None:
        raise ConfigError("--format parquet is no text: give --output FILE too.")
    return found


def consume(
    chunks: Iterable["Predicting"], sink: Callable[["Predicting"], None], progress: Progress
) -> tuple[Counter[str], list["Unreadable"]]:
    """Hand chunks on. Returns how many pictures were predicted and how many not, and the first of
    the latter."""
    count: Counter[str] = Counter(predicted=0, unreadable=0)
    left: list[Unreadable] = []
    with progress.bar("predicting", None, "pic") as advance:
        for done in chunks:
            sink(done)
            count["predicted"] += len(done.names)
            count["unreadable"] += len(done.unreadable)
            left += done.unreadable[: LISTED - len(left)]
            advance(len(done.names) + len(done.unreadable))
    return count, left


def unread_notes(left: Sequence["Unreadable"], count: int) -> tuple[str, ...]:
    """Return what a person should know about pictures that could not be used."""
    more = f" The first {len(left)}:" if count > len(left) else ""
    lines = "".join(f"\n  {one.name}: {one.reason}" for one in left)
    said = f"{counted(count, 'picture')} could not be used, all others are predicted.{more}{lines}"
    return (said,) if count else ()


EVALUATE = (
    Argument("--by", "a table by class, by shard, or of confusions", choices=BY),
    Argument(
        "--output",
        "write tables and pictures there: confusion matrix, reliability, worst errors (private "
        "records)",
        type=Path,
        metavar="DIR",
    ),
    Argument("--worst", "how many of the worst errors are shown (24)", type=int, default=24),
)


def run_evaluate(args: Arguments, progress: Progress) -> Report:
    """Measure how good predictions of test records are, and the accuracy on training records.

    Accuracy, balanced accuracy, macro F1, log loss and calibration error, each with a 95%
    interval; the classes that are confused most.
    """
    from lmeraser_ray.cli.quality_tables import data_of, table_by, text_of, write_tables
    from lmeraser_ray.study.figures import evaluation_figures

    if args.output and inside(args.output, args.workspace):
        raise ConfigError(
            f"--output {args.output} lies within the workspace, which holds nothing but its own "
            "files: choose a folder outside of it."
        )
    done = workspace_of(args, progress).evaluate(worst=args.worst if args.output else 0)
    text, notes = [text_of(done)], []
    if args.by:
        text.append(table_by(args.by, done))
    files: list[Path] = []
    if args.output:
        figures = evaluation_figures(done, args.output, progress)
        files = [*write_tables(done, args.output), *figures.files]
        text.append("\n".join(["written:", *(f"  {path}" for path in files)]))
        notes += [f"{name} was not drawn: {why}." for name, why in figures.skipped.items()]
        notes += [PRIVATE] if done.worst else []
    if done.quarantined:
        silent = ", ".join(map(str, done.quarantined))
        notes.append(f"shard {silent} is in quarantine, so it was not asked.")
    data = data_of(done) | {"files": list(map(str, files)), "seconds": progress.rounded()}
    return Report("\n\n".join(text), data, tuple(notes))


VERBS = (Verb("predict", run_predict, PREDICT), Verb("evaluate", run_evaluate, EVALUATE))
