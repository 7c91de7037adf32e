"""Every error that a user can cause, in one tree; each family has its exit code.

    LmeraserError
    ├── ConfigError         2   usage or configuration
    ├── DataError           3   records, pictures, labels, ids
    │   └── PictureError        one encoded picture, with the reason
    ├── VerificationError   4   bytes that are not what they must be
    │   └── HeldBackError       erasures that the scan or the signer holds back; no other waits
    └── ExecutionError      5   Ray, disk, locks, limits: the machine and not the input
        ├── StaleEpochError     another queue has taken over; this one must write nothing more
        └── DiskFullError       the disk is full: the work is to be done again, nothing failed

A message is one or two clear sentences: what was found, what was expected, what to do. Exit code 0
means done, 130 means Ctrl-C.

    >>> ConfigError("data.source is 'foldr', expected 'folder': correct it.").exit_code
    2
"""


class LmeraserError(Exception):
    """The root of the tree. The command line reports such an error in one line, without a
    traceback."""

    exit_code = 1


class ConfigError(LmeraserError):
    """A command line or a configuration that makes no sense."""

    exit_code = 2


class DataError(LmeraserError):
    """Input data that cannot be used. The message names the file or the row."""

    exit_code = 3


class PictureError(DataError):
    """An encoded picture that does not decode in exactly one right way."""


class VerificationError(LmeraserError):
    """Stored bytes, or rebuilt bytes, that differ from what the manifest says."""

    exit_code = 4


class HeldBackError(VerificationError):
    """The absence scan found something of published erasures, or the signer found that a frozen
    statement does not hold: these erasures are not certified."""


class ExecutionError(LmeraserError):
    """Ray, the disk or a lock failed. Nothing published is lost; the same command resumes."""

    exit_code = 5


class StaleEpochError(ExecutionError):
    """Another queue holds the lease: the epoch of this writer is over."""


class DiskFullError(ExecutionError):
    """The disk is full, or its quota is used up."""


INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
