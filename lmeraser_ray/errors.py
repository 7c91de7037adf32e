"""Every error that a user can cause, in one tree; each family has its exit code.

    LmeraserError
    ├── ConfigError         2   usage or configuration
    ├── DataError           3   records, pictures, labels, ids
    │   └── PictureError        one encoded picture, with the reason
    ├── VerificationError   4   bytes that are not what they must be
    └── ExecutionError      5   Ray, disk, locks: the machine and not the input
        ├── StaleEpochError     another queue has taken over; this one must write nothing more
        └── DiskFullError       no room: what was under way is to be done again, and is nobody's failure

A message is one clear sentence or two: what was found, what was expected, what to do. Exit code 0
is done, 130 is Ctrl-C.
"""


class LmeraserError(Exception):
    """The root: whatever the command line reports in one line and without a traceback."""

    exit_code = 1


class ConfigError(LmeraserError):
    """A command or a configuration that cannot be meant."""

    exit_code = 2


class DataError(LmeraserError):
    """Input data that cannot be used; names the file or the row."""

    exit_code = 3


class PictureError(DataError):
    """One encoded picture that cannot be decoded in exactly one right way."""


class VerificationError(LmeraserError):
    """Stored bytes, or rebuilt bytes, that are not what the manifest says."""

    exit_code = 4


class ExecutionError(LmeraserError):
    """The machine could not do it: Ray, the disk, a lock. Nothing published is lost; the same
    command resumes."""

    exit_code = 5


class StaleEpochError(ExecutionError):
    """A writer whose epoch is over: another queue holds the lease."""


class DiskFullError(ExecutionError):
    """A disk without room, or a quota that is used up."""


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
