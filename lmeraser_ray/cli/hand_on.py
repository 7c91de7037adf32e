"""The verbs whose results leave a workspace to be passed on: `report`, `export`."""

from pathlib import Path

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, counted, timed, workspace_of
from lmeraser_ray.pipeline.progress import Progress

REPORT = (
    Argument(
        "--output", "the HTML file to write (report.html)", type=Path, default=Path("report.html")
    ),
    Argument(
        "--requests_csv",
        "write the erasure requests to this CSV too: states and times, nobody's id",
        type=Path,
        metavar="FILE",
    ),
)


def run_report(args: Arguments, progress: Progress) -> Report:
    """Write one HTML page about the model and its erasures, to be passed on.

    Accuracy, confusion, calibration, shards, prompts, what a deletion costs, requests and their
    deadlines, absence scans, what is not claimed. It names no record and no person; it shows class
    names.
    """
    done = workspace_of(args, progress).report(args.output, requests_csv=args.requests_csv)
    asked = done.facts.requests
    data = {
        "files": [str(path) for path in done.files],
        "state": done.state,
        "fingerprint": done.facts.evaluation.fingerprint,
        "classes_withheld": done.withheld,
        "requests": {"all": asked.all, "met": asked.met, "missed": asked.missed},
        "seconds": progress.rounded(),
    }
    named = (
        f"{counted(done.withheld, 'class name')} withheld from the page: an id is part of each.",
    )
    text = f"written: {', '.join(map(str, done.files))}\nstate {done.state}\n{timed(progress)}"
    return Report(text, data, named if done.withheld else ())


EXPORT = (
    Argument("--output", "the new folder to write", type=Path, required=True, metavar="DIR"),
    Argument(
        "--with_features",
        "export also where features of single records are part of the model",
        action="store_true",
    ),
    Argument(
        "--license",
        "the license that the model card names, as Hugging Face has it (other: not stated)",
        default="other",
        dest="license_id",
    ),
)
OUTSIDE = (
    "no erasure reaches what was exported: keep a list of who gets it, and replace it after each "
    "erasure."
)


def run_export(args: Arguments, progress: Progress) -> Report:
    """Write the published model, with a model card, for those who have no workspace.

    No record leaves. While erasures wait to be published nothing is exported.
    """
    done = workspace_of(args, progress).export(
        args.output, with_features=args.with_features, license_id=args.license_id
    )
    data = {
        "files": [str(path) for path in done.files],
        "state": done.state,
        "classes": len(done.classes),
        "constituents": done.constituents,
        "bytes": done.bytes,
        "features": done.features,
        "seconds": progress.rounded(),
    }
    text = (
        f"{counted(done.constituents, 'constituent')}, {done.bytes:,} bytes, written to "
        f"{done.folder}\nstate {done.state}"
    )
    notes = [OUTSIDE]
    if done.features:
        notes.append(f"{counted(done.features, 'feature')} of single records are in it.")
    return Report(text, data, tuple(notes))


REPORTS = (Verb("report", run_report, REPORT),)
EXPORTS = (Verb("export", run_export, EXPORT),)
