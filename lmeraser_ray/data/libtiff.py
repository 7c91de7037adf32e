"""libtiff prints what it dislikes about a file on the process's stderr, past Python. Here it is
told to be silent: Pillow raises an error for whatever matters, and its message names the file.

Invariant: no pixel depends on it. Where libtiff is not found among the loaded libraries (another
system than Linux), it goes on printing.
"""

import ctypes
import logging
from functools import cache
from pathlib import Path

LOADED = Path("/proc/self/maps")
HANDLERS = ("TIFFSetErrorHandler", "TIFFSetWarningHandler")


@cache
def silence_libtiff() -> bool:
    """Take away libtiff's handlers of errors and warnings, and give Pillow's log one that prints
    nothing, once for the process. Returns whether libtiff was found."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints its lines
    loaded = LOADED.read_text().split() if LOADED.exists() else []
    names = {word for word in loaded if "libtiff" in word.rpartition("/")[2]}
    for name in names:
        library = ctypes.CDLL(name)  # the one that is loaded, not another
        for setter in HANDLERS:
            function = getattr(library, setter)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)
    return bool(names)
