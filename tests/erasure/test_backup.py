"""Backups: what is in the archive and the file of erasures, who may read them, that every damage
is found, and that rows of either dialect come back as they were."""

import json
import os
import stat
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import insert

from lmeraser_ray.cli import main as cli
from lmeraser_ray.erasure.backup.archive import (
    BackupCard,
    Contents,
    open_archive,
    part_of,
    write_archive,
)
from lmeraser_ray.erasure.backup.database_dump import dump, load, rows_in
from lmeraser_ray.erasure.backup.unpack import unpack
from lmeraser_ray.errors import ConfigError, DataError, VerificationError
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from tests.support.history import FIRST, SECOND, THIRD, History


def test_a_backup_has_no_names_of_who_was_erased(history: History) -> None:
    """Neither the rows nor the bytes between them; those of an open request, which must go on, and
    of the living, it has."""
    for tar in history.tars[2:]:
        data = tar.read_bytes()
        assert f"{FIRST}/".encode() not in data
        assert f"{SECOND}/".encode() not in data
        assert f'"{THIRD}"'.encode() in data
    for erasures in history.erasures:
        assert b"person" not in erasures.read_bytes()


def test_files_are_whole_and_their_owners_only(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (*history.tars, *history.erasures):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(history.tars[1]) as archive:
        members = archive.getmembers()
    assert [member.name for member in members[:4]] == [
        "contents.json",
        "contents.sha256",
        "configuration.json",
        "secret",
    ]
    assert all(member.isreg() and member.mode == 0o600 and member.mtime == 0 for member in members)
    root = history.tree(1, tmp_path / "w")
    (tmp_path / "x.tar").write_bytes(b"the one before")
    picture = next((root / "objects" / "pictures").iterdir())
    picture.write_bytes(picture.read_bytes()[:-1] + b"?")
    with pytest.raises(VerificationError, match=r"pictures/.* is damaged"):
        backup(Session(root), to=tmp_path / "x.tar", erasures=None)
    picture.unlink()
    with pytest.raises(VerificationError, match="missing"):
        backup(Session(root), to=tmp_path / "x.tar", erasures=None)
    assert (tmp_path / "x.tar").read_bytes() == b"the one before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w", "x.tar"]


def test_places_where_a_backup_cannot_be(history: History, tmp_path: Path) -> None:
    session = Session(history.trees[1])
    for to, said in (
        (session.root / "b.tar", "within the workspace"),
        (tmp_path / "no" / "b.tar", "no place"),
        (tmp_path, "no place"),
    ):
        with pytest.raises(ConfigError, match=said):
            backup(session, to=to, erasures=None)
        with pytest.raises(ConfigError, match=said):
            backup(session, to=None, erasures=to)
    with pytest.raises(ConfigError, match="Nothing to write"):
        backup(session, to=None, erasures=None)
    WorkspaceFolder(tmp_path / "empty").create()
    with pytest.raises(DataError, match="nothing published"):
        backup(Session(tmp_path / "empty"), to=tmp_path / "b.tar", erasures=None)


def test_every_damage_of_an_archive_is_found(tmp_path: Path) -> None:
    """A byte anywhere, a cut anywhere: an error, or (in a header's padding) nothing that was read
    differs."""
    for name, size in (("one", 700), ("two", 1300)):
        (tmp_path / name).write_bytes(os.urandom(size))
    sources = [tmp_path / "one", tmp_path / "two"]
    whole = tmp_path / "whole.tar"
    write_archive(
        whole,
        Contents(card("a test"), tuple(part_of(path.name, path) for path in sources)),
        sources,
    )

    def read(path: Path) -> list[object]:
        with open_archive(path) as archive:
            return [
                archive.contents,
                archive.digest,
                *((part, b"".join(pieces)) for part, pieces in archive.parts()),
            ]

    right, data = read(whole), whole.read_bytes()
    assert [found[1] for found in right[2:]] == [path.read_bytes() for path in sources]  # type: ignore[index]
    found = 0
    for at in range(0, len(data), 7):
        (tmp_path / "damaged.tar").write_bytes(
            data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]
        )
        try:
            assert read(tmp_path / "damaged.tar") == right
        except (VerificationError, ConfigError):
            found += 1
    assert found > 300
    end = data.index((tmp_path / "two").read_bytes()) + 1300  # zeros follow
    for at in range(0, end, 97):
        (tmp_path / "damaged.tar").write_bytes(data[:at])
        with pytest.raises(VerificationError):
            read(tmp_path / "damaged.tar")


def test_an_archive_of_something_else_touches_nothing(history: History, tmp_path: Path) -> None:
    root = history.tree(1, tmp_path / "w")
    before = {
        path: path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file() and path.name != "lock"
    }
    evil = tmp_path / "../evil"
    (tmp_path / "x").write_bytes(b"x")
    part = part_of("x", tmp_path / "x")
    for name in (
        "../evil",
        "/etc/evil",
        "objects/../evil",
        f"objects/records/{'0' * 64}-{'1' * 64}.parquet",
        "CURRENT",
        "objects/x",
    ):
        about = card(Session(root).names().workspace_id)
        write_archive(
            tmp_path / "evil.tar",
            Contents(about, (type(part)(name, part.size, part.sha256),)),
            [tmp_path / "x"],
        )
        with pytest.raises(VerificationError, match="no backup has"):
            restore(Session(root), tmp_path / "evil.tar")
    assert not evil.exists()
    for wrong in (b"no tar at all", b""):
        (tmp_path / "wrong.tar").write_bytes(wrong)
        with pytest.raises(VerificationError):
            restore(Session(root), tmp_path / "wrong.tar")
    with pytest.raises(ConfigError, match="no file"):
        restore(Session(root), tmp_path / "nothing.tar")
    assert {
        path: path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file() and path.name != "lock"
    } == before


@pytest.mark.parametrize("configuration", [b"no JSON", b"[]", None])
def test_an_archive_without_a_configuration_is_refused(
    tmp_path: Path, configuration: bytes | None
) -> None:
    part = tmp_path / "part"
    part.write_bytes(configuration or b"")
    sources = [] if configuration is None else [part]
    parts = tuple(part_of("configuration.json", source) for source in sources)
    write_archive(tmp_path / "x.tar", Contents(card("0" * 12), parts), sources)
    with (
        open_archive(tmp_path / "x.tar") as archive,
        pytest.raises(VerificationError, match="no manifest or no configuration"),
    ):
        unpack(archive, tmp_path / "unpacked")


def test_rows_come_back_as_they_were(tmp_path: Path, postgresql: str) -> None:
    """From each dialect into the other, with what counts upwards going on where it was. The three
    are of one workspace: they have its secret."""
    for name in "abc":
        (made(tmp_path / name) / "secret").write_bytes(b"s" * 32)
    ones = [
        Database.open(tmp_path / name, url)
        for name, url in (("a", None), ("b", postgresql), ("c", None))
    ]
    with ones[0].write() as conn:
        conn.execute(
            insert(tables.requests).values(
                a_request("r1", statement=b"\x00\xff{}", reason='ä \u2028 "quoted"')
            )
        )
        conn.execute(
            insert(tables.targets).values(
                request_id="r1", what="record", hash="h", name="per\u00a0son", outcome="open"
            )
        )
        conn.execute(
            insert(tables.publications).values(
                epoch=1, before=None, after="x", facts="{}", done=True
            )
        )
        ledger.append(conn, "RECEIVED", "r1", {"due": "then"})
    for source, target in pairwise(ones):
        with source.read() as conn:
            lines = list(dump(conn))
        with target.write() as conn:
            conn.execute(insert(tables.tombstones).values(hash="goes"))
            load(conn, rows_in(lines))
            [number] = conn.execute(
                insert(tables.publications).values(epoch=1, done=False)
            ).inserted_primary_key or (0,)
            assert number == 2
            conn.execute(tables.publications.delete().where(tables.publications.c.id == 2))
        with target.read() as conn:
            assert [line for line in dump(conn) if b'["workspace"' not in line] == [
                line for line in lines if b'["workspace"' not in line
            ]
            assert ledger.check(conn) == []
    with pytest.raises(VerificationError, match="unknown_column"), ones[0].write() as conn:
        load(conn, rows_in([b'["tombstones", {"unknown_column": 1}]']))
    with pytest.raises(VerificationError, match="does not know"), ones[0].write() as conn:
        load(conn, rows_in([b'["other", {}]']))
    for one in ones:
        one.close()


def card(workspace: str) -> BackupCard:
    digest = "0" * 64
    return BackupCard(
        version="1",
        at="then",
        workspace=workspace,
        manifest=(digest, digest),
        fingerprint=digest,
        dialect="sqlite",
        seq=0,
        hash=digest,
    )


def made(root: Path) -> Path:
    WorkspaceFolder(root).create()
    return root


def a_request(name: str, **values: object) -> dict[str, object]:
    moments = {
        "received_at": "2026-01-01T00:00:00.000000Z",
        "due_at": "2026-02-01T00:00:00.000000Z",
    }
    return {
        "id": name,
        "content": "c",
        "submitter": "s",
        "state": "RECEIVED",
        "quarantine": True,
        "attempts": 2,
        **moments,
        **values,
    }


def test_the_verbs(history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = history.tree(1, tmp_path / "w")
    words = ["--workspace", str(root), "--json", "--quiet"]
    assert (
        cli.run(
            "backup",
            ["--to", str(tmp_path / "b.tar"), "--erasures", str(tmp_path / "e.json"), *words],
        )
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["fingerprint"], said["bytes"]) == (
        history.fingerprints[1],
        (tmp_path / "b.tar").stat().st_size,
    )
    assert said["tombstones"] == 3  # two records and their subject
    new = ["--workspace", str(tmp_path / "new"), "--json", "--quiet"]
    assert cli.run("restore", ["--from", str(tmp_path / "b.tar"), *new]) == ConfigError.exit_code
    assert "--no_later_erasures" in capsys.readouterr().err
    assert (
        cli.run(
            "restore",
            ["--from", str(tmp_path / "b.tar"), "--erasures", str(tmp_path / "e.json"), *new],
        )
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["fingerprint"], said["erased_again"], said["retrained"]) == (
        history.fingerprints[1],
        0,
        0,
    )
    assert (
        cli.run(
            "restore",
            ["--from", str(tmp_path / "b.tar"), "--workspace", str(tmp_path / "new"), "--quiet"],
        )
        == 0
    )
    assert "was kept" in capsys.readouterr().err
    assert (
        cli.run(
            "backup", ["--erasures", str(tmp_path / "e2.json"), "--workspace", str(root), "--quiet"]
        )
        == 0
    )
    assert "3 keyed hashes" in capsys.readouterr().out
