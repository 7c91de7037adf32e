"""Any interleaving of what people, the queue, training and crashes do, drawn by hypothesis; a
failing one is printed so that it replays.

Everything is in this process, so that it is fast and repeats: a crash is an exception that no
handler may catch, raised at the k-th change of the disk or COMMIT, after which nothing more
changes. Real kills are in the other files of this folder.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.loop import queue_of, wait_for_turn
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import UNWATCHED, WHOLE, ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.operations.requests import cancel, refuse, retry, submit
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import database as databases
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.store import Store
from tests.support.children import Nursery
from tests.support.story import ALONE, LANES, SAMPLED, TESTED, Case, Truth, labelled, search

CHANGES = ("replace", "link", "unlink", "mkdir", "rmdir", "fsync", "truncate")
DRAWN = (ALONE, *LANES[:1], SAMPLED, TESTED, 8)
"""Records that requests name: of two shards, one that was sampled, one that trains nothing, one
whose subject is named too."""
PEOPLE = (4, 9)


class Crash(BaseException):
    """The process is dead."""


class Fuse:
    """Kills at the k-th change."""

    def __init__(self, fatal: int | None) -> None:
        self.fatal, self.count = fatal, 0

    def blown(self) -> bool:
        return self.fatal is not None and self.count >= self.fatal

    def reach(self) -> None:
        """One more change, or no more."""
        if threading.current_thread() is not threading.main_thread():
            if self.blown():
                raise ExecutionError("this process is dead")
            return
        self.count += 1
        if self.blown():
            raise Crash


@contextmanager
def fuse(fatal: int | None) -> Iterator[Fuse]:
    """Run something that dies at its `fatal`-th change. Nothing is changed any more then, clean-up
    included."""
    state = Fuse(fatal)

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def change(*args: object, **options: object) -> object:
            state.reach()
            return real(*args, **options)

        return change

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, watched(getattr(os, name)))
        for name in ("committing", "committed"):
            patch.setattr(databases, name, state.reach)
        yield state


class Fails(PromptHead):
    """Fails the first so many trainings."""

    def __init__(self, config: Config, failures: list[None]) -> None:
        super().__init__(config.learner)
        self.failures = failures

    def train(
        self,
        shard: ShardData,
        backbone: Backbone,
        *,
        stage: Stage = WHOLE,
        watch: Watch = UNWATCHED,
    ) -> Constituent:
        if self.failures:
            self.failures.pop()
            raise ExecutionError("a worker died.")
        return super().train(shard, backbone, stage=stage, watch=watch)


@cache
def truth() -> Truth:
    """One world for all runs, with what it has worked out."""
    return Truth(Path(tempfile.mkdtemp(prefix="lmeraser-machine-")) / "world")


@cache
def traces() -> dict[str, dict[str, bytes]]:
    return truth().traces()


records = st.sets(st.sampled_from(DRAWN), max_size=2)
fatal = st.one_of(st.none(), st.integers(1, 70))


class Machine(RuleBasedStateMachine):
    """One workspace."""

    submitted = Bundle("submitted")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lmeraser-machine-"))
        keys = KeyFolder(self.folder / "keys")
        keys.init()
        root = self.folder / "workspace"
        shutil.copytree(truth().without(frozenset()), root)
        self.case = Case(truth(), root, keys.path, Nursery(self.folder), traces())
        self.keyed: dict[str, tuple[object, str]] = {}
        self.given_up: dict[str, State] = {}
        self.unknown: set[str] = set()

    def all(self) -> dict[str, ErasureRequest]:
        with closing(self.case.database()) as database:
            return {
                request.id: request
                for request in RequestRepository(database, self.case.session.names()).list()
            }

    def live(self) -> frozenset[str]:
        folder = self.case.session.folder
        return frozenset(
            RecordIndex.read(
                folder.store, [s.bucket for s in folder.require_published().buckets]
            ).names("record_id")
        )

    # --- what people do

    @rule(
        target=submitted,
        named=records,
        person=st.one_of(st.none(), st.sampled_from(PEOPLE)),
        unknown=st.sampled_from([False, False, False, True]),
        key=st.sampled_from([None, None, "one", "two"]),
        quarantine=st.booleans(),
        k=st.one_of(st.none(), st.none(), st.integers(1, 8)),
    )
    def submit(
        self,
        named: set[int],
        person: int | None,
        unknown: bool,
        key: str | None,
        quarantine: bool,
        k: int | None,
    ) -> object:
        """Submit; perhaps die on the way: then it is there or not, and is only acknowledged if it
        is."""
        names = tuple(
            sorted({self.case.ids[i] for i in named} | ({"nobody"} if unknown else set()))
        )
        subjects = () if person is None else (f"person-{person}",)
        if not names and not subjects:
            return multiple()
        content, before = (names, subjects), set(self.all())
        try:
            with fuse(k):
                request = submit(
                    self.case.session,
                    ErasureTargets(names, subjects),
                    key=key,
                    quarantine=quarantine,
                ).id
        except ConfigError:
            assert key in self.keyed and self.keyed[key][0] != content, "refused without a reason"
            return multiple()
        except Crash:
            new = set(self.all()) - before
            assert len(new) <= 1
            if not new:
                return multiple()
            [request] = new
        if key is not None:
            assert self.keyed.setdefault(key, (content, request)) == (content, request), (
                "one key, two requests"
            )
        if request in before:
            return multiple()
        self.case.note(request, [name for name in names if name != "nobody"], subjects)
        if unknown:
            self.unknown.add(request)
        return request

    @rule(request=submitted)
    def cancel(self, request: str) -> None:
        """Only what nobody has looked at can be cancelled."""
        state = self.case.request(request).state
        self.give_up(request, State.CANCELLED, allowed=state is State.RECEIVED)

    @rule(request=submitted)
    def refuse(self, request: str) -> None:
        """A legal hold, before anything is trained, or after it failed with nothing gone."""
        state = self.case.request(request).state
        if state is State.FAILED and not self.case.erased([request]) <= self.live():
            return  # some of it has left by another's publication
        self.give_up(
            request, State.REFUSED, allowed=state in (State.RECEIVED, State.PLANNED, State.FAILED)
        )

    def give_up(self, request: str, goal: State, *, allowed: bool) -> None:
        act = cancel if goal is State.CANCELLED else refuse
        if allowed:
            act(self.case.session, request, "because")
            self.given_up[request] = goal
        else:
            with pytest.raises(ConfigError, match="only from"):
                act(self.case.session, request, "because")

    @rule(request=submitted)
    def retry(self, request: str) -> None:
        if self.case.request(request).state is State.FAILED:
            retry(self.case.session, request)

    # --- what the machine does

    @rule(k=fatal, failures=st.sampled_from([0, 0, 0, 1, 3]), sign=st.booleans())
    def work(self, k: int | None, failures: int, sign: bool) -> None:
        """A round of the queue, which may die at any change, and some of whose trainings may
        fail."""
        fails = [None] * failures

        def make(store: Store, config: Config, card: BackboneCard) -> InlineEngine:
            return InlineEngine(store, config, card, learner=Fails(config, fails))

        session = Session(self.case.root, make_engine=make)
        self.wait()
        try:
            with (
                fuse(k),
                queue_of(session, keys=KeyFolder(self.case.keys) if sign else None) as queue,
            ):
                queue.round(patient=True, stop=lambda: False)
        except Crash:
            pass

    def wait(self) -> None:
        """Until a queue that died is known to be dead."""
        wait_for_turn(self.case.session, Stop().wait)

    @rule(k=st.one_of(st.none(), st.integers(1, 60)))
    def learn(self, k: int | None) -> None:
        """Train again on all records."""
        try:
            with fuse(k):
                train(self.case.session, truth().config())
        except Crash:
            pass

    # --- what must hold, always

    @invariant()
    def nothing_is_lost_and_nothing_is_claimed(self) -> None:
        if not hasattr(self, "case"):
            return
        found = self.all()
        assert set(self.case.acknowledged) == set(found), "lost, or from nowhere"
        certified = [name for name, request in found.items() if request.state is State.CERTIFIED]
        with closing(self.case.database()) as database, database.read() as conn:
            assert ledger.check(conn) == []
            told = [
                entry.request for entry in ledger.entries(conn) if entry.kind == State.CERTIFIED
            ]
        assert sorted(certified) == sorted(filter(None, told)), "one certificate, one entry"
        live = self.live()
        assert self.case.published() == truth().published_without(
            frozenset(self.case.ids) - live
        ), "not a state of the law"
        gone = self.case.erased(certified)
        assert not gone & live
        named = self.case.erased(
            [name for name, request in found.items() if not request.state.is_answered]
        )
        wanted = dict(chain.from_iterable(labelled(name, traces()[name]) for name in gone - named))
        assert search([self.case.root], wanted) == {}

    def teardown(self) -> None:
        """Nobody dies any more: all comes to its end, and the state is the one that never saw the
        union of what was erased."""
        if not hasattr(self, "case"):
            return
        try:
            for _ in range(2):
                self.work(None, 0, True)
                for request in self.all().values():
                    self.retry(request.id)
            self.learn(None)
            others = {**dict.fromkeys(self.unknown, State.REFUSED), **self.given_up}
            self.case.expect_whole(others)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


PROFILE = settings(
    database=None,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
TestMachine = Machine.TestCase
TestMachine.settings = settings(
    PROFILE, max_examples=12, stateful_step_count=10, phases=[Phase.generate]
)


@pytest.mark.long
class TestMachineForLong(Machine.TestCase):
    """The same, for minutes."""

    settings = settings(PROFILE, max_examples=30, stateful_step_count=20)
