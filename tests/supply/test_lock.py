"""The constraints: every version has hashes, all that pyproject.toml asks for is there, and nothing
says where an index is."""

import re
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply import lock
from supply.lock import DEVELOPERS, PROGRAM, Pins, head, read_pins

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def pins() -> dict[Path, Pins]:
    return {path: read_pins(path.read_text()) for path in (PROGRAM, DEVELOPERS)}


def test_every_version_has_hashes(pins: dict[Path, Pins]) -> None:
    for found in pins.values():
        for name, pin in found.items():
            first, *hashes = pin.replace("\\\n", "\n").split()
            assert re.fullmatch(rf"{name}==[\w.!+]+", first), pin
            assert any(re.fullmatch("--hash=sha256:[0-9a-f]{64}", word) for word in hashes), name


def test_nothing_else_is_in_the_lists(pins: dict[Path, Pins]) -> None:
    """Least of all an address."""
    for path, found in pins.items():
        rest = path.read_text()
        for pin in found.values():
            rest = rest.replace(pin, "", 1)
        assert all(line.startswith("#") for line in rest.splitlines())
        assert "://" not in path.read_text()


def test_they_are_what_pyproject_asks_for(pins: dict[Path, Pins]) -> None:
    asked = PROJECT["build-system"]["requires"] + PROJECT["project"]["dependencies"]
    developers = PROJECT["project"]["optional-dependencies"]["dev"]
    for texts, known in (
        (asked, pins[PROGRAM]),
        (developers, {**pins[PROGRAM], **pins[DEVELOPERS]}),
    ):
        for requirement in map(Requirement, texts):
            pin = known[canonicalize_name(requirement.name)]
            version = pin.split()[0].partition("==")[2]
            assert version in requirement.specifier, f"{requirement}: make lock"


def test_what_a_package_needs_here_is_pinned_here(pins: dict[Path, Pins]) -> None:
    """As pip asks for it on this platform: a marker of a pin may leave nothing out that another
    package needs."""
    here = {
        name
        for found in pins.values()
        for name, pin in found.items()
        if (marker := Requirement(head(pin)).marker) is None or marker.evaluate()
    }
    missing = {
        f"{name} needs {needed}"
        for name in here & {canonicalize_name(one.name) for one in distributions()}
        for needed in map(Requirement, distribution(name).requires or ())
        if (needed.marker is None or needed.marker.evaluate({"extra": ""}))
        and canonicalize_name(needed.name) not in here
    }
    assert missing == set()


def test_what_is_installed_is_what_is_pinned(pins: dict[Path, Pins]) -> None:
    """A version that this Python has no file of could not be here."""
    installed = {canonicalize_name(one.name): one.version for one in distributions()}
    wrong = {
        f"{requirement}: {installed.get(name)} is installed; make setup"
        for found in pins.values()
        for name, pin in found.items()
        if (requirement := Requirement(head(pin))).marker is None or requirement.marker.evaluate()
        if installed.get(name) not in requirement.specifier
    }
    assert wrong == set()


def test_what_developers_need_is_not_in_the_image(pins: dict[Path, Pins]) -> None:
    assert not {*pins[PROGRAM]} & {*pins[DEVELOPERS]}
    assert {"pytest", "moto", "uv"} <= {*pins[DEVELOPERS]}


def test_other_platforms_are_not_locked_out(pins: dict[Path, Pins]) -> None:
    """One wheel for one machine would be one hash."""
    for name in ("torch", "torchvision", "numpy", "ray", "pyarrow", "scipy"):
        assert pins[PROGRAM][name].count("--hash") >= 4, name


def test_a_version_stays_until_it_is_asked_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is given to uv as it is; `upgrade` goes to the first of the two runs only."""
    asked: list[tuple[str, bool]] = []

    def compiled(words: list[str], known: str, *, upgrade: bool) -> Pins:
        asked.append((known, upgrade))
        if "--extra" in words:
            return {"a": "a==2\n", "b": "b==1\n"}
        return {"a": "a==2 ; sys_platform == 'win32'\n"}  # for b it is needed everywhere

    monkeypatch.setattr(lock, "compiled", compiled)
    assert lock.lists("a==1\n", upgrade=True) == {
        PROGRAM: {"a": "a==2\n"},
        DEVELOPERS: {"b": "b==1\n"},
    }
    assert asked == [("a==1\n", True), ("a==2\nb==1\n", False)]
