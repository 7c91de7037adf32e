"""What keeps a workspace: what `doctor`, `backup`, `secret`, `roles` and `tokens` do, as methods of
`Workspace`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # each is imported by what needs it: all bring the database
    from lmeraser_ray.operations.backup import Backup
    from lmeraser_ray.operations.doctor import Diagnosis
    from lmeraser_ray.operations.roles import Roles
    from lmeraser_ray.operations.secret import Change, SecretState
    from lmeraser_ray.operations.tokens import Tokens
    from lmeraser_ray.operations.tokens import What as TokenChange
    from lmeraser_ray.pipeline.session import Session


class WorkspaceKeeping:
    """The methods that keep a workspace sound, and say who may use it."""

    session: "Session"

    def doctor(self) -> "Diagnosis":
        """Look at what of machine, GPU, Ray, keys, database and disk is ready; nothing is made."""
        from lmeraser_ray.operations.doctor import doctor

        return doctor(self.session)

    def backup(
        self, *, to: str | Path | None = None, erasures: str | Path | None = None
    ) -> "Backup":
        """Write the published state, the requests and the secret to one file, or the erasures to
        another, or both."""
        from lmeraser_ray.operations.backup import backup

        return backup(self.session, to=path_of(to), erasures=path_of(erasures))

    def secret(self, what: "Change" = "show", *, to: str | Path | None = None) -> "SecretState":
        """Show where the secret of the keyed hashes lies and its versions (`show`), `move` it to
        the new file `to`, add a version (`rotate`), or `retire` those that nothing needs."""
        from lmeraser_ray.operations.secret import secret

        return secret(self.session, what, to=path_of(to))

    def roles(self, *, apply: bool = False) -> "Roles":
        """Return what each role of a PostgreSQL server may do to the requests. apply: give them
        these rights."""
        from lmeraser_ray.operations.roles import roles

        return roles(self.session, apply=apply)

    def tokens(
        self,
        what: "TokenChange" = "list",
        *,
        role: str | None = None,
        days: int | None = None,
        token: str | None = None,
    ) -> "Tokens":
        """List the tokens of the service, `make` one (role: predictor, submitter, auditor or
        operator; days: until it expires), or `revoke` one by its id or its whole text."""
        from lmeraser_ray.operations.tokens import tokens

        return tokens(self.session, what, role=role, days=days, token=token)


def path_of(path: str | Path | None) -> Path | None:
    """Return a path that may be text."""
    return None if path is None else Path(path)
