"""The commands `keys`, `certificate`, `verify --certificate` and `audit`: what they print, which
files they write, and their exit codes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import delete

from lmeraser_ray.cli import main as cli
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.tables import ledger as ledger_table
from tests.support.office import Office, desk, office
from tests.support.signing_desk import state

__all__ = ["desk", "office"]


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.mark.parametrize("desk", ["sqlite"], indirect=True)
class TestVerbs:
    """The command line."""

    @pytest.fixture
    def lm(
        self,
        capfd: pytest.CaptureFixture[str],
        office: Office,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> Callable[..., Said]:
        """Run a command in this process; the default key folder is a new one."""
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.delenv("LMERASER_KEYS", raising=False)

        def run(*words: object) -> Said:
            capfd.readouterr()
            code = cli.run(None, [str(word) for word in words])
            return Said(code, *capfd.readouterr())

        return run

    def test_keys(self, lm: Callable[..., Said], tmp_path: Path) -> None:
        none = json.loads(lm("keys", "list", "--json").out)
        assert none == {
            "folder": str(tmp_path / "config" / "lmeraser_ray" / "keys"),
            "signs": None,
            "keys": [],
        }
        where = ("--keys", tmp_path / "own")
        assert lm("keys", "list", *where).code == 2
        first = json.loads(lm("keys", "init", *where, "--json").out)["signs"]
        assert lm("keys", "init", *where).code == 2
        said = lm("keys", "rotate", *where, "--json")
        data = json.loads(said.out)
        assert data["signs"] != first
        assert {entry["key"]: entry["signs"] for entry in data["keys"]} == {
            first: False,
            data["signs"]: True,
        }
        assert all(Path(entry["file"]).is_file() for entry in data["keys"])
        text = lm("keys", "list", *where).out
        assert f"* {data['signs']}" in text
        assert f"  {first}" in text
        assert "PRIVATE" not in text + said.out

    def test_a_certificate_from_the_workspace_to_an_auditor_without_one(
        self,
        lm: Callable[..., Said],
        office: Office,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Written to a file, and checked in an empty folder with the public key alone; any changed
        byte, another key: exit code 4."""
        name = office.certify("a", subject="s")
        away = tmp_path / "away"
        away.mkdir()
        where = ("--workspace", office.folder.root)
        said = lm("certificate", name, *where, "--output", away / "c.json")
        assert (said.code, said.err.count("\n")) == (0, 1)
        assert "signature was not checked" in said.err
        assert (away / "c.json").read_bytes() == office.desk.envelope(name)
        key = office.keys.current()
        shutil.copy(office.keys.public_path(key.keyid), away / "key.pem")
        with_keys = lm("certificate", name, *where, "--keys", office.keys.path, "--json")
        assert with_keys.err == ""
        assert json.loads(with_keys.out)["envelope"].encode() == office.desk.envelope(name)
        monkeypatch.chdir(away)
        words = ("verify", "--certificate", "c.json", "--public_key", "key.pem")
        with office.desk.database.read() as conn:
            states = [ledger.state_of(conn, state(number)) for number in (0, 1)]
        text = lm(*words)
        assert text.code == 0
        for word in (
            "ok:",
            key.keyid,
            name,
            *states,
            "in time",
            "NIST SP 800-88",
            "2 removed",
            "1 record;",
            "41 files, 12,475 bytes, in 2 places",
            ": 0 found",
        ):
            assert word in text.out, word
        data = json.loads(lm(*words, "--json").out)
        assert (data["ok"], data["key"], data["request"], data["deadline"]["met"]) == (
            True,
            key.keyid,
            name,
            True,
        )
        assert data["statement"]["predicate"]["state"] == {"before": states[0], "after": states[1]}
        unknown = lm("verify", "--certificate", "c.json")
        assert (unknown.code, unknown.out) == (4, "")
        assert key.keyid in unknown.err
        assert "--public_key" in unknown.err
        whole = (away / "c.json").read_bytes()
        for at in (0, len(whole) // 3, len(whole) - 1):
            (away / "c.json").write_bytes(whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1 :])
            changed = lm(*words)
            assert (changed.code, changed.out, changed.err.count("\n")) == (4, "", 1)
            assert "c.json does not verify. " in changed.err
        assert sorted(path.name for path in away.iterdir()) == ["c.json", "key.pem"]

    def test_what_has_no_certificate(
        self, lm: Callable[..., Said], office: Office, tmp_path: Path
    ) -> None:
        waiting = office.desk.requests.submit(["x"], []).id
        where = ("--workspace", office.folder.root)
        assert (
            lm("certificate", waiting, *where).code,
            "is RECEIVED" in lm("certificate", waiting, *where).err,
        ) == (3, True)
        assert lm("certificate", "er-20260101-0000000000000000", *where).code == 3
        assert lm("certificate", waiting, "--workspace", tmp_path / "none").code == 2
        assert lm("verify", "--certificate", tmp_path / "none").code == 2
        assert lm("verify", "--public_key", tmp_path / "none").code == 2
        assert lm("verify", "--certificate", tmp_path, "--rebuild").code == 2

    def test_audit(self, lm: Callable[..., Said], office: Office, tmp_path: Path) -> None:
        name = office.certify("a")
        words = ("audit", "--workspace", office.folder.root, "--keys", office.keys.path)
        head = tmp_path / "head.json"
        said = lm(*words, "--head", head)
        assert (said.code, said.out.splitlines()[0]) == (
            0,
            f"ok: {office.audit().head.seq} ledger entries in one chain, 1 request, 1 certificate "
            "verified",
        )
        assert "keep it where" in said.err
        data = json.loads(lm(*words, "--against", head, "--json").out)
        assert {
            field: data[field]
            for field in ("ok", "requests", "certificates", "differences", "against", "rebuilt")
        } == {
            "ok": True,
            "requests": 1,
            "certificates": 1,
            "differences": [],
            "against": True,
            "rebuilt": False,
        }
        office.change(delete(ledger_table).where(ledger_table.c.seq == data["entries"]))
        again = tmp_path / "again.json"
        bad = lm(*words, "--against", head, "--head", again)
        assert bad.code == 4
        assert bad.out.startswith("not ok: 3 differences, the first is:\n")
        assert name in bad.out
        assert not again.exists(), "a broken ledger is not signed"
        assert json.loads(lm(*words, "--json").out)["ok"] is False
        assert lm(*words, "--against", tmp_path / "none").code == 2

    def test_the_first_head_makes_a_key_and_says_so(
        self, lm: Callable[..., Said], office: Office, tmp_path: Path
    ) -> None:
        said = lm("audit", "--workspace", office.folder.root, "--head", tmp_path / "head.json")
        assert said.code == 0
        assert "a signing key was made in" in said.err
        assert (
            lm("audit", "--workspace", office.folder.root, "--against", tmp_path / "head.json").code
            == 0
        )
