"""The page of a workspace: it says what `evaluate`, `cost` and the requests say, names nobody,
loads nothing, and can be read by everybody; and the table of requests."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmeraser_ray import Workspace
from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.requests.request import ErasureRequest, State, Target
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.operations.quality import Quality
from lmeraser_ray.operations.reporting.page import environment, page_of
from lmeraser_ray.operations.reporting.page_facts import PageFacts, gather_facts
from lmeraser_ray.operations.reporting.request_figures import COLUMNS, csv_of_requests, figures_of
from lmeraser_ray.operations.reporting.shown_names import shown_names
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from tests.support.systems import blend, system
from tests.support.world import World

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = ("<script>alert(1)</script>", "\" onload='x' &amp;", "{{ 7 * 7 }}", "zoë שלום")
UNSEEN = ("gnp\u202eexe", "a\u200bb", "\u2066isolate")
"""Names that workspaces of earlier releases may hold."""
VOID = {"meta", "img", "br", "path", "rect", "circle"}


class Reader(HTMLParser):
    """Checks that elements are closed in order, and keeps what a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def labelled(world: World, labels: list[str]) -> World:
    """The same records with other labels."""
    world.labels = labels
    table = pq.read_table(world.path)
    at = table.column_names.index("label")
    pq.write_table(table.set_column(at, "label", pa.array(labels)), world.path)
    return world


def trained(world: World, config: Config) -> Session:
    session = Session(world.space())
    train(session, config)
    return session


def facts_of(session: Session) -> PageFacts:
    return gather_facts(session, Workspace(session.root).requests(), NOW)


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Workspace, Path]]:
    """A workspace in which one record was erased for two requests, and a third one waits."""
    base = tmp_path_factory.mktemp("report")
    world = World(base / "world")
    labelled(world, [(*HOSTILE, "person-3", "of person-4's")[i * 7 % 6] for i in range(40)])
    session = trained(world, world.config())
    KeyFolder(base / "keys").init()
    workspace = Workspace(session.root)
    for name in (world.ids[0], world.ids[1], world.ids[0]):
        workspace.unlearn(records=[name], keys=base / "keys")
    workspace.submit(subjects=["person-5"], legal_basis="art. 17", identity="passport")
    yield world, workspace, base


def test_the_page_says_what_the_operations_say(erased: tuple[World, Workspace, Path]) -> None:
    _, workspace, base = erased
    done = workspace.report(base / "page.html", requests_csv=base / "requests.csv")
    page = (base / "page.html").read_text()
    evaluation = workspace.evaluate()
    assert done.facts.evaluation == evaluation
    assert evaluation.quality is not None
    share = environment().filters["share"]
    assert f"<td>{share(evaluation.quality.measures['accuracy'].value)}</td>" in page
    costs = workspace.cost(each=True, person=True, batches=[0.01])
    assert done.facts.units == [costs.figures(unit) for unit in costs.units]
    assert [unit["unit"] for unit in done.facts.units] == ["record", "person", "batch"]
    assert "3 of\n3" in page and "1 still running" in page
    assert done.facts.requests.states == {"received": 1, "certified": 3}
    scans = done.facts.scans
    assert (scans.scans, scans.found, scans.exceptions, scans.unread) == (3, 0, 0, 0)
    assert {"records", "constituents", "the request database"} <= {p.place for p in scans.searched}
    assert {"backups", "memory of processes"} <= {place for place, _ in scans.not_searched}
    published = done.facts.published
    assert published is not None and abs(published - datetime.now(UTC)) < timedelta(hours=1)
    sizes = [shard.size for shard in workspace.session.folder.require_published().shards]
    assert [shard.size for shard in done.facts.shards] == sizes


def test_each_shard_has_the_passes_that_train_it(world: World) -> None:
    session = trained(world, world.config(learner={"kind": "class_means"}))
    facts = facts_of(session)
    assert [shard.passes for shard in facts.shards] == [shard.size for shard in facts.shards]
    assert sum(shard.passes or 0 for shard in facts.shards) == facts.costs.passes
    assert sum(shard.queries for shard in facts.shards) == facts.evaluation.test.records


def test_nobody_is_named(erased: tuple[World, Workspace, Path]) -> None:
    """No id of a record, live or erased, none of a person, no note, no plain fingerprint; in the
    table no more."""
    world, workspace, base = erased
    done = workspace.report(base / "page.html", requests_csv=base / "requests.csv")
    both = [path.read_text() for path in done.files]
    words = [*world.ids, *world.subjects, "art. 17", "passport", workspace.fingerprint()]
    words += [request.id for request in workspace.requests()]
    for text, looked in ((both[0], words), (both[1], words[: -len(workspace.requests())])):
        assert [word for word in looked if word in text] == []
    assert str(base) not in both[0]
    assert done.state in both[0] and done.state != workspace.fingerprint()
    [request] = workspace.requests()[1:2]
    assert request.statement is None  # a list has none
    certificate = workspace.certificate(request.id, keys=base / "keys")
    assert done.state == certificate.statement.state.after
    assert done.withheld == 2 and "2 of\n6 classes" in both[0]


def test_hostile_names_are_text(erased: tuple[World, Workspace, Path]) -> None:
    _, workspace, base = erased
    page = (workspace.report(base / "page.html").files[0]).read_text()
    read = Reader(page)
    assert read.open == []
    shown = "".join(read.text)
    assert all(name in shown for name in HOSTILE)
    assert read.all("script") == []
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]


def test_names_that_nobody_sees_are_shown_as_escapes(erased: tuple[World, Workspace, Path]) -> None:
    facts = facts_of(erased[1].session)
    quality = facts.evaluation.quality
    assert quality is not None
    names = shown_names((*UNSEEN, *HOSTILE[:3]), frozenset(), lambda _: False)
    assert len(names.names) == len(quality.classes)
    page = page_of(replace(facts, classes=names)).decode()
    assert not [each for each in "\u202e\u200b\u2066" if each in page]
    assert "gnp\\u202eexe" in page and Reader(page).open == []


def test_names_that_are_ids_are_withheld() -> None:
    ids = frozenset({"anna", "7", "scan-12"})
    names = ("anna", "7", "class 17", "x scan-12 y", "an", "erased one", "z" * 201)
    found = shown_names(names, ids, lambda name: name == "erased one")
    assert found.names == (
        *("class 1", "class 2", "class 17", "class 4", "an", "class 6", "class 7"),
    )
    assert found.withheld == 5


def test_nothing_is_loaded_and_nothing_runs(erased: tuple[World, Workspace, Path]) -> None:
    _, workspace, base = erased
    page = workspace.report(base / "page.html").files[0].read_text()
    read = Reader(page)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", page)
    assert read.all("link") == read.all("script") == read.all("iframe") == []
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in read.all("img"))
    assert all(str(link["href"]).startswith("#") for link in read.all("a"))
    [policy] = [m["content"] for m in read.all("meta") if "http-equiv" in m]
    assert policy and policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src")


def test_everybody_can_read_it(erased: tuple[World, Workspace, Path]) -> None:
    """Landmarks, headings in order, names of figures and tables, one id each, links that lead
    somewhere."""
    _, workspace, base = erased
    page = workspace.report(base / "page.html").files[0].read_text()
    read = Reader(page)
    [html] = read.all("html")
    assert html["lang"] == "en" and len(read.all("main")) == len(read.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [str(attrs["id"]) for _, attrs in read.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = [str(a["aria-labelledby"]) for _, a in read.tags if "aria-labelledby" in a]
    links = [str(link["href"])[1:] for link in read.all("a")]
    assert {word for text in named for word in text.split()} | set(links) <= set(ids)
    assert len(read.all("caption")) == len(read.all("table")) > 5
    assert all("scope" in head for head in read.all("th"))
    assert all(image["alt"] for image in read.all("img")) and len(read.all("img")) > 1
    for drawing in read.all("svg"):
        assert drawing.get("role") == "img" or drawing.get("aria-hidden") == "true"
    wide = [attrs for attrs in read.all("div") if attrs.get("class") == "wide"]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in wide) and wide


def luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance as WCAG 2.2 has it."""
    parts = [c / 255 for c in colour]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)  # type: ignore[arg-type]
    return (high + 0.05) / (low + 0.05)


def of_hex(text: str) -> tuple[float, float, float]:
    digits = text.lstrip("#")
    wide = digits if len(digits) == 6 else "".join(2 * each for each in digits)
    return int(wide[:2], 16), int(wide[2:4], 16), int(wide[4:], 16)


def test_contrast_is_that_of_wcag_aa() -> None:
    """4.5 for text on paper, panels and the darkest cell, 3 for marks; light, dark, in print."""
    css = environment().get_template("report.css.j2").render()
    schemes = re.findall(r":root \{[^}]*--paper[^}]*\}", css)
    assert len(schemes) == 3
    for scheme in schemes:
        colours = {k: of_hex(v) for k, v in re.findall(r"--(\w+): (#[0-9a-f]{3,6})", scheme)}
        shade = tuple(map(float, re.findall(r"--shade: (\d+) (\d+) (\d+)", scheme)[0]))
        paper = colours["paper"]
        cell = tuple((a + b) / 2 for a, b in zip(shade, paper, strict=True))
        for text in ("ink", "soft", "mark"):
            assert contrast(colours[text], paper) >= 4.5, (text, scheme)
            assert contrast(colours[text], colours["panel"]) >= 4.5, (text, scheme)
        assert contrast(colours["ink"], cell) >= 4.5
        assert contrast(colours["other"], paper) >= 3


@pytest.mark.parametrize(
    "case",
    [
        ("random", "class_means", "mean", 1),
        ("one", "whole_model", "mean", 1),
        ("adaptive", "shared_head", "nearest", 1),
    ],
    ids=lambda case: case[1],
)
def test_every_kind_of_system_has_a_page(world: World, case: tuple[str, str, str, int]) -> None:
    facts = facts_of(trained(world, system(world, *case)))
    page = page_of(facts).decode()
    assert Reader(page).open == []
    assert ("There is none: a " in page) == (case[1] != "shared_head")
    assert all((shard.passes is None) == (case[1] == "shared_head") for shard in facts.shards)


def test_a_blend_has_a_page(world: World) -> None:
    config = blend(world, ("adaptive", "padding", "nearest", 1.0), ("random", "ridge", "mean", 0.5))
    facts = facts_of(trained(world, config))
    page = page_of(facts).decode()
    assert "System 2" in page and ">0 of system 2</th>" in page
    assert all(shard.passes is not None for shard in facts.shards)


def test_without_test_records(world: World) -> None:
    facts = facts_of(trained(world, world.config(data={"test_fraction": 0.0})))
    page = page_of(facts).decode()
    assert "No record was held out" in page and "Nobody has asked for an erasure" in page
    assert Reader(page).open == []


def test_of_many_classes_those_with_the_most_mistakes(
    erased: tuple[World, Workspace, Path],
) -> None:
    facts = facts_of(erased[1].session)
    found = facts.evaluation.quality
    assert found is not None
    confusion = np.diag(np.arange(1, 51))
    confusion[40, 3] = 9
    classes = tuple(f"kind {at:02d}" for at in range(50))
    by_class = tuple(replace(found.by_class[0], name=name) for name in classes)
    many: Quality = replace(found, classes=classes, confusion=confusion, by_class=by_class)
    names = shown_names(classes, frozenset(), lambda _: False)
    page = page_of(
        replace(facts, classes=names, evaluation=replace(facts.evaluation, quality=many))
    ).decode()
    matrix = page.split('<table class="matrix">')[1].split("</table>")[0]
    assert matrix.count('<th scope="row">') == 30 and ">kind 40<" in matrix and ">9<" in matrix


def test_where_nothing_may_be_written(erased: tuple[World, Workspace, Path]) -> None:
    _, workspace, base = erased
    inside = Path(str(workspace.session.root)) / "page.html"
    with pytest.raises(ConfigError, match="lies within the workspace"):
        workspace.report(inside)
    with pytest.raises(ConfigError, match="lies within the workspace"):
        workspace.report(base / "other.html", requests_csv=inside)
    assert not inside.exists() and not (base / "other.html").exists()
    with pytest.raises((ConfigError, DataError)):
        Workspace(base / "nothing").report(base / "other.html")
    assert not (base / "nothing").exists()


def request(state: State, **changes: object) -> ErasureRequest:
    """A request that was received a month before it is due."""
    target = Target("record", None, "0" * 64, "removed")
    made = ErasureRequest(
        id="er-1", idempotency=None, content="", submitter="", secret=1, state=state,
        quarantine=False, received_at=NOW - timedelta(days=20), due_at=NOW + timedelta(days=10),
        extended_at=None, extension_reason=None, reason=None, attempts=0, planned_at=None,
        training_at=None, published_at=None, purged_at=None, closed_at=None, publication=None,
        statement=None, envelope=None, findings=None, exceptions=None, legal_basis=None,
        identity=None, targets=(target,),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


LATE, IN_TIME = NOW + timedelta(days=11), NOW + timedelta(days=9)
REQUESTS = (
    (request(State.CERTIFIED, purged_at=IN_TIME, closed_at=LATE), "yes"),  # as certificates say
    (request(State.CERTIFIED, purged_at=LATE, closed_at=LATE), "no"),
    (request(State.REFUSED, closed_at=IN_TIME), "yes"),
    (request(State.CANCELLED, closed_at=LATE, extended_at=LATE), "yes"),
    (request(State.TRAINING), ""),
    (request(State.RECEIVED, due_at=NOW - timedelta(seconds=1)), "no"),
    (request(State.FAILED, closed_at=IN_TIME), ""),
)


def test_deadlines_of_requests() -> None:
    found = figures_of([each for each, _ in REQUESTS], NOW)
    assert (found.met, found.missed, found.running, found.extended) == (3, 2, 2, 1)
    assert (found.all, sum(found.states.values())) == (7, 7)
    assert (found.median, found.longest) == (LATE - (NOW - timedelta(days=20)),) * 2
    assert figures_of([], NOW).median is None


def test_the_table_of_requests() -> None:
    subject = replace(REQUESTS[0][0].targets[0], what="subject", name="ann@example.org")
    asked = [
        *(each for each, _ in REQUESTS),
        request(
            State.RECEIVED,
            id="=cmd|' /C calc'!A0",
            reason="ann@example.org",
            legal_basis="of ann",
            identity="ann's passport",
            targets=(*REQUESTS[0][0].targets, subject),
        ),
    ]
    text = csv_of_requests(asked, NOW).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert [row["deadline_met"] for row in rows[:-1]] == [met for _, met in REQUESTS]
    assert rows[-1]["request"] == "'=cmd|' /C calc'!A0" and "ann" not in text
    assert rows[-1]["kind"] == "record and subject" and rows[0]["kind"] == "record"
    assert rows[0]["due"] == "2026-03-11T12:00:00.000000Z" and text.count("\r\n") == len(asked) + 1
