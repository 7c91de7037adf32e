"""A file outside of the workspace is whole or not there, and no process leaves a part of it."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.storage import whole_file as module
from lmeraser_ray.storage.whole_file import hidden_name, whole_file, write_whole

DIES = """
import os, signal, sys
from pathlib import Path
from lmeraser_ray.storage import whole_file
if sys.argv[2] == "named":
    whole_file.NAMELESS = 0
with whole_file.whole_file(Path(sys.argv[1])) as file:
    file.write(b"a picture")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def die(path: Path, how: str) -> None:
    ended = subprocess.run([sys.executable, "-c", DIES, str(path), how], check=False)
    assert ended.returncode == -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["nameless", "named"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "named":
        monkeypatch.setattr(module, "NAMELESS", 0)
    return str(request.param)


def test_it_replaces_what_is_there(tmp_path: Path, how: str) -> None:
    for data in (b"first", b"second"):
        write_whole(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
        assert names(tmp_path) == ["file"]
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_a_link_there_is_replaced_and_not_followed(tmp_path: Path, how: str) -> None:
    (tmp_path / "target").write_bytes(b"foreign")
    (tmp_path / "file").symlink_to("target")
    write_whole(tmp_path / "file", b"mine")
    assert (tmp_path / "target").read_bytes() == b"foreign"
    assert not (tmp_path / "file").is_symlink()


def test_an_error_leaves_nothing(tmp_path: Path, how: str) -> None:
    write_whole(tmp_path / "file", b"old")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "file") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")
    die(tmp_path / "file", "nameless")
    assert names(tmp_path) == ["file"]


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, how: str) -> None:
    """Where the file system has no files without a name; nothing of anybody else is touched."""
    die(tmp_path / "file", "named")
    die(tmp_path / "other", "named")
    assert len(names(tmp_path)) == 2
    (tmp_path / ".file.0123456789abcdef").symlink_to("target")
    (tmp_path / ".file.0123456789abcdee").write_bytes(b"of somebody")
    (tmp_path / ".file.0123456789abcdee").chmod(0o644)
    (tmp_path / ".file.notes").write_bytes(b"notes")
    kept = {name for name in names(tmp_path) if name.startswith(".other.")}
    kept |= {".file.0123456789abcdef", ".file.0123456789abcdee", ".file.notes", "file"}
    write_whole(tmp_path / "file", b"new")
    assert set(names(tmp_path)) == kept


def test_a_writer_at_work_keeps_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMELESS", 0)
    with whole_file(tmp_path / "file") as file:
        file.write(b"slow")
        write_whole(tmp_path / "file", b"quick")
    assert (tmp_path / "file").read_bytes() == b"slow"
    assert names(tmp_path) == ["file"]


def test_a_file_system_without_nameless_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: object, flags: int, *rest: object, **more: object) -> int:
        if flags & module.NAMELESS == module.NAMELESS:
            raise OSError(errno.EOPNOTSUPP, "no such thing here")
        return real(path, flags, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    write_whole(tmp_path / "file", b"bytes")
    assert (tmp_path / "file").read_bytes() == b"bytes"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="could not be read or written"):
        write_whole(tmp_path / "none" / "file", b"bytes")


def test_hidden_names_are_new(tmp_path: Path) -> None:
    assert hidden_name(tmp_path / "file") != hidden_name(tmp_path / "file")
