"""The verb of the service's tokens: `tokens make`, `list`, `revoke`."""

from typing import TYPE_CHECKING

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, workspace_of
from lmeraser_ray.errors import ConfigError
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
    for option, verb in (("role", "make"), ("days", "make"), ("token", "revoke")):
        if getattr(args, option) is not None and args.what != verb:
            raise ConfigError(f"--{option} is for `tokens {verb}`: leave it out.")
    workspace = workspace_of(args, progress)
    if args.what == "make":
        if args.role is None:
            raise ConfigError("A token needs a role: give --role submitter, for example.")
        made, text = workspace.make_token(args.role, days=args.days)
        note = "this is shown once: keep it where only its holder reads it"
        return Report(text, {**made.as_json(), "bearer": text}, (note,))
    if args.what == "revoke":
        if args.token is None:
            raise ConfigError("Which token is not said: give --token ID (`lmeraser tokens list`).")
        revoked = workspace.revoke_token(args.token)
        return Report(line_of(revoked), revoked.as_json())
    found = workspace.tokens()
    text = "\n".join(map(line_of, found)) or "no token: `lmeraser tokens make --role operator`"
    return Report(text, {"tokens": [token.as_json() for token in found]})


def line_of(token: "AccessToken") -> str:
    """Return a token as a line for people to read."""
    end = f"until {token.until:%Y-%m-%d}" if token.until else "does not expire"
    end = f"revoked {token.revoked:%Y-%m-%d}" if token.revoked else end
    return f"{token.id}  {token.role:<9}  made {token.made:%Y-%m-%d}, {end}"


VERBS = (Verb("tokens", run_tokens, TOKENS),)
