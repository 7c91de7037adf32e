"""The verb of the service: `queue serve`, `run`, `status`, `watch`."""

import sys
from typing import TYPE_CHECKING

from lmeraser_ray.cli.verb import KEYS, Argument, Arguments, Report, Verb, counted, workspace_of
from lmeraser_ray.errors import INTERRUPTED
from lmeraser_ray.pipeline.outlet import on_terminal, print_line
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.erasure.requests.events import Event
    from lmeraser_ray.operations.queue import Done
    from lmeraser_ray.pipeline.session import Session

CLOSINGS = ("certified", "refused", "cancelled", "failed")
WHAT = "serve until Ctrl-C; run until nothing is left; status in one look; watch it live"


TRUSTED = Argument(
    "--trusted_network",
    "serve: accept a Ray cluster that asks nobody for a token",
    action="store_true",
)
QUEUE = (Argument("what", WHAT, choices=("serve", "run", "status", "watch")), KEYS, TRUSTED)


def run_queue(args: Arguments, progress: Progress) -> Report:
    """Work off erasure requests: serve, run until none is left, status, watch."""
    session = workspace_of(args, progress).session
    if args.what in ("serve", "run"):
        return run_work(args, session)
    from lmeraser_ray.cli.live_table import LONGEST_LIST, plain
    from lmeraser_ray.erasure.queue.overview import overview_of

    live = args.what == "watch" and on_terminal(sys.stdout) and not args.json
    epochs = getattr(session.config().learner, "epochs", None)
    if not live:
        found = overview_of(session, first=LONGEST_LIST)
        return Report(plain(found, epochs=epochs), found.as_json())
    from rich.console import Console

    from lmeraser_ray.cli.live_table import watch

    watch(lambda first: overview_of(session, first=first), Console(), epochs=epochs)
    return Report("", None)


def run_work(args: Arguments, session: "Session") -> Report:
    """`lmeraser queue serve`, `lmeraser queue run`."""
    from lmeraser_ray.erasure.certificate.keystore import key_folder
    from lmeraser_ray.operations.queue import run, serve

    keys = key_folder(args.keys)
    if args.what == "serve":
        return queue_report(serve(session, keys=keys, say=log, trusted=args.trusted_network))
    done = run(session, keys=keys, say=log)
    return queue_report(done, exit_code=INTERRUPTED if done.stopped and done.open else 0)


def queue_report(done: "Done", *, exit_code: int = 0) -> Report:
    """Return the report of what a queue did."""
    data = done.as_json()
    closed = (
        ", ".join(f"{data[name]:,} {name}" for name in CLOSINGS if data[name])
        or "none came to an end"
    )
    rest = f"; {counted(done.open, 'request')} left in the database" if done.open else ""
    return Report(f"requests: {closed}{rest}", data, exit_code=exit_code)


def log(event: "Event") -> None:
    """Write an event as a line on stderr."""
    print_line(event.line())


VERBS = (Verb("queue", run_queue, QUEUE),)
