"""What a process does to the file system, as the kernel saw it: a run under strace, read as a list
of operations. Both Python's writes and SQLite's are in it.

    act (a process) ── strace ──► lines ── read ──► Operation, Operation, …

What is not seen: writes through a shared mapping, and a second process below the same folder. So
whoever records compares the replay of all operations with the files that are there
(`tests/support/power_cuts.py`).
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

ROOT = Path(__file__).parents[2]
Kind = Literal[
    "mkdir",
    "create",
    "nameless",
    "write",
    "truncate",
    "sync",
    "rename",
    "link",
    "unlink",
    "rmdir",
    "note",
]
CALLS = (
    *("open", "openat", "creat", "close", "lseek", "write", "pwrite64", "writev", "pwritev"),
    *("pwritev2", "sendfile", "copy_file_range", "splice", "fallocate", "truncate", "ftruncate"),
    *("fsync", "fdatasync", "sync_file_range", "rename", "renameat", "renameat2", "link", "linkat"),
    *("symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
)
LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += +(-?\d+)(.*)", re.DOTALL)
HANDLE = re.compile(r"(-?\d+|AT_FDCWD)<([^>]*)>(\(deleted\))?")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class Operation:
    """One change, or one sync, of something below the watched folder. path, to: relative to it;
    at: the offset of a write, or the length that a file is cut to; data: what was written, or the
    text of a note. A nameless file (O_TMPFILE) has a path that no folder holds."""

    kind: Kind
    path: str = ""
    to: str = ""
    at: int = 0
    data: bytes = b""


def traced(folder: Path, *command: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a Python module in a process, and return strace's lines. Skips where this machine has no
    strace, or does not allow it."""
    strace, log = shutil.which("strace") or pytest.skip("needs strace"), folder / "strace.log"
    words = ["-f", "-y", "-s", str(2**24), "-e", f"trace={','.join(CALLS)}", "-o", str(log)]
    done = subprocess.run(
        [strace, "--seccomp-bpf", *words, sys.executable, "-m", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if "PTRACE" in done.stderr:
        pytest.skip(f"this machine does not allow strace: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return log.read_text()


def operations_below(folder: Path, lines: str) -> tuple[Operation, ...]:
    """What strace saw below a folder, and the notes that were made of it."""
    return tuple(Reader(folder.resolve(), notes_of(folder.resolve())).read(lines))


def notes_of(folder: Path) -> Path:
    """The file beside a folder to which a process writes what it has acknowledged of it."""
    return folder.with_name(f"{folder.name}.notes")


def note(folder: Path, text: str) -> None:
    """Say, in a process that is traced, that something in a folder was acknowledged."""
    handle = os.open(notes_of(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, text.encode())
    os.close(handle)


@dataclass
class Reader:
    """Reads strace's lines. offsets: where the next `write` of each descriptor goes; paths: what
    each descriptor was opened as."""

    folder: Path
    notes: Path
    offsets: dict[str, int] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    def read(self, text: str) -> Iterator[Operation]:
        """The operations, in the order in which they ended."""
        begun: dict[str, str] = {}
        for line in text.split("\n"):
            process = line.partition(" ")[0]
            if line.endswith(" <unfinished ...>"):
                begun[process] = line.removesuffix(" <unfinished ...>")
                continue
            resumed = re.match(r"\d+ +<\.\.\. \w+ resumed>", line)
            whole = begun.pop(process) + line[resumed.end() :] if resumed else line
            found = LINE.fullmatch(whole)
            if found and int(found[4]) >= 0:
                yield from self._call(found[2], found[3], found[4] + found[5])

    def _below(self, path: str) -> str | None:
        """The path within the watched folder; None outside of it."""
        whole = Path(os.path.normpath(path))
        return str(whole.relative_to(self.folder)) if whole.is_relative_to(self.folder) else None

    def _call(self, name: str, words: str, result: str) -> Iterator[Operation]:
        """The operations of one call that succeeded."""
        strings = [text_of(found) for found in STRING.findall(words)]
        handles = [
            (found[1], found[2].removesuffix(" (deleted)"))
            for found in HANDLE.finditer(STRING.sub("", words))
        ]
        number = int(re.match(r"-?\d+", result)[0])  # type: ignore[index]
        if name in ("open", "openat", "creat"):
            yield from self._open(words, result)
        elif name in ("write", "pwrite64", "lseek", "ftruncate", "fsync", "fdatasync"):
            yield from self._by_handle(name, handles[0], words, strings, number)
        elif name != "close":
            yield from self._by_name(name, handles, words, [os.fsdecode(s) for s in strings])

    def _open(self, words: str, result: str) -> Iterator[Operation]:
        opened = HANDLE.match(result)
        if not opened:
            return
        self.offsets[opened[1]], self.paths[opened[1]] = 0, opened[2].removesuffix(" (deleted)")
        path = self._below(self.paths[opened[1]])
        if path is None:
            return
        if "O_TMPFILE" in words:
            yield Operation("nameless", path)
        if "O_CREAT" in words:
            yield Operation("create", path)  # of one that is there: nothing happens
        if "O_TRUNC" in words:
            yield Operation("truncate", path)

    def _by_handle(
        self, name: str, handle: tuple[str, str], words: str, strings: list[bytes], number: int
    ) -> Iterator[Operation]:
        descriptor, where = handle
        if where == str(self.notes) and name == "write":
            yield Operation("note", data=strings[0])
        path = self._below(where)
        if path is None:
            return
        if name in ("fsync", "fdatasync"):
            yield Operation("sync", path)
        elif name == "lseek":
            self.offsets[descriptor] = number
        elif name == "ftruncate":
            yield Operation("truncate", path, at=int(words.rpartition(", ")[2]))
        elif name == "pwrite64":
            yield Operation(
                "write", path, at=int(words.rpartition(", ")[2]), data=strings[0][:number]
            )
        else:
            at = self.offsets[descriptor]
            self.offsets[descriptor] = at + number
            yield Operation("write", path, at=at, data=strings[0][:number])

    def _by_name(
        self, name: str, handles: list[tuple[str, str]], words: str, strings: list[str]
    ) -> Iterator[Operation]:
        folders = [where for _, where in handles]
        paths = [
            self._below(self._whole(folders[at] if at < len(folders) else "/", each))
            for at, each in enumerate(strings)
        ]
        if not any(path is not None for path in paths) and not any(map(self._below, folders)):
            return
        kinds: dict[str, Kind] = {"mkdirat": "mkdir", "linkat": "link", "unlinkat": "unlink"}
        kinds |= {"renameat": "rename", "renameat2": "rename", "truncate": "truncate"}
        kind = kinds.get(name, name)  # type: ignore[arg-type]
        kind = "rmdir" if "AT_REMOVEDIR" in words else kind
        assert kind in ("mkdir", "rename", "link", "unlink", "rmdir"), f"{name}({words}): not read"
        assert None not in paths, f"{name}({words}): into or out of the watched folder"
        yield Operation(kind, *paths)  # type: ignore[arg-type]

    def _whole(self, folder: str, name: str) -> str:
        """A path as the kernel takes it; one below /proc/self/fd is that of a descriptor."""
        descriptor = re.fullmatch(r"/proc/self/fd/(\d+)", name)
        return self.paths[descriptor[1]] if descriptor else str(Path(folder, name))


def text_of(quoted: str) -> bytes:
    """The bytes of a string as strace prints it, which is how C and Python write them."""
    return bytes(ast.literal_eval(f"b{quoted}"))
