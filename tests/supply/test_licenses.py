"""A licence that is not on the list is refused, whatever form a package names it in."""

import pytest

from supply.sbom import Component, LicenseList

LIST = LicenseList(frozenset({"MIT", "BSD", "Apache-2.0 WITH LLVM-exception"}), {"mute": "MIT"})


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("MIT", True),
        ("BSD", True),  # no name of SPDX's
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("MIT AND (GPL-3.0-only OR MIT)", True),
        ("MIT AND Apache-2.0 WITH LLVM-exception", True),
        ("Apache-2.0", False),
        ("my own, ask me", False),
        ("", False),
        ("none", False),
    ],
)
def test_a_name_or_an_expression(text: str, allowed: bool) -> None:
    assert LIST.allows(text) is allowed


@pytest.mark.parametrize(
    ("licenses", "refused"),
    [
        ([{"license": {"id": "MIT"}}], []),
        ([{"expression": "GPL-3.0-only AND MIT"}], ["GPL-3.0-only AND MIT"]),
        ([{"license": {"id": "MIT"}}, {"license": {"name": "GPL"}}], ["GPL"]),
        ([{"license": {}}], ["none"]),
        ([], ["none"]),
    ],
)
def test_a_package(licenses: list[object], refused: list[str]) -> None:
    assert LIST.refused({"name": "loud", "licenses": licenses}) == refused


def test_what_is_stated_is_of_packages_that_name_nothing() -> None:
    mute: Component = {"name": "mute"}
    assert LIST.refused(mute) == []
    assert LIST.refused({**mute, "licenses": [{"license": {"id": "GPL"}}]}) == ["GPL"]


def test_the_repositorys_list() -> None:
    """All of it is used in one sense: what is stated is allowed, no licence of the GPL is."""
    ours = LicenseList.read()
    assert all(ours.allows(text) for text in ours.stated.values())
    assert not any(map(ours.allows, ("GPL-3.0-only", "AGPL-3.0-only", "SSPL-1.0", "none")))
