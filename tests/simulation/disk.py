"""A disk in memory below `LocalDisk`: what it asks of the operating system, with fsync as the
standard has it.

    LocalDisk ─► DiskCalls, SimulatedPath ─► Disk: names, contents, and what of them is not synced

What a power failure leaves: of a file what was synced; of the changes of names, all that were
synced with their folder, and of the others those up to a moment that the seed chooses.
"""

import errno
import io
import os
import random
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import PosixPath
from typing import Any, ClassVar, NamedTuple

ROOT = "/simulated/workspace"


class Inode:
    """A file's contents, as processes see them and as they were synced."""

    __slots__ = ("data", "synced")

    def __init__(self, data: bytes = b"", synced: bytes = b"") -> None:
        self.data, self.synced = data, synced


class Stat(NamedTuple):
    """What callers read of `os.stat`."""

    st_size: int
    st_mode: int
    st_nlink: int = 1


class Disk:
    """Files by their names, and the folders."""

    def __init__(self, point: Callable[[str], None] = lambda _: None) -> None:
        self.files: dict[str, Inode] = {}
        self.within: dict[str, set[str]] = {}
        """The names of the files in each folder."""
        self.folders = {"/", "/simulated"}
        self.point = point
        self.before: dict[str, bytes] = {}
        """What a file held before it was replaced, for reads that are stale."""
        self.stale: Callable[[], bool] = lambda: False
        self._changes: list[dict[str, Inode | None]] = []
        self._handles: dict[int, Any] = {}
        self._next = 1000

    def image(self) -> tuple[dict[str, bytes], frozenset[str]]:
        """All that is there, for `restore`."""
        return {name: inode.data for name, inode in self.files.items()}, frozenset(self.folders)

    def restore(self, image: tuple[dict[str, bytes], frozenset[str]]) -> None:
        """Hold what the image holds, all of it synced."""
        self.folders, self._changes, self.files, self.within = set(image[1]), [], {}, {}
        for name, data in image[0].items():
            self._set(name, Inode(data, data))

    def lose_power(self, rng: random.Random) -> None:
        """Lose what was not synced."""
        kept = rng.choice((0, rng.randint(0, len(self._changes)), len(self._changes)))
        for change in reversed(self._changes[kept:]):
            for name, inode in change.items():
                self._set(name, inode)
        for inode in self.files.values():
            inode.data = inode.synced
        self._changes = []

    def get(self, path: object) -> Inode:
        """The file of a name. Errors: `FileNotFoundError`, `IsADirectoryError`."""
        found = self.files.get(str(path))
        if found is None:
            code = errno.EISDIR if str(path) in self.folders else errno.ENOENT
            raise OSError(code, os.strerror(code), str(path))
        return found

    def change(self, what: str, **names: Inode | None) -> None:
        """Give names other files, or none."""
        changes = dict(names)
        self.point(f"disk: {what} {next(iter(changes)).removeprefix(f'{ROOT}/')}")
        for name in changes:
            if name.rpartition("/")[0] not in self.folders:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        self._changes.append({name: self.files.get(name) for name in changes})
        for name, inode in changes.items():
            self._set(name, inode)

    def _set(self, name: str, inode: Inode | None) -> None:
        if name in self.files:
            self.before[name] = self.files[name].data
        folder, _, last = name.rpartition("/")
        if inode is None:
            self.files.pop(name, None)
            self.within.get(folder, set()).discard(last)
        else:
            self.files[name] = inode
            self.within.setdefault(folder, set()).add(last)

    def sync_folder(self, folder: str) -> None:
        """Make changes of names in a folder durable."""
        self.point(f"disk: sync {folder.removeprefix(ROOT + '/')}/")
        self._changes = [
            change
            for change in self._changes
            if all(name.rpartition("/")[0] != folder for name in change)
        ]

    def below(self, folder: str) -> list[str]:
        """The files below a folder, sorted."""
        return sorted(name for name in self.files if name.startswith(f"{folder}/"))

    def handle(self, what: Any) -> int:
        """Open something."""
        self._next += 1
        self._handles[self._next] = what
        return self._next

    def of(self, handle: int) -> Any:
        """What was opened."""
        return self._handles[handle]

    def close(self, handle: int) -> None:
        """Close it."""
        self._handles.pop(handle, None)


class SimulatedPath(PosixPath):
    """A path of the disk. What is not overridden asks the real disk, where there is no such
    folder."""

    disk: ClassVar[Disk]
    __slots__ = ()
    _children: ClassVar[dict[tuple[str, str], "SimulatedPath"]] = {}

    def __truediv__(self, name: object) -> "SimulatedPath":
        """As of any path, and remembered: a simulation asks for the same ones again and again."""
        key = str(self), str(name)
        if key not in self._children:
            if len(self._children) > 10_000:
                self._children.clear()
            self._children[key] = super().__truediv__(key[1])
        return self._children[key]

    def exists(self) -> bool:
        return str(self) in self.disk.files or self.is_dir()

    def is_file(self) -> bool:
        return str(self) in self.disk.files

    def is_dir(self) -> bool:
        return str(self) in self.disk.folders

    def is_symlink(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> Stat:  # type: ignore[override]
        if self.is_dir():
            return Stat(0, stat.S_IFDIR | 0o700)
        return Stat(len(self.disk.get(self).data), stat.S_IFREG | 0o600)

    def lstat(self) -> Stat:  # type: ignore[override]
        return self.stat()

    def resolve(self, strict: bool = False) -> "SimulatedPath":
        return self

    def read_bytes(self) -> bytes:
        return self.disk.get(self).data

    def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Everybody here is one user."""

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        return self.read_bytes().decode(errors=errors or "strict")

    def open(self, mode: str = "r", *args: object, **kwargs: object) -> io.BytesIO:  # type: ignore[override]
        assert mode == "rb", mode
        return io.BytesIO(self.disk.get(self).data)

    def unlink(self, missing_ok: bool = False) -> None:
        if not self.is_file() and missing_ok:
            return
        self.disk.get(self)
        self.disk.change("remove", **{str(self): None})

    def replace(self, target: object) -> "SimulatedPath":  # type: ignore[override]
        inode = self.disk.get(self)
        self.disk.change("rename", **{str(target): inode, str(self): None})
        return SimulatedPath(str(target))

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.is_dir():
            if not exist_ok:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))
            return
        self.disk.point("disk: mkdir")
        for folder in (self, *self.parents) if parents else (self,):
            self.disk.folders.add(str(folder))

    def iterdir(self) -> "Iterator[SimulatedPath]":  # type: ignore[override]
        start = f"{self}/"
        found = {
            name[len(start) :].partition("/")[0]
            for name in (*self.disk.files, *self.disk.folders)
            if name.startswith(start)
        }
        return iter([self / name for name in sorted(found)])


class Written:
    """A file that is being written."""

    def __init__(self, disk: Disk, handle: int) -> None:
        self._disk, self._handle = disk, handle

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *_: object) -> None:
        self._disk.close(self._handle)

    def write(self, data: bytes) -> None:
        self._disk.point("disk: write")
        self._disk.of(self._handle).data += bytes(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def fileno(self) -> int:
        return self._handle


class Read(io.BytesIO):
    """A file that is being read."""

    def __init__(self, disk: Disk, handle: int) -> None:
        super().__init__(disk.of(handle).data)
        self._handle = handle

    def fileno(self) -> int:
        return self._handle


class DiskCalls:
    """What `LocalDisk` takes from `os` and `shutil`."""

    O_RDONLY, O_WRONLY, O_CREAT, O_EXCL = os.O_RDONLY, os.O_WRONLY, os.O_CREAT, os.O_EXCL
    O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY = os.O_NOFOLLOW, os.O_NONBLOCK, os.O_DIRECTORY
    O_CLOEXEC, O_TRUNC = os.O_CLOEXEC, os.O_TRUNC
    fspath, fsencode, strerror = staticmethod(os.fspath), staticmethod(os.fsencode), os.strerror

    @property
    def _disk(self) -> Disk:
        return SimulatedPath.disk

    def open(self, path: object, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_CREAT:
            if str(path) in self._disk.files:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            inode = Inode()
            self._disk.change("create", **{str(path): inode})
            return self._disk.handle(inode)
        if str(path) in self._disk.folders:
            return self._disk.handle(str(path))
        if str(path).endswith("/CURRENT"):
            self._disk.point("read CURRENT")
        inode = self._disk.get(path)
        if str(path).endswith("/CURRENT") and self._disk.stale():
            inode = Inode(self._disk.before.get(str(path), inode.data))
        return self._disk.handle(inode)

    def fdopen(self, handle: int, mode: str) -> "Written | Read":
        return (Written if mode == "wb" else Read)(self._disk, handle)

    def fchmod(self, handle: int, mode: int) -> None:
        """Everybody here is one user."""

    def fsync(self, handle: int) -> None:
        what = self._disk.of(handle)
        if isinstance(what, str):
            self._disk.sync_folder(what)
        else:
            self._disk.point("disk: sync")
            what.synced = what.data

    def close(self, handle: int) -> None:
        self._disk.close(handle)

    def fstat(self, handle: int) -> Stat:
        what = self._disk.of(handle)
        if isinstance(what, str):
            return Stat(0, stat.S_IFDIR | 0o700)
        return Stat(len(what.data), stat.S_IFREG | 0o600)

    def link(self, source: object, target: object) -> None:
        inode = self._disk.get(source)
        if str(target) in self._disk.files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        self._disk.change("link", **{str(target): inode})

    def pread(self, handle: int, length: int, offset: int) -> bytes:
        return self._disk.of(handle).data[offset : offset + length]  # type: ignore[no-any-return]

    def preadv(self, handle: int, views: Sequence[memoryview], offset: int) -> int:
        piece = self.pread(handle, len(views[0]), offset)
        views[0][: len(piece)] = piece
        return len(piece)

    def walk(
        self, root: object, onerror: Callable[[OSError], object] | None = None
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        folder = str(root)
        start = f"{folder}/"
        folders = sorted(
            name[len(start) :]
            for name in self._disk.folders
            if name.startswith(start) and "/" not in name[len(start) :]
        )
        yield folder, folders, list(self._disk.within.get(folder, ()))
        for name in folders:
            yield from self.walk(f"{folder}/{name}", onerror)

    def rmtree(self, folder: object, ignore_errors: bool = False) -> None:
        try:
            if str(folder) not in self._disk.folders:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
            for name in self._disk.below(str(folder)):
                self._disk.change("remove", **{name: None})
            gone = {
                name
                for name in self._disk.folders
                if name == str(folder) or name.startswith(f"{folder}/")
            }
            self._disk.folders -= gone
        except OSError:
            if not ignore_errors:
                raise
