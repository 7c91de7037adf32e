"""Every relative link, picture and anchor in every Markdown file leads somewhere, and every path
that a page names exists."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.pages import PAGES, ROOT, name_of

LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^()\s]+)\)|^\[[^\]^]+\]: (\S+)$", re.MULTILINE)
PATH = re.compile(
    r"`((?:lmeraser_ray|tests|docs|configs|jobs|k8s|benchmarks)/[\w./*-]*|[A-Z]\w+\.md)`"
)


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def links(text: str) -> list[str]:
    """Return the targets of a page's links and pictures."""
    return [inline or reference for inline, reference in LINK.findall(prose(text))]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    found: Counter[str] = Counter()
    named = set()
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        named |= {slug, re.sub(r"-+", "-", slug)} if not found[slug] else {f"{slug}-{found[slug]}"}
        found[slug] += 1
    return named


def generated() -> set[str]:
    """Return the anchors that the site has besides: the sections of the configuration."""
    from lmeraser_ray.config import Config

    return set(Config.model_fields)


def broken(page: Path, target: str) -> str | None:
    """Return what is wrong with a link of a page; None where it leads somewhere."""
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    if not found.is_relative_to(ROOT) or not found.exists():
        return f"{target} is not there"
    if page.is_relative_to(ROOT / "docs") and not found.is_relative_to(ROOT / "docs"):
        return f"{target} leads out of docs/, where the site has no page"
    if not anchor:
        return None
    if found.suffix != ".md":
        return f"{target}: only pages have anchors"
    known = anchors(found.read_text())
    if name_of(found) == "docs/reference/configuration.md":
        known |= generated()
    return None if anchor in known else f"{target}: the page has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    relative = [target for target in links(page.read_text()) if not re.match(r"[a-z]+:", target)]
    assert [fault for target in relative if (fault := broken(page, target))] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    """The changelog apart, which tells of what was."""
    if page.name == "CHANGELOG.md":
        pytest.skip("a history names files that are gone")
    missing = {
        path
        for path in PATH.findall(page.read_text())
        if not any(
            (folder / path).exists() or ("*" in path and any(folder.glob(path)))
            for folder in (ROOT, ROOT / "docs")
        )
    }
    assert missing == set()


def test_links_are_found_and_faults_are_seen(tmp_path: Path) -> None:
    """What these tests rest on: a link in a page, and each kind of fault."""
    page = ROOT / "docs" / "tutorial.md"
    text = "[a](b.md) ![c\nd](e/f.svg) [g `h`](#i)\n```sh\n[no](no.md)\n```\n[k]: l.md#m\n"
    assert links(text) == ["b.md", "e/f.svg", "#i", "l.md#m"]
    assert anchors("# One\n## Why? It's so\n## One\n") == {"one", "why-its-so", "one-1"}
    assert broken(page, "results.md#all-systems-features-of-the-fourth-stage") is None
    assert broken(page, "reference/configuration.md#backbone") is None
    for target in ("nowhere.md", "results.md#nothing", "../README.md", "/etc/passwd"):
        assert broken(page, target) is not None
    assert sum(len(links(page.read_text())) for page in PAGES) > 100
