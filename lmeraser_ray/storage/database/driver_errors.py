"""What an error of a database driver means to a user: disk, lock, connection, or damage. An error
that is none of these is a bug and is raised as it is."""

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from lmeraser_ray.errors import ExecutionError, LmeraserError, VerificationError

AGAIN = "run the same command again: what was acknowledged is kept, nothing of this transaction is."
DAMAGE = (
    "is damaged: nothing is served or erased from it. Restore it from a backup (`lmeraser restore`)"
)
SQLITE_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")
SQLITE_MACHINE = {
    "SQLITE_FULL": "The disk is full: the request database {where} could not be written. Free some "
    "space and " + AGAIN,
    "SQLITE_BUSY": "The request database {where} is locked by another program. End it (or its "
    "transaction) and " + AGAIN,
    "SQLITE_LOCKED": "The request database {where} is locked by another program. End it (or its "
    "transaction) and " + AGAIN,
    "SQLITE_READONLY": "The request database {where} cannot be written: check its mode and its "
    "folder's and " + AGAIN,
    "SQLITE_CANTOPEN": "The request database {where} cannot be opened: check it and its folder and "
    + AGAIN,
    "SQLITE_PERM": "The request database {where} cannot be opened: check its mode and " + AGAIN,
    "SQLITE_IOERR": "The disk failed under the request database {where}: check the disk (and that "
    "it is not full) and " + AGAIN,
}
REFUSALS = (
    ("3D", ("FATAL", 'database "', "does not exist")),
    ("28", ("FATAL", 'role "', "does not exist")),
    ("28", ("password authentication failed",)),
    ("28", ("no password supplied",)),
    ("28", ("no pg_hba.conf entry",)),
    ("53", ("FATAL", "too many ")),
    ("53", ("remaining connection slots",)),
    ("3D", ("FATAL", "no such database")),  # this and the next two: of pgbouncer
    ("28", ("FATAL", "no such user")),
    ("53", ("FATAL", "no more connections allowed")),
    ("option", ("invalid ", " value")),
    ("option", ("invalid port number",)),
    ("option", ("invalid command-line argument",)),
    ("option", ("unsupported startup parameter",)),
    ("option", ("unrecognized configuration parameter",)),
)
"""Words of a refused connection, by the SQLSTATE that they stand for."""
UNREACHABLE = {
    "could not translate host name": "no host has this name",
    "failed to resolve host": "no host has this name",
    "Connection refused": "nothing listens there",
    "No such file or directory": "there is no such socket",
    "timeout": "it did not answer in time",
    "certificate": "its certificate, or ours, does not do",
    "SSL": "it and sslmode of queue.database do not agree",
    "session is ": "it is not what target_session_attrs asks for",
}
"""Why no connection was made, by the client's words."""
POSTGRESQL_MACHINE = {
    "option": "The PostgreSQL server {where} was not asked: an option of queue.database has a "
    "value that it, or its client, does not take. Correct it and " + AGAIN,
    "25006": "The PostgreSQL server {where} takes no writes (a standby, or "
    "default_transaction_read_only): give the server that does in queue.database, and " + AGAIN,
    "53": "The PostgreSQL server {where} is out of a resource (disk, memory, connections): make "
    "room and " + AGAIN,
    "55P03": "The request database {where} is locked by another transaction. Wait for it and "
    + AGAIN,
    "57014": "A statement took too long on the request database {where}. Look at the server's load "
    "and " + AGAIN,
    "25P03": "The transaction was idle for too long, and the PostgreSQL server {where} ended it: "
    + AGAIN,
    "28": "The PostgreSQL server {where} refused the user or the password of queue.database: "
    "correct it and " + AGAIN,
    "3D": "The PostgreSQL server {where} has no such database: make it, or correct "
    "queue.database, and " + AGAIN,
    "42501": "The user of queue.database may not do this to the workspace's requests on {where}. "
    "Use the role that may (`lmeraser roles` lists what each is for); the one that makes the "
    "schema needs CREATE on the database. Then " + AGAIN,
    "40": "Another transaction came between on the request database {where}: " + AGAIN,
}


def meaning(error: DBAPIError | sqlite3.Error, where: str) -> LmeraserError | None:
    """Our error for the driver's, None where it is a bug. It repeats nothing of the driver's text,
    which may hold values."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return of_sqlite(cause, where)
    return of_postgresql(error, where) if isinstance(error, DBAPIError) else None


def of_sqlite(cause: sqlite3.Error, where: str) -> LmeraserError | None:
    """By SQLite's name of the error; an extended name begins with the plain one."""
    name = getattr(cause, "sqlite_errorname", "")
    emptied = name == "SQLITE_ERROR" and str(cause).startswith("no such table")
    no_text = str(cause).startswith("Could not decode to UTF-8")
    if emptied or no_text or name.startswith(SQLITE_DAMAGE):
        return VerificationError(f"The request database {where} {DAMAGE}.")
    return next(
        (
            ExecutionError(text.format(where=where))
            for known, text in SQLITE_MACHINE.items()
            if name.startswith(known)
        ),
        None,
    )


def refusal(said: str) -> str:
    """The SQLSTATE of a server that answered and let nobody in: the client keeps only the words, as
    the server's language has them. Empty where no server answered."""
    return next((state for state, words in REFUSALS if all(word in said for word in words)), "")


def of_postgresql(error: DBAPIError, where: str) -> LmeraserError | None:
    """By the SQLSTATE; an operational error without a known one is a connection that could not be
    made or was lost."""
    state = getattr(error.orig, "sqlstate", None) or ""
    if state.startswith("XX") or state == "42P01":  # a table is gone
        return VerificationError(
            f"The request database {where} {DAMAGE} (PostgreSQL says {state})."
        )
    if not state:
        state = refusal(str(error.orig))
    for known, text in POSTGRESQL_MACHINE.items():
        if state.startswith(known):
            return ExecutionError(text.format(where=where))
    if isinstance(error, OperationalError | InterfaceError):
        said = str(error.orig)
        why = next((f" ({why})" for words, why in UNREACHABLE.items() if words in said), "")
        return ExecutionError(
            f"The PostgreSQL server {where} cannot be reached{why}, or the connection was lost. "
            f"Start it, or correct queue.database, and {AGAIN}"
        )
    return None
