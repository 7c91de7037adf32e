"""`tokens`: who may use the service, and as what.

    lme-ID-SECRET   the bearer token, printed once; the database has its id, its role and SHA-256

Invariants: a token is checked against the database at each use, so that a revoked one ends at once,
everywhere; nothing that people type is kept of a token, so that none can name who is erased.
Source: RFC 6750 (bearer tokens).
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, insert, select

from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.times import from_text, to_text, utcnow

TOKEN = re.compile("lme-([0-9a-f]{12})-([0-9a-f]{64})")
MOST_DAYS = 3650
What = Literal["make", "list", "revoke"]
FITS = {"role": ("make", True), "days": ("make", False), "token": ("revoke", True)}
"""What each value is for, and whether that needs it."""
rows = tables.tokens


class Role(StrEnum):
    """What the holder of a token may do."""

    PREDICTOR = "predictor"
    """Ask for predictions."""
    SUBMITTER = "submitter"
    """Submit and withdraw erasure requests, and see those that this token submitted."""
    AUDITOR = "auditor"
    """See all requests and certificates, and change nothing."""
    OPERATOR = "operator"
    """All of that, and decide about requests."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token without its secret. until: when it expires, None for never."""

    id: str
    role: Role
    made: datetime
    until: datetime | None
    revoked: datetime | None

    def valid(self, now: datetime) -> bool:
        """Whether it opens anything."""
        return self.revoked is None and (self.until is None or now < self.until)

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "token": self.id,
            "role": str(self.role),
            "made": to_text(self.made),
            "until": to_text(self.until) if self.until else None,
            "revoked": to_text(self.revoked) if self.revoked else None,
        }


@dataclass(frozen=True)
class Tokens:
    """All tokens, the newest first. bearer: what the holder of the one that was made now sends; it
    is kept nowhere."""

    tokens: tuple[AccessToken, ...]
    bearer: str | None = None


def tokens(
    session: Session,
    what: What = "list",
    *,
    role: str | None = None,
    days: int | None = None,
    token: str | None = None,
) -> Tokens:
    """Do `what`, and return the tokens that there are then. role, days: of the one to `make`;
    token: the one to `revoke`. Errors: those of `make_token` and `revoke_token`; `ConfigError`
    where something is missing, or is for another `what`."""
    given = {"role": role, "days": days, "token": token}
    for name, (belongs, needed) in FITS.items():
        if given[name] is not None and what != belongs:
            raise ConfigError(f"--{name} is for `tokens {belongs}`: leave it out.")
        if needed and given[name] is None and what == belongs:
            raise ConfigError(f"`tokens {what}` needs --{name}.")
    bearer = make_token(session, role, days=days) if what == "make" and role else None
    if what == "revoke" and token:
        revoke_token(session, token)
    return Tokens(tuple(list_tokens(session)), bearer)


def make_token(session: Session, role: str, *, days: int | None = None) -> str:
    """Make a token. role: of `Role`; days: until it expires, None for never. Returns the text that
    its holder sends, which is kept nowhere. Errors: `ConfigError` where the role or the days are
    none."""
    if role not in list(Role):
        raise ConfigError(f"--role is {role!r}, expected one of {', '.join(Role)}.")
    if days is not None and not 0 < days <= MOST_DAYS:
        raise ConfigError(f"--days is {days}, expected 1 to {MOST_DAYS}.")
    now, name, secret = utcnow(), secrets.token_hex(6), secrets.token_hex(32)
    row = {
        "id": name,
        "role": role,
        "hash": hash_of(secret),
        "at": to_text(now),
        "until": to_text(now + timedelta(days=days)) if days is not None else None,
    }
    with session.database() as database, database.write() as connection:
        connection.execute(insert(rows), row)
    return f"lme-{name}-{secret}"


def revoke_token(session: Session, token: str) -> None:
    """Have a token open nothing any more; one that was revoked before stays so. token: its id, or
    its whole text. Errors: `DataError` where there is none."""
    found = TOKEN.fullmatch(token)
    name = found[1] if found else token
    first = func.coalesce(rows.c.revoked_at, to_text(utcnow()))
    mine = rows.update().where(rows.c.id == name).values(revoked_at=first)
    with session.database() as database, database.write() as connection:
        if not connection.execute(mine).rowcount:
            raise DataError(f"There is no token {name[:40]!r} here: `lmeraser tokens list`.")


def list_tokens(session: Session) -> list[AccessToken]:
    """Return all tokens, the newest first."""
    with session.database() as database, database.read() as connection:
        return [
            token_of(row) for row in connection.execute(select(rows).order_by(rows.c.at.desc()))
        ]


def token_for(connection: Connection, text: str, now: datetime) -> AccessToken | None:
    """Return the valid token that a caller sent; None where there is none."""
    sent = TOKEN.fullmatch(text)
    if sent is None:
        return None
    row = connection.execute(select(rows).where(rows.c.id == sent[1])).one_or_none()
    if row is None or not hmac.compare_digest(row.hash, hash_of(sent[2])):
        return None
    found = token_of(row)
    return found if found.valid(now) else None


def token_of(row: Row[Any]) -> AccessToken:
    """Build a token from its row."""
    until, revoked = (from_text(text) if text else None for text in (row.until, row.revoked_at))
    return AccessToken(row.id, Role(row.role), from_text(row.at), until, revoked)


def hash_of(secret: str) -> str:
    """The SHA-256 of a secret. It is random, 256 bits: nothing slower protects it better."""
    return hashlib.sha256(secret.encode()).hexdigest()
