"""The home folder: of HOME, of the user's entry, or none."""

import os
import pwd
from pathlib import Path

import pytest

from lmeraser_ray.distributed import cluster
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.keys import keys
from lmeraser_ray.storage.home import NO_HOME, can_hold, home_folder


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user: no HOME, no entry."""

    def missing(uid: int) -> object:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", missing)
    for name in ("HOME", "XDG_CONFIG_HOME", "LMERASER_KEYS", *cluster.TOKEN_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_a_home_that_is_no_path_is_that_of_the_entry(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = pwd.getpwuid(os.getuid()).pw_dir
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert home_folder() == Path(entry)
    monkeypatch.setenv("HOME", "/some/where")
    assert home_folder() == Path("/some/where")


@pytest.mark.usefixtures("nobody")
def test_who_has_no_home_signs_nothing_before_a_folder_is_named(tmp_path: Path) -> None:
    """And reads what needs no key."""
    assert home_folder() == NO_HOME
    folder = key_folder()
    assert folder.public_keys() == {}
    for act in (
        lambda: keys(folder, "init"),
        lambda: keys(folder, "list"),
        folder.require_ready,
        folder.current,
    ):
        with pytest.raises(ConfigError, match=r"no home folder.*--keys DIR.*LMERASER_KEYS"):
            act()
    assert keys(key_folder(tmp_path / "keys"), "init").signs


@pytest.mark.usefixtures("nobody")
def test_a_local_cluster_has_a_token_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/run/secrets/token")
    cluster.provide_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # so that it is as before at the end of the test
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    cluster.provide_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    cluster.tighten_token()


def test_a_home_that_holds_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in cluster.TOKEN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    cluster.provide_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert can_hold(tmp_path / cluster.TOKEN)
    assert not can_hold(NO_HOME / cluster.TOKEN)
