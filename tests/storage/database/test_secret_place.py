"""Where the secret lies: each of the three ways, what is refused, and that a workspace whose secret
is outside never gets another."""

import os
import sys
from pathlib import Path

import pytest

from lmeraser_ray.errors import ConfigError, ExecutionError, LmeraserError, VerificationError
from lmeraser_ray.storage.database import secret_place
from lmeraser_ray.storage.database.keyring import Keyring
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer

DIGITS = "5e" * 32
NAME = "LMERASER_SECRET"


def names_of(root: Path) -> Pseudonymizer:
    root.mkdir(exist_ok=True)
    return Pseudonymizer(root, root / "objects" / "tmp")


def private(path: Path, data: str = DIGITS) -> Path:
    path.touch(0o600)
    path.write_text(data)
    return path


@pytest.fixture(autouse=True)
def fresh() -> None:
    secret_place.forget()


@pytest.fixture(params=["file", "env", "exec"])
def setting(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """LMERASER_SECRET in each of its forms, leading to the same secret."""
    path = private(tmp_path / "outside")
    monkeypatch.setenv("OTHER", DIGITS)
    return {
        "file": f"file:{path}",
        "env": "env:OTHER",
        "exec": f"exec:{sys.executable} -c \"print(open('{path}').read())\"",
    }[request.param]


def test_each_way_leads_to_the_secret(
    tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, setting)
    names = names_of(tmp_path / "w")
    master = Keyring.from_bytes(DIGITS.encode())
    assert names.keyring == master.of_workspace(names.workspace_id)
    assert names_of(tmp_path / "w").hash("record", "a") == names.hash("record", "a")
    assert (tmp_path / "w" / "secret").read_text() == f"outside {names.workspace_id}\n"
    for path in (tmp_path / "w").rglob("*"):
        assert path.is_dir() or DIGITS not in path.read_text()


def test_two_workspaces_that_share_a_secret_are_two(
    tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ids name a schema of PostgreSQL each, and no hash of the one says anything of the
    other."""
    monkeypatch.setenv(NAME, setting)
    one, other = names_of(tmp_path / "a"), names_of(tmp_path / "b")
    assert one.workspace_id != other.workspace_id
    assert one.hash("record", "a") != other.hash("record", "a")


def test_without_the_setting_nothing_is_made_anew(
    tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, setting)
    names_of(tmp_path / "w").hash("record", "a")
    before = (tmp_path / "w" / "secret").read_bytes()
    monkeypatch.delenv(NAME)
    with pytest.raises(ConfigError, match="lies outside of it, and nothing says where"):
        names_of(tmp_path / "w").hash("record", "a")
    assert (tmp_path / "w" / "secret").read_bytes() == before


def test_a_workspace_with_its_own_secret_and_the_setting_is_ambiguous(
    tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names_of(tmp_path / "w").hash("record", "a")
    monkeypatch.setenv(NAME, setting)
    with pytest.raises(ConfigError, match="holds its secret itself: move it out"):
        names_of(tmp_path / "w").hash("record", "a")


def test_a_new_workspace_does_not_take_another_ones_keyring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Keyring.own(b"1" * 32).to_bytes().decode()
    monkeypatch.setenv("OTHER", ring)
    monkeypatch.setenv(NAME, "env:OTHER")
    with pytest.raises(ConfigError, match="a new one: give a secret that belongs to no workspace"):
        names_of(tmp_path / "w").hash("record", "a")
    assert not (tmp_path / "w" / "secret").exists()


def test_the_keyring_of_another_workspace_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", Keyring.own(b"1" * 32).to_bytes().decode())
    monkeypatch.setenv(NAME, "env:OTHER")
    (tmp_path / "secret").write_text("outside 0123456789ab\n")
    with pytest.raises(VerificationError, match="the secret of workspace"):
        names_of(tmp_path).hash("record", "a")


def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> LmeraserError:
    monkeypatch.setenv(NAME, setting)
    with pytest.raises(LmeraserError) as caught:
        names_of(tmp_path / "w").hash("record", "a")
    assert DIGITS not in str(caught.value)
    assert not (tmp_path / "w" / "secret").exists()
    return caught.value


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_can_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    path = private(tmp_path / "outside")
    path.chmod(mode)
    assert "its owner alone" in str(refused(tmp_path, monkeypatch, f"file:{path}"))


def test_links_folders_pipes_and_nothing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = private(tmp_path / "outside")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, said in (
        ("link", "no link to one"),
        ("missing", "cannot be opened"),
        ("folder", "its owner alone"),
        ("pipe", "its owner alone"),
    ):
        assert said in str(refused(tmp_path, monkeypatch, f"file:{tmp_path / name}"))
    assert "the whole path" in str(refused(tmp_path, monkeypatch, "file:outside"))


@pytest.mark.parametrize("setting", [DIGITS, "vault:x", "file:", "/etc/secret", ":"])
def test_another_form_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    error = refused(tmp_path, monkeypatch, setting)
    assert isinstance(error, ConfigError)
    assert "neither file:/path nor env:NAME nor exec:PROGRAM" in str(error)


def test_a_missing_variable_and_a_weak_secret_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no such environment variable" in str(refused(tmp_path, monkeypatch, "env:NOBODY"))
    monkeypatch.setenv("WEAK", "32 characters are no 32 bytes ..")
    assert "give 64 hexadecimal digits" in str(refused(tmp_path, monkeypatch, "env:WEAK"))


def test_a_program_that_fails_or_hangs_is_an_error_without_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = f"exec:{sys.executable} -c \"import sys; sys.stderr.write('{DIGITS}'); sys.exit(3)\""
    hangs = f'exec:{sys.executable} -c "import time; time.sleep(60)"'
    usual = secret_place.SECONDS
    for setting, seconds, said in (
        (fails, usual, "ended with 3"),
        (hangs, 0.3, "did not end within"),
    ):
        monkeypatch.setattr(secret_place, "SECONDS", seconds)
        error = refused(tmp_path, monkeypatch, setting)
        assert isinstance(error, ExecutionError)
        assert said in str(error)
    for setting in ("exec:/no/such/program", "exec:'", "exec: "):
        assert "cannot be run" in str(refused(tmp_path, monkeypatch, setting))


def test_a_program_is_run_without_a_shell_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\n"
        f"open({str(tmp_path / 'calls')!r}, 'a').write(repr(sys.argv[1:]) + '\\n')\n"
        f"print({DIGITS!r})\n"
    )
    monkeypatch.setenv(NAME, f"exec:{sys.executable} {script} '$HOME' ';' 'two words'")
    for _ in range(3):
        names_of(tmp_path / "w").hash("record", "a")
    assert (tmp_path / "calls").read_text() == "['$HOME', ';', 'two words']\n"
    secret_place.forget()
    names_of(tmp_path / "w").hash("record", "a")
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
