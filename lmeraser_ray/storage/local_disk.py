"""A workspace on a disk of this machine or on a shared file system. Errors are `OSError`s.

A new file is written, flushed and synced before it gets its name; then its folder is synced. So a
reader sees the old bytes or the new ones, also after a crash. No link is followed, and nothing but
regular files is opened (`regular_file.py`).
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from lmeraser_ray.storage.paths import temporary_name
from lmeraser_ray.storage.regular_file import make_folder, open_regular, sync_folder

TRIES = 100
"""How often a folder is emptied in which others are at work."""


class LocalDisk:
    """The `Filesystem` of `pathlib.Path`s."""

    needs_folders = True

    def write_new(self, path: Path, chunks: Iterable[bytes], mode: int) -> None:
        """Write the chunks and sync the file. Errors: `FileExistsError` where there is one."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, mode)  # whatever the umask
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def move(self, source: Path, target: Path) -> None:
        """Rename the file and sync the folder."""
        source.replace(target)
        self.sync_folder(target.parent)

    def create_once(self, path: Path, data: bytes, scratch: Path) -> bool:
        """Link a complete file to its name, which fails where the name is taken. Start again where
        another command clears `scratch` meanwhile."""
        while True:
            make_folder(scratch)
            temporary = scratch / temporary_name()
            try:
                self.write_new(temporary, [data], 0o600)
                os.link(temporary, path)
            except FileExistsError:
                return False
            except FileNotFoundError:
                continue
            finally:
                temporary.unlink(missing_ok=True)
            self.sync_folder(path.parent)
            return True

    def replace_pointer(self, path: Path, data: bytes, temporary: Path) -> bool:
        """Replace the file. The caller's lock keeps other writers away, so this always succeeds."""
        if not path.exists() or self.read(path) != data:
            temporary.unlink(missing_ok=True)  # of a writer that died
            self.write_new(temporary, [data], 0o600)
            self.move(temporary, path)
        return True

    def share(self, source: Path, target: Path) -> None:
        """A hard link."""
        os.link(source, target)

    def sync_folder(self, folder: Path) -> None:
        """fsync of the folder."""
        sync_folder(folder)

    def make_folder(self, folder: Path, *, parents: bool = True) -> None:
        """Mode 0700, also of the folders above that are made."""
        make_folder(folder, parents=parents)

    def open(self, path: Path) -> BufferedReader:
        """One descriptor."""
        return os.fdopen(open_regular(path), "rb")

    def read(self, path: Path) -> bytes:
        """One descriptor."""
        with self.open(path) as file:
            return file.read()

    def read_ranges(
        self, path: Path, offsets: Sequence[int], lengths: Sequence[int]
    ) -> list[bytes]:
        """One `pread` a range."""
        with self.open(path) as file:
            return [
                os.pread(file.fileno(), length, offset)
                for offset, length in zip(offsets, lengths, strict=True)
            ]

    def digest(self, path: Path) -> str | None:
        """None where the file cannot be read either: its bytes are lost."""
        with suppress(OSError), self.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
        return None

    @contextmanager
    def opened(self, path: Path) -> Iterator[Callable[[memoryview, int], int]]:
        """Read through one descriptor."""
        handle = open_regular(path)

        def fill(view: memoryview, at: int) -> int:
            size = 0
            while size < len(view) and (read := os.preadv(handle, [view[size:]], at + size)):
                size += read
            return size

        try:
            yield fill
        finally:
            os.close(handle)

    def walk(self, root: Path) -> Iterator[tuple[Path, int]]:
        """Folder by folder, in order. What vanishes meanwhile is left out; a folder that cannot be
        read is an error."""

        def refuse(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        for folder, folders, files in os.walk(root, onerror=refuse):
            folders.sort()
            parent = Path(folder)
            for name in (*folders, *sorted(files)):
                path = parent / name
                try:
                    mode = path.lstat().st_mode
                except FileNotFoundError:
                    continue
                yield path, mode

    def remove_files(self, paths: Sequence[Path]) -> tuple[Path, OSError] | None:
        """One `unlink` a file."""
        stuck = None
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                stuck = stuck or (path, error)
        return stuck

    def remove_tree(self, folder: Path, *, ignore_errors: bool) -> None:
        """As `shutil.rmtree`: with `ignore_errors`, all that can be removed is."""
        shutil.rmtree(folder, ignore_errors=ignore_errors)

    def empty_folder(self, folder: Path) -> None:
        """Links in the folder are removed, and what they lead to is kept. Other processes may
        remove what is theirs meanwhile, or still write into a folder that is about to go."""
        for more in reversed(range(TRIES)):
            left = list(folder.iterdir())
            for path in left:
                try:
                    shutil.rmtree(
                        path
                    ) if path.is_dir() and not path.is_symlink() else path.unlink()
                except OSError as error:
                    if not more or error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                        raise
            if not left:
                return
