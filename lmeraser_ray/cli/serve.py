"""The verb of the service: `serve`."""

from lmeraser_ray.cli.queue import TRUSTED, log, queue_report
from lmeraser_ray.cli.verb import KEYS, Argument, Arguments, Report, Verb, workspace_of
from lmeraser_ray.pipeline.outlet import print_line
from lmeraser_ray.pipeline.progress import Progress

SERVE = (
    Argument("--host", "the address to listen at (127.0.0.1: this machine only)"),
    Argument("--port", "the port to listen at (8765)", type=int, metavar="N"),
    KEYS,
    TRUSTED,
)


def run_serve(args: Arguments, progress: Progress) -> Report:
    """Serve predictions and erasure requests over HTTP, and work the requests off.

    Callers send a token of `lmeraser tokens make`. Ctrl-C ends it in order.
    """
    from lmeraser_ray.erasure.certificate.keystore import key_folder
    from lmeraser_ray.service.serve import HOST, PORT, serve

    workspace = workspace_of(args, progress)
    if not any(token.revoked is None for token in workspace.tokens().tokens):
        print_line("note: no token exists yet: `lmeraser tokens make --role operator` makes one.")
    done = serve(
        workspace.session,
        keys=key_folder(args.keys),
        say=log,
        host=args.host or HOST,
        port=PORT if args.port is None else args.port,
        trusted=args.trusted_network,
    )
    return queue_report(done)


VERBS = (Verb("serve", run_serve, SERVE),)
