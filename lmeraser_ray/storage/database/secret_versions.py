"""Which versions of the secret the request database has hashes of, so that an older copy of the
secret, or another one, is noticed before anything is looked up with it.

    the keyring has a new version   → noted at the next opening, and ROTATED in the ledger
    it has retired one              → noted, and RETIRED in the ledger, if nothing needs it
    it lacks one, or has another    → `VerificationError`

So the keyring is written first, wherever it lies, and the database follows; a crash between the two
loses nothing.
"""

from sqlalchemy import Connection, func, insert, or_, select, update

from lmeraser_ray.errors import ExecutionError, VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.database.secret_place import forget
from lmeraser_ray.storage.times import to_text, utcnow

known = tables.secrets
NEWEST = select(func.max(known.c.version))
"""Built once: submissions ask for it while all other writers wait."""


def require_known(connection: Connection, names: Pseudonymizer) -> bool:
    """Whether the database has noted all that the keyring holds. Errors: `VerificationError` where
    hashes of the database need a version that the keyring lacks, or has otherwise."""
    rows = connection.execute(select(known)).all()
    ring = names.keyring
    for row in rows:
        if row.version not in ring.secrets and row.version not in ring.retired:
            forget()
            raise VerificationError(
                f"The secret has no version {row.version}, and hashes of {names.root} need it: "
                "this is an older copy of the secret. Give the newest one."
            )
        alive = row.version in ring.secrets
        if seal_of(names, row.version) != row.seal or (alive and row.retired_at):
            raise VerificationError(
                f"Version {row.version} of the secret is not the one that hashes of {names.root} "
                "were made with: bring back the workspace's own secret."
            )
    noted = {row.version for row in rows}
    retired = {row.version for row in rows if row.retired_at}
    return noted == {*ring.secrets, *ring.retired} and retired == {*ring.retired}


def note(connection: Connection, names: Pseudonymizer) -> None:
    """Note the keyring's new and retired versions, with a ledger entry each. Errors: as
    `require_known`; `VerificationError` where the keyring has retired what is needed."""
    require_known(connection, names)
    rows = connection.execute(select(known)).all()
    noted, gone = {row.version for row in rows}, {row.version for row in rows if row.retired_at}
    ring, moment = names.keyring, to_text(utcnow())
    for version in sorted({*ring.secrets, *ring.retired} - noted):
        values = {"version": version, "at": moment, "seal": seal_of(names, version)}
        connection.execute(insert(known).values(**values))
        if rows:
            ledger.append(connection, "ROTATED", None, {"version": version})
    for version in sorted({*ring.retired} - gone):
        if needs := needed(connection).get(version):
            raise VerificationError(
                f"The keyring has retired version {version} of the secret, which {needs} "
                "tombstones and open requests need: bring back the keyring of before."
            )
        which = known.c.version == version
        connection.execute(update(known).where(which).values(retired_at=moment))
        if rows:
            ledger.append(connection, "RETIRED", None, {"version": version})


def seal_of(names: Pseudonymizer, version: int) -> str:
    """What tells a version of the secret from any other, and reveals nothing of it."""
    return names.seal("secret", str(version).encode(), version=version)


def require_newest(connection: Connection, names: Pseudonymizer) -> None:
    """Errors: `ExecutionError` where the secret was rotated since this process read it: its hashes
    would be under an older version."""
    if connection.scalar(NEWEST) != names.version:
        forget()
        raise ExecutionError(
            "The secret was rotated meanwhile: run the same command again, with the newest secret."
        )


def needed(connection: Connection) -> dict[int, int]:
    """How many tombstones, and requests that are not closed or whose names are still held, have
    hashes under each version."""
    stones, requests, targets = tables.tombstones, tables.requests, tables.targets
    open_ones = targets.c.name.is_not(None) & (targets.c.request_id == requests.c.id)
    counted = (
        select(stones.c.secret, func.count()).group_by(stones.c.secret),
        select(requests.c.secret, func.count())
        .where(
            or_(requests.c.closed_at.is_(None), select(targets.c.hash).where(open_ones).exists())
        )
        .group_by(requests.c.secret),
    )
    found: dict[int, int] = {}
    for question in counted:
        for version, count in connection.execute(question):
            found[version] = found.get(version, 0) + count
    return found
