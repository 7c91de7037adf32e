"""The home folder of the user who runs a process, where there is one: many containers run as a user
without HOME and without an entry in /etc/passwd."""

import os
import pwd
from pathlib import Path

NO_HOME = Path("/nonexistent")
"""The home of a user who has none; Debian gives it to such users too, and nobody may create it."""


def home_folder() -> Path:
    """Return the folder that HOME names, else that of the user's entry, else `NO_HOME`. `Path.home`
    fails without an entry, and takes an empty HOME for the root folder."""
    named = Path(os.environ.get("HOME", ""))
    if not named.is_absolute():
        try:
            named = Path(pwd.getpwuid(os.getuid()).pw_dir)
        except KeyError:
            return NO_HOME
    return named if named.is_absolute() else NO_HOME


def can_hold(path: Path) -> bool:
    """Return whether this process may create a file at a path, with the folders above it."""
    there = next(folder for folder in path.parents if folder.exists())
    return not path.is_relative_to(NO_HOME) and os.access(there, os.W_OK | os.X_OK)
