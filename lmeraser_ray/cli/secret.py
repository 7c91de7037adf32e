"""The verb of the workspace's secret: `secret show`, `move`, `rotate`, `retire`."""

from pathlib import Path
from typing import TYPE_CHECKING

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, workspace_of
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.operations.secret import SecretState

WHAT = (
    "show where it lies and its versions; move it out of the workspace; add a version; retire the "
    "versions that nothing needs any more"
)
SECRET_ARGUMENTS = (
    Argument("what", WHAT, choices=("show", "move", "rotate", "retire")),
    Argument(
        "--to",
        "move: the new file of the secret; rotate, retire: write the new keyring there, for a "
        "secret that lies where it can only be read",
        type=Path,
        metavar="FILE",
    ),
)


def run_secret(args: Arguments, progress: Progress) -> Report:
    """Keep the secret of the keyed hashes elsewhere, rotate it, retire versions."""
    done = workspace_of(args, progress).secret(args.what, to=args.to)
    versions = [
        {"version": one.version, "since": one.since, "retired": one.retired, "needed_by": one.needs}
        for one in done.versions
    ]
    data = {
        "place": done.place,
        "versions": versions,
        "written": str(done.written) if done.written else None,
    }
    return Report("\n".join(lines_of(done)), data, notes_of(args.what, done))


def lines_of(done: "SecretState") -> list[str]:
    """Return where the secret lies, and a line for each version."""
    where = {
        "workspace": "the secret lies in the workspace: whoever copies it can test names",
        "file": "the secret lies in a file outside of the workspace",
    }
    newest = max((one.version for one in done.versions), default=None)
    lines = [where.get(done.place, f"the secret lies outside of the workspace ({done.place})")]
    for one in done.versions:
        use = f"needed by {one.needs:,} tombstones and open requests"
        use = f"retired {one.retired[:10]}" if one.retired else use
        lines.append(
            f"{'*' if one.version == newest else ' '} version {one.version}  since "
            f"{one.since[:10]}, {use}"
        )
    return lines


def notes_of(what: str, done: "SecretState") -> tuple[str, ...]:
    """Return what is to be done next."""
    if what == "move":
        return (
            f"set LMERASER_SECRET=file:{done.written} for every command of this workspace from now "
            "on, and start its queue again. Copies and backups of the workspace from before still "
            "hold the secret: `lmeraser secret rotate` makes new hashes that they cannot test.",
        )
    if done.written:
        return (
            f"{done.written} is not in use yet: keep what is in it in the place of the old secret, "
            "then remove it; the next command notes the change.",
        )
    if what == "rotate":
        return ("start a queue that runs again: it has read the secret of before.",)
    return ()


VERBS = (Verb("secret", run_secret, SECRET_ARGUMENTS),)
