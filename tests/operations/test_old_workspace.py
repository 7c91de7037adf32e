"""A workspace that an earlier release made goes on working: each of `tests/fixtures/` verifies,
audits, is worked off, erases, trains, restores its backup, and has a report and an export.

An archive holds the pictures, a workspace with requests in all states that the release's fixture
covers, the signing keys (of this test alone), a backup, the file of erasures, and `facts.json`,
which says what is what. It lies elsewhere than where it was made. `make_workspace.py` beside the
archives tells what is in those from 0.5.0 on; in 0.4.0's, one request is CERTIFIED and one RECEIVED
with its quarantine in force.
"""

import json
import stat
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from lmeraser_ray import ExportedModel
from lmeraser_ray.config import Config
from lmeraser_ray.config.kept import decided
from lmeraser_ray.erasure.certificate.keystore import KeyFolder, read_public_key
from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.numerics import describe
from lmeraser_ray.operations import requests as verbs
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.export import export
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.operations.workspace_report import report
from lmeraser_ray.pipeline.session import Session
from tests.support.law import expect_equal, index_of

ARCHIVES = sorted((Path(__file__).parents[1] / "fixtures").glob("workspace-*.tar.gz"))
UNFINISHED = ("not finished", "is unreachable")
"""What `verify` says where a queue died, and of nothing else."""


@dataclass(frozen=True)
class Old:
    """An unpacked archive."""

    place: Path
    root: Path

    @property
    def session(self) -> Session:
        return Session(self.root)

    @property
    def keys(self) -> KeyFolder:
        return KeyFolder(self.place / "keys")

    @cached_property
    def facts(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.place / "facts.json").read_text())
        return found

    @cached_property
    def people(self) -> dict[str, str]:
        """The subject of each record that the release read."""
        table = pq.read_table(self.place / "world" / "records.parquet")
        return dict(
            zip(table["record_id"].to_pylist(), table["subject_id"].to_pylist(), strict=True)
        )

    @cached_property
    def requests(self) -> dict[str, str]:
        """The id of each request, by its name in the facts."""
        facts: dict[str, object] = dict(self.facts)
        of_0_4_0 = {"certified": facts.get("certified"), "received": facts.get("waiting")}
        return facts.get("requests", of_0_4_0)  # type: ignore[return-value]

    @cached_property
    def states(self) -> dict[str, State]:
        """The state of each request as the release left it."""
        of_0_4_0 = {"certified": "CERTIFIED", "received": "RECEIVED"}
        said: dict[str, str] = dict(self.facts).get("states", of_0_4_0)  # type: ignore[assignment]
        return {name: State(state) for name, state in said.items()}

    @cached_property
    def erases(self) -> dict[str, set[str]]:
        """The records that each request names, by itself or with their subject."""
        if "erases" in self.facts:
            return {name: set(found) for name, found in dict(self.facts["erases"]).items()}
        theirs = {name for name, who in self.people.items() if who == self.facts["waiting_subject"]}
        return {"certified": set(self.people) - self.live(), "received": theirs}

    def erased_by(self, states: Iterable[State]) -> set[str]:
        """The records that requests in these states erase; those that were readmitted are not."""
        wanted = set(states)
        gone: set[str] = set()
        for name, found in self.erases.items():
            if self.states[name] in wanted and name != "readmitted":
                gone |= found
        return gone

    def request(self, name: str) -> ErasureRequest:
        """A request as the database has it."""
        return verbs.status(self.session, self.requests[name])

    def live(self) -> set[str]:
        """The records that the published state holds."""
        index, _ = index_of(self.root)
        return set(index.names("record_id"))

    def config(self, **data: object) -> Config:
        """The workspace's configuration, with the pictures where they lie now."""
        tree = json.loads((self.root / "configuration.json").read_text())
        tree["data"] |= {"path": str(self.place / "world" / "records.parquet"), **data}
        return Config.model_validate(tree)

    def listed(self, ids: Iterable[str], name: str) -> str:
        path = self.place / name
        path.write_text("".join(f"{each}\n" for each in sorted(ids)))
        return str(path)

    def train_without(self, erased: set[str]) -> Path:
        """Train on all but these records, with the release's configuration."""
        root = self.place / "never-saw-them"
        asked = self.config(exclude=self.listed(erased, "exclude.txt"))
        train(Session(root), decided(asked))  # a new workspace would keep people together
        return root


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name[len("workspace-") : -len(".tar.gz")])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="tar")  # keeps the modes, 0600 and 0700
    return Old(tmp_path, tmp_path / "workspace")


def expect_sound(old: Old) -> None:
    """`verify` and `audit` find nothing."""
    assert verify(old.session).differences == ()
    assert audit(old.session, old.keys.public_keys()).differences == ()


def work_off(old: Old) -> None:
    """What `lmeraser queue run` does."""
    with queue_of(old.session, keys=old.keys) as queue:
        queue.round(patient=False, stop=lambda: False)


def finish(old: Old) -> None:
    """Work all requests off, and what had FAILED too."""
    work_off(old)
    for name, state in old.states.items():
        if state is State.FAILED:
            verbs.retry(old.session, old.requests[name])
    work_off(old)


def same_numerics(old: Old) -> bool:
    """Whether the archive's constituents were trained under this machine's numerics."""
    folder, here = old.session.folder, describe(torch.device("cpu"))
    made = [
        Constituent.from_bytes(folder.store.read(item)).about.get("numerics")
        for shard in folder.require_published().shards
        for item in shard.stages
    ]
    assert made
    return all(numerics == here for numerics in made)


def require_numerics(equal: bool) -> None:
    """Skip the rest where bytes cannot be compared."""
    if not equal:
        pytest.skip("all but bytes: the archive's constituents are of other numerics")


def test_there_are_archives_of_each_release() -> None:
    assert [path.name for path in ARCHIVES] == [
        f"workspace-0.{minor}.0.tar.gz" for minor in (4, 5, 6, 7)
    ]


def test_it_is_what_it_was(old: Old) -> None:
    """The state, the evidence, the quarantine; a file that has no use any more is no stranger."""
    assert (old.root / "requests.waiting").exists() == (old.facts["version"] == "0.4.0")
    assert stat.S_IMODE((old.place / "keys" / "private.pem").stat().st_mode) == 0o600
    assert fingerprint(old.session) == old.facts["fingerprint"]
    assert {name: old.request(name).state for name in old.requests} == old.states
    assert old.request("received").quarantine
    assert len((old.root / "CURRENT").read_text().splitlines()) > 1, "no quarantine is in force"
    begun = any(state.is_begun for state in old.states.values())
    differences = verify(old.session).differences
    assert bool(differences) == begun
    assert [what for what in differences if not any(word in what for word in UNFINISHED)] == []
    keys = old.keys.public_keys()
    assert audit(old.session, keys).differences == ()
    for head in old.place.glob("head*.json"):
        assert audit(old.session, keys, against=head.read_bytes()).differences == ()


def test_what_was_said_of_a_request_is_kept(old: Old) -> None:
    """Why it was closed, extended or given up: an operator can still read it."""
    if "cancelled" not in old.requests:
        pytest.skip("the archive has no closed requests")
    assert old.request("extended").extended_at
    for name in ("cancelled", "refused", "unknown", "failed"):
        assert old.request(name).reason, name
        assert old.request(name).as_json()["reason"], name


def test_its_certificates_verify(old: Old) -> None:
    """By their public keys alone, each in a file of its own; what they say is what happened."""
    pems = sorted((old.place / "keys" / "public").glob("*.pem"))
    keys, names = dict(read_public_key(pem) for pem in pems), old.session.names()
    certified = [name for name, state in old.states.items() if state is State.CERTIFIED]
    assert certified
    for name in certified:
        found = check_certificate(bytes(old.request(name).envelope or b""), keys)
        assert found.statement.request.id == old.requests[name]
        removed = set() if name == "already" else old.erases[name]
        assert set(found.statement.erased.records) == {
            names.hash("record", record) for record in removed
        }
        kept = old.place / "certificates" / f"{name}.json"
        if kept.exists():
            assert kept.read_bytes() == found.envelope
    if "before" in old.facts:
        state = check_certificate(bytes(old.request("certified").envelope or b""), keys).statement
        assert (state.state.before, state.state.after) == (old.facts["before"], old.facts["after"])


def test_open_requests_are_certified(old: Old) -> None:
    """Whatever their state; what FAILED is, after a retry. The bytes are those of a training that
    saw none of the erasures."""
    closed = {name: state for name, state in old.states.items() if state.is_closed}
    gone = old.erased_by(State.where(lambda state: not state.is_given_up))
    equal = same_numerics(old)
    work_off(old)
    for name, state in old.states.items():
        assert old.request(name).state is closed.get(name, State.CERTIFIED), (name, state)
    finish(old)
    for name, state in old.states.items():
        ends = state if state.is_given_up else State.CERTIFIED
        assert old.request(name).state is ends, (name, state)
    assert len((old.root / "CURRENT").read_text().splitlines()) == 1, "a quarantine is left"
    assert old.live() == set(old.people) - gone
    expect_sound(old)
    require_numerics(equal)
    assert audit(old.session, old.keys.public_keys(), rebuild=True).differences == ()
    expect_equal(old.root, old.train_without(gone))


def test_another_record_is_unlearned(old: Old) -> None:
    name = min(old.live() - set().union(*old.erases.values()))
    request = unlearn(old.session, ErasureTargets((name,)), keys=old.keys).request
    assert request.state is State.CERTIFIED
    assert name not in old.live()
    finish(old)
    expect_sound(old)


def test_what_was_erased_is_not_trained_again(old: Old) -> None:
    """By no training, unless it is readmitted."""
    finish(old)
    live = old.live()
    train(old.session, old.config())
    assert old.live() == live
    back = old.erases["certified"]
    people = old.listed({old.people[name] for name in back}, "readmit-subjects.txt")
    admitted = {"readmit": old.listed(back, "readmit.txt"), "readmit_subjects": people}
    train(old.session, old.config(**admitted))
    assert old.live() == live | back
    expect_sound(old)


def test_its_backup_is_restored(old: Old) -> None:
    """Into a folder of its own, with the file of erasures: what was erased, before the backup or
    after it, stays away."""
    planned = State.where(lambda state: state is not State.RECEIVED and not state.is_given_up)
    gone = old.erased_by(planned)
    copy = Old(old.place, old.place / "copy" / "workspace")
    restore(copy.session, old.place / "backup.tar", erasures=old.place / "erasures.json")
    assert copy.live() == set(old.people) - gone
    expect_sound(copy)
    require_numerics(same_numerics(copy))
    assert fingerprint(copy.session) == fingerprint(Session(old.train_without(gone)))


def test_it_has_a_report_and_once_finished_an_export(old: Old) -> None:
    """The page counts all requests, reads every statement, and names none of its records; nothing
    is exported before the queue has published what is asked for."""
    page = old.place / "page.html"
    done = report(old.session, page)
    with verbs.repository(old.session) as requests:
        listed = requests.list()
    assert done.facts.requests.all == len(listed)
    told = [each for each in listed if each.statement is not None]
    assert (done.facts.scans.scans, done.facts.scans.unread) == (len(told), 0) != (0, 0)
    names = {*old.people, *old.people.values()}
    assert names and not [name for name in names if name in page.read_text()]
    with pytest.raises(ExecutionError, match="not published yet"):
        export(old.session, old.place / "model", with_features=True)
    finish(old)
    assert export(old.session, old.place / "model", with_features=True).constituents
    assert ExportedModel.load(old.place / "model").classes
