"""SQLite's file: its modes and settings, and the network file systems on which it is refused."""

import os
from pathlib import Path

import psutil
import pytest
from sqlalchemy import insert

from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.storage.database import sqlite
from tests.support.desk import Desk
from tests.support.tombstones import STONE


def test_files_are_their_owners_only_and_settings_hold(lite: Desk) -> None:
    before = os.umask(0)
    try:
        with lite.open().write() as connection:
            connection.execute(insert(STONE).values(hash="a"))
            assert (lite.root / "requests.db-journal").stat().st_mode & 0o777 == 0o600
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name, _, _ in sqlite.SETTINGS
            }
    finally:
        os.umask(before)
    assert found == {
        "journal_mode": "delete",
        "synchronous": 3,
        "secure_delete": 1,
        "foreign_keys": 1,
    }
    assert {
        path.name: path.stat().st_mode & 0o777 for path in lite.root.iterdir() if path.is_file()
    } == dict.fromkeys(("database", "requests.db", "requests.lock", "secret"), 0o600)


def test_a_sqlite_that_does_not_overwrite_is_refused(
    lite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "SETTINGS", (*sqlite.SETTINGS[:2], ("secure_delete", "OFF", 1)))
    with pytest.raises(ExecutionError, match="does not take secure_delete=OFF"):
        lite.open()


MOUNTS = """/dev/vda / ext4 rw,relatime 0 0
none /mnt/share tmpfs rw 0 0
server:/x /mnt/share nfs4 rw 0 0
/dev/sdb /mnt/share/local xfs rw 0 0
me@host: /mnt/with\\040space fuse.sshfs rw 0 0
/dev/sdc /mnt/ntfs fuseblk rw 0 0
//host/x /mnt/cifs cifs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's list of mounts, as the kernel shows it."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    return tmp_path / "self" / "mounts"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/er", "nfs4"),
        ("/mnt/share/local/x", "xfs"),
        ("/mnt/shared", "ext4"),
        ("/mnt/with space/x", "fuse.sshfs"),
        ("/mnt/ntfs", "fuseblk"),
        ("/mnt/cifs/x", "cifs"),
    ],
)
def test_network_file_systems_are_refused(mounts: Path, path: str, kind: str) -> None:
    assert sqlite.file_system(Path(path)) == kind
    if kind in ("ext4", "xfs", "fuseblk"):
        sqlite.require_local(Path(path))
    else:
        with pytest.raises(ConfigError, match=f"network file system \\({kind}\\)"):
            sqlite.require_local(Path(path))


def test_where_the_system_does_not_tell_a_folder_is_taken(mounts: Path) -> None:
    mounts.unlink()
    assert sqlite.file_system(Path("/mnt/share")) == ""
    sqlite.require_local(Path("/mnt/share"))


def test_this_folder_is_on_a_local_one(tmp_path: Path) -> None:
    assert sqlite.file_system(tmp_path) not in ("", *sqlite.NETWORKED)
