"""Evidence that others made: certificates, ledger entries and backups whose JSON is valid and whose
shape is not. Each ends in a `VerificationError`, on the command line in exit code 4."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text, update

from lmeraser_ray.cli import main as cli
from lmeraser_ray.cli.evidence import certificate_lines
from lmeraser_ray.erasure.backup.archive import CONTENTS, DIGEST, header, open_archive
from lmeraser_ray.erasure.backup.database_dump import rows_in
from lmeraser_ray.erasure.certificate.dsse import HEAD_TYPE, SigningKey, sha256_of, sign, verify
from lmeraser_ray.erasure.certificate.ledger_head import read_head
from lmeraser_ray.erasure.certificate.statement import statement_of
from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.errors import LmeraserError, VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.ledger import GENESIS, Seal
from lmeraser_ray.storage.digests import canonical_json
from tests.support.desk import Desk
from tests.support.office import Office, desk, office
from tests.support.statements import STATEMENT

__all__ = ["desk", "office"]

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEYS = {KEY.keyid: KEY.public}
Change = Callable[[dict], object]
ENVELOPES: dict[str, Change] = {
    "keyid a list": lambda it: it["signatures"][0].update(keyid=["a"]),
    "keyid a mapping": lambda it: it["signatures"][0].update(keyid={}),
    "type a list": lambda it: it.update(payloadType=["a"]),
    "type null": lambda it: it.update(payloadType=None),
    "payload a number": lambda it: it.update(payload=1),
    "no signature": lambda it: it.update(signatures=[]),
    "signature null": lambda it: it.update(signatures=[None]),
    "a surrogate": lambda it: it.update(payloadType="\ud800"),
}
STATEMENTS: dict[str, Change] = {
    "predicate a list": lambda it: it.update(predicate=[]),
    "times that are none": lambda it: it["predicate"]["times"].update(purged="then"),
}


def changed(data: bytes, change: Change) -> bytes:
    read = json.loads(data)
    change(read)
    return json.dumps(read, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("change", ENVELOPES.values(), ids=ENVELOPES)
def test_an_envelope_of_another_shape(change: Change) -> None:
    with pytest.raises(VerificationError):
        verify(changed(sign(b"{}", KEY), change), KEYS)


def test_an_envelope_that_is_nested_without_end() -> None:
    with pytest.raises(VerificationError):
        verify(b'{"payload":' + b"[" * 100_000, KEYS)


@pytest.mark.parametrize("change", STATEMENTS.values(), ids=STATEMENTS)
def test_a_signed_statement_of_another_shape(change: Change) -> None:
    """By a key that is trusted, so that nothing but the shape is wrong."""
    payload = changed(statement_of(STATEMENT), change)
    with pytest.raises(VerificationError):
        check_certificate(sign(payload, KEY), KEYS)


@pytest.mark.parametrize("scan", [{}, {"searched": None}, {"not_searched": [1]}, {"found": []}])
def test_a_scan_of_another_form_is_shown_as_such(scan: dict[str, object]) -> None:
    """The format leaves it free, so that such a certificate verifies."""
    payload = changed(statement_of(STATEMENT), lambda it: it["predicate"].update(scan=scan))
    lines = certificate_lines(check_certificate(sign(payload, KEY), KEYS))
    assert any("in a form that this version does not show" in line for line in lines)


@pytest.mark.parametrize("seq", [[], None, "1", -1, 1.5, True])
def test_a_signed_head_of_another_shape(seq: object) -> None:
    head = {"format": 1, "workspace": "w", "seq": seq, "hash": "0" * 64, "at": "then"}
    with pytest.raises(VerificationError):
        read_head(sign(canonical_json(head), KEY, payload_type=HEAD_TYPE), KEYS)


ENTRIES = {
    "no JSON": "x",
    "nested": "[" * 100_000,
    "a list": "[]",
    "facts a list": '{"at":"t","facts":[],"kind":"TRAINED","request":null,"seq":1}',
    "a state that is a list": '{"at":"t","facts":{"after":[],"before":null},"kind":"TRAINED",'
    '"request":null,"seq":1}',
    "facts null": '{"at":"t","facts":null,"kind":"RECEIVED","request":"er-1","seq":1}',
    "a blob": b"\xff\xfe",
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_a_ledger_entry_of_another_shape(lite: Desk, entry: str | bytes) -> None:
    """Its hash is right, as that of who has the secret."""
    right = Seal(lite.names).entry(GENESIS, entry) if isinstance(entry, str) else GENESIS
    request = "er-1" if "er-1" in str(entry) else None
    kind = "RECEIVED" if request else "TRAINED"
    with lite.open().write() as conn:
        conn.execute(
            text("INSERT INTO ledger VALUES (1, 't', :kind, :request, :entry, :before, :hash)"),
            {"kind": kind, "request": request, "entry": entry, "before": GENESIS, "hash": right},
        )
    with lite.open().read() as conn:
        assert "was changed: it" in ledger.check(conn)[0]
        assert all(isinstance(found.facts, dict) for found in ledger.entries(conn))


def test_text_that_is_none_in_the_database(lite: Desk) -> None:
    with lite.open().write() as conn:
        ledger.append(conn, "TRAINED", None, {"before": None, "after": "f" * 64})
        conn.execute(text("UPDATE ledger SET entry = CAST(x'ff' AS TEXT)"))
    with pytest.raises(VerificationError, match="damaged"), lite.open().read() as conn:
        ledger.check(conn)


def test_an_audit_of_hostile_rows_is_a_list_of_differences(office: Office) -> None:
    """The certificate of a request whose keyid is a list, and a ledger entry whose facts are."""
    office.certify("a")
    hostile = changed(sign(b"{}", KEY), ENVELOPES["keyid a list"])
    office.change(update(tables.requests).values(envelope=hostile))
    office.finds("This is no signed envelope")
    office.change(update(tables.ledger).values(entry="[]"))
    office.finds("was changed")


def archive_with(path: Path, table: object) -> Path:
    """A tar whose table of contents is this, with the right digest."""
    data = canonical_json(table)
    with tarfile.open(path, "w") as tar:
        for name, part in ((CONTENTS, data), (DIGEST, f"{sha256_of(data)}\n".encode())):
            tar.addfile(header(name, len(part)), io.BytesIO(part))
    return path


@pytest.mark.parametrize(
    "table",
    [
        {"format": 1, "about": None, "parts": []},
        {"format": 1, "about": {}, "parts": []},
        {"format": 1, "about": [], "parts": []},
        {"format": 1, "parts": []},
        {"format": 1, "about": None, "parts": None},
        {"format": [], "about": None, "parts": []},
        [],
        None,
    ],
)
def test_a_backup_with_another_table_of_contents(
    table: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = archive_with(tmp_path / "backup.tar", table)
    words = ["--from", str(path), "--workspace", str(tmp_path / "w"), "--no_later_erasures"]
    assert cli.run("restore", words) == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert not (tmp_path / "w").exists()


def test_a_tar_of_hostile_headers(tmp_path: Path) -> None:
    """Long names behind long names, a size of terabytes, a number that is none."""
    names = tarfile.TarInfo("x")
    names.type = tarfile.GNUTYPE_LONGNAME
    endless = names.tobuf() * 5000
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = tarfile.GNUTYPE_LONGNAME, 1 << 60
    for data in (endless, huge.tobuf(format=tarfile.GNU_FORMAT), b"\x80" * 512):
        (tmp_path / "evil.tar").write_bytes(data)
        with pytest.raises(LmeraserError), open_archive(tmp_path / "evil.tar"):
            pass


REQUEST = {
    "id": "er-1",
    "content": "c",
    "submitter": "s",
    "state": "RECEIVED",
    "quarantine": False,
    "received_at": "2026-01-01T00:00:00.000000Z",
    "due_at": "2026-02-01T00:00:00.000000Z",
}


def test_a_row_of_an_earlier_release_has_fewer_columns() -> None:
    [(_, row)] = rows_in([json.dumps(["requests", REQUEST]).encode()])
    assert (row["attempts"], row["envelope"]) == (0, None)


@pytest.mark.parametrize(
    "change",
    [
        *({name: None} for name in REQUEST),
        *({"quarantine": value} for value in (1, "no", [], {"base64": "AA=="})),
        *({"received_at": value} for value in ("then", 1, "0001-01-01T00:00:00+23:00")),
        *({"attempts": value} for value in (1 << 31, 1.5, "1", True)),
        *({"envelope": value} for value in ("text", {"base64": "?"}, {"base64": 1}, {})),
        {"id": "with a \0"},
    ],
    ids=str,
)
def test_a_cell_that_its_column_cannot_hold(change: dict[str, object]) -> None:
    with pytest.raises(VerificationError):
        list(rows_in([json.dumps(["requests", {**REQUEST, **change}]).encode()]))


@pytest.mark.parametrize("column", REQUEST)
def test_a_row_without_a_column_that_it_needs(column: str) -> None:
    row = {name: value for name, value in REQUEST.items() if name != column}
    with pytest.raises(VerificationError):
        list(rows_in([json.dumps(["requests", row]).encode()]))


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b'["requests"]', b"[" * 100_000, b'["x",1]'])
def test_a_line_that_is_no_row(line: bytes) -> None:
    with pytest.raises(VerificationError):
        list(rows_in([line]))
