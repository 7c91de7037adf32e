"""The verb of the service's tokens: `tokens make`, `list`, `revoke`."""

from typing import TYPE_CHECKING

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, workspace_of
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.operations.tokens import AccessToken

WHAT = "make one, which is printed once; list them; revoke one"
TOKENS = (
    Argument("what", WHAT, choices=("make", "list", "revoke")),
    Argument(
        "--role",
        "make: what its holder may do",
        choices=("predictor", "submitter", "auditor", "operator"),
    ),
    Argument("--days", "make: days until it expires (else never)", type=int, metavar="N"),
    Argument("--token", "revoke: its id, or its whole text", metavar="ID"),
)


def run_tokens(args: Arguments, progress: Progress) -> Report:
    """Make, list and revoke the tokens by which callers use the service."""
    done = workspace_of(args, progress).tokens(
        args.what, role=args.role, days=args.days, token=args.token
    )
    listed = "\n".join(map(line_of, done.tokens)) or "no token: `lmeraser tokens make` makes one"
    notes = ("this is shown once: keep it where only its holder reads it",) if done.bearer else ()
    data = {"bearer": done.bearer, "tokens": [token.as_json() for token in done.tokens]}
    return Report(done.bearer or listed, data, notes)


def line_of(token: "AccessToken") -> str:
    """Return a token as a line for people to read."""
    end = f"until {token.until:%Y-%m-%d}" if token.until else "does not expire"
    end = f"revoked {token.revoked:%Y-%m-%d}" if token.revoked else end
    return f"{token.id}  {token.role:<9}  made {token.made:%Y-%m-%d}, {end}"


VERBS = (Verb("tokens", run_tokens, TOKENS),)
