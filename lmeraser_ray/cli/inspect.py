"""The verb `inspect`: a dry run over a source."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeraser_ray.cli.table import table
from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, counted, refuse_names
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.whole_file import write_whole

if TYPE_CHECKING:
    from lmeraser_ray.operations.inspection import Inspection

INSPECT = (
    Argument("path", "a folder of pictures, a Parquet file or a folder of them", type=Path),
    Argument("--sheet", "write some pictures of each class to this PNG file", type=Path),
    Argument("--ids", "write each record's id, subject, label and side to this CSV", type=Path),
    Argument("--config", "write a configuration for `train --config` to this file", type=Path),
)


def run_inspect(args: Arguments, progress: Progress) -> Report:
    """Look at records without training: classes, people, splits, and all that would be refused."""
    from lmeraser_ray.operations.inspection import (
        inspected,
        inspection,
        list_of_ids,
        starting_configuration,
        write_sheet,
    )

    refuse_names(True, ())
    with progress.stage("inspect"), list_of_ids(args.ids) as named:
        found = inspection(inspected(args.path, args.overrides), named)
    if args.sheet:
        write_sheet(found, args.sheet)
    if args.config:
        command = f"lmeraser train --workspace W --config {shlex.quote(str(args.config))}"
        text = starting_configuration(found, " ".join(command.split()))
        write_whole(args.config, text.encode())
    return Report("\n\n".join(sections(found)), data_of(found))


def data_of(found: "Inspection") -> dict[str, Any]:
    """The report as JSON."""
    sides = sorted(found.sizes)
    return {
        "source": found.config.data.source,
        "path": str(found.config.data.path),
        "records": found.records,
        "training_records": found.records - found.test_records,
        "test_records": found.test_records,
        "people": found.people,
        "bytes": found.size,
        "classes": {
            label: {"training": training, "test": test}
            for label, (training, test) in found.classes.items()
        },
        "empty_classes": list(found.empty),
        "sizes": [
            {"width": width, "height": height, "pictures": found.sizes[width, height]}
            for width, height in sides
        ],
        "refused": [str(fault.error) for fault in found.faults.kept],
        "refused_count": found.faults.number,
        "left_out_by_skip": found.faults.alone,
        "would_train": not found.refused,
        "remarks": dict(found.faults.remarks),
        "equal_pictures": found.equal,
        "equal_examples": [list(pair) for pair in found.equal_examples],
    }


def sections(found: "Inspection") -> list[str]:
    """The report as paragraphs."""
    data = found.config.data
    rows = [
        [name, f"{training:,}", f"{test:,}"] for name, (training, test) in found.classes.items()
    ]
    parts = [
        f"{counted(found.records, 'record')} of {counted(found.people, 'subject')} in "
        f"{len(found.classes):,} classes can be used (data.source {data.source}): "
        f"{found.records - found.test_records:,} train, {found.test_records:,} are held out\n"
        f"{sizes(found)}",
        table(["class", "training", "test"], rows),
    ]
    if found.empty:
        parts.append(f"classes without a training record: {', '.join(found.empty)}")
    parts += [f"{counted(n, 'picture')} with {what}" for what, n in found.faults.remarks.items()]
    if found.equal:
        pairs = [f"{one} and {other}" for one, other in found.equal_examples]
        parts.append(
            f"{counted(found.equal, 'record')} with a picture that another record has too:\n"
            + "\n".join(f"  {pair}" for pair in pairs)
        )
    return [*parts, refusals(found)]


def sizes(found: "Inspection") -> str:
    """The pictures' sizes in a line."""
    if not found.sizes:
        return "no pictures"
    widths, heights = ([size[at] for size in found.sizes] for at in (0, 1))
    bent = sum(n for (width, height), n in found.sizes.items() if width != height)
    return (
        f"pictures {min(widths):,} to {max(widths):,} pixels wide, {min(heights):,} to "
        f"{max(heights):,} high, {found.size / 1e6:,.1f} MB in all; {bent:,} are not square"
        + (f" (data.fit {found.config.data.fit})" if bent else "")
    )


def refusals(found: "Inspection") -> str:
    """What cannot be used, and what a training does about it."""
    faults = found.faults
    if not faults.number:
        return "nothing is refused"
    words = [str(fault.error) for fault in faults.kept]
    shown = [f"  {line}" for line in words]
    more = faults.number - len(words)
    tail = [f"  … and {more:,} more"] if more else []
    left = f" ({faults.alone:,} can be left out by --data.on_error skip)" if found.refused else ""
    verb = "refuses" if found.refused else "leaves out, by data.on_error skip,"
    head = f"a training {verb} {faults.number:,} of the files or rows{left}:"
    return "\n".join([head, *shown, *tail])


VERBS = (Verb("inspect", run_inspect, INSPECT, configures=True),)
