"""`lmeraser verify --certificate`: an erasure that was late, or was certified with exceptions, is
said in the first sentence; `--strict` makes it exit code 4."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lmeraser_ray.cli import main as cli
from lmeraser_ray.erasure.certificate.dsse import sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.statement import AcceptedFinding, Statement, statement_of
from tests.support.statements import STATEMENT, digit

FINDING = AcceptedFinding("logs", "id", "a.log", "2026-02-01T12:00:00.000000Z", digit("e"))
LATE = replace(STATEMENT, times=replace(STATEMENT.times, purged="2026-03-01T12:00:00.000000Z"))
ACCEPTED = replace(STATEMENT, exceptions=(FINDING,))


def verified(
    statement: Statement, place: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str]:
    """The exit code, and what is printed."""
    keys = KeyFolder(place / "keys")
    key = keys.current() if keys.path.exists() else keys.init()
    (place / "c.json").write_bytes(sign(statement_of(statement), key))
    pem = str(keys.public_path(key.keyid))
    said = ["--certificate", str(place / "c.json"), "--public_key", pem, *words]
    code = cli.run("verify", said)
    return code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("statement", "flaw"),
    [
        (LATE, "the erasure was LATE: its deadline was not met"),
        (ACCEPTED, "it was certified with 1 exception"),
    ],
    ids=["late", "accepted"],
)
def test_a_flaw_is_said(
    statement: Statement, flaw: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = verified(statement, tmp_path, capsys)
    [first, *_] = text.splitlines()
    assert (code, first.startswith("ok: "), flaw in first) == (0, True, True)
    code, text = verified(statement, tmp_path, capsys, "--strict")
    [first, *_] = text.splitlines()
    assert (code, first.startswith("not ok (--strict): "), flaw in first) == (4, True, True)
    code, text = verified(statement, tmp_path, capsys, "--strict", "--json")
    data = json.loads(text)
    assert (code, data["ok"], len(data["flaws"])) == (4, False, 1)


def test_one_without_flaws_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--strict",)):
        code, text = verified(STATEMENT, tmp_path, capsys, *words)
        assert (code, text.splitlines()[0].count(";")) == (0, 0)


def test_exceptions_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = verified(ACCEPTED, tmp_path, capsys)
    assert "accepted     id in logs (a.log), by an operator on 2026-02-01 12:00:00 UTC" in text


def test_strict_is_for_a_certificate() -> None:
    assert cli.run("verify", ["--strict"]) == 2
