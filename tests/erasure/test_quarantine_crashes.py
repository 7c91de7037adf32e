"""A crash at any write while a request that asks for quarantine is closed or submitted: whatever
an open request asks for is in quarantine, and the next command or queue lifts the rest."""

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.requests import cancel, refuse, status, submit
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import database, ledger
from lmeraser_ray.storage.database.ledger import LedgerEntry
from tests.support.quarantine import keys_of, session_ids, two_of_one_shard, work_off


class Crash(BaseException):
    """The process is gone."""


class Writes:
    """Ends the process, as it were, at one write: right before or after a COMMIT, or before or
    after the pointer is replaced."""

    def __init__(self, patch: pytest.MonkeyPatch, fatal: int, once: str | None) -> None:
        self.fatal, self.count, self.counts = fatal, 0, once is None
        patch.setattr(database, "committing", self.reach)
        patch.setattr(database, "committed", self.reach)
        patch.setattr(os, "replace", self.around(os.replace))
        append = ledger.append_all

        def watched(conn: Connection, kind: str, entries: Sequence[Any]) -> list[LedgerEntry]:
            self.counts |= kind == once and bool(entries)
            return append(conn, kind, entries)

        patch.setattr(ledger, "append_all", watched)

    def reach(self) -> None:
        if not self.counts or threading.current_thread() is not threading.main_thread():
            return  # the heart of the queue beats when it likes
        self.count += 1
        if self.count == self.fatal:
            raise Crash

    def around(self, real: Callable[..., None]) -> Callable[..., None]:
        def replace(old: str, new: str) -> None:
            if Path(new).name != "CURRENT":
                return real(old, new)
            self.reach()
            real(old, new)
            return self.reach()

        return replace


class Asked:
    """A workspace with three requests that ask for quarantine: `made` and `third` name an id that
    nobody knows too, `kept` FAILED. `made` and `kept` name records of one shard."""

    def __init__(self, root: Path) -> None:
        session = Session(root)
        self.root = root
        self.record, other = two_of_one_shard(session)
        here = keys_of(session, self.record)
        far = next(name for name in session_ids(session) if not keys_of(session, name) <= here)
        self.names = {
            submit(session, ErasureTargets((name, "nobody")), quarantine=True).id: name
            for name in (self.record, far)
        }
        self.made, self.third = self.names
        self.kept = submit(session, ErasureTargets((other,)), quarantine=True).id
        self.names[self.kept] = other
        with session.database() as opened, opened.write() as conn:
            transitions.fail(conn, self.kept, "the worker died")

    def wanted(self, session: Session) -> set[str]:
        """What open requests ask for."""
        return keys_of(
            session,
            *(
                name
                for request, name in self.names.items()
                if status(session, request).state in (State.RECEIVED, State.FAILED)
            ),
        )


@pytest.fixture(scope="module")
def asked_for(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(shutil.copytree(template, tmp_path_factory.mktemp("asked") / "workspace"))


CLOSING: dict[str, Callable[[Session, str], object]] = {
    "cancel": lambda session, request: cancel(session, request, "a mistake"),
    "refuse": lambda session, request: refuse(session, request, "a legal hold"),
    "queue": lambda session, _: work_off(session),
}


@pytest.mark.parametrize("end", CLOSING)
def test_a_crash_while_a_request_is_closed(asked_for: Asked, tmp_path: Path, end: str) -> None:
    """At each write from its transaction on. Whatever an open request asks for is in quarantine,
    and whoever comes next (the queue, or a command that closes another request) lifts what nobody
    asks for any more."""
    late = 0
    for died in itertools.count(1):
        session = Session(shutil.copytree(asked_for.root, tmp_path / f"{died}"))
        act = partial(CLOSING[end], session, asked_for.third)
        if not die_at(died, act, once="REFUSED" if end != "cancel" else "CANCELLED"):
            break
        quarantined, wanted = session.folder.require_state().quarantined, asked_for.wanted(session)
        assert wanted <= quarantined, died
        late += wanted < quarantined
        copy = Session(shutil.copytree(session.root, tmp_path / f"{died}-next"))
        refuse(copy, asked_for.kept, "a legal hold")
        work_off(session)
        for repaired in (session, copy):
            left = repaired.folder.require_state().quarantined
            assert left == asked_for.wanted(repaired), died
    assert late >= 1, "it died after the request was closed, and before its quarantine was lifted"


def die_at(fatal: int, act: Callable[[], object], *, once: str | None = None) -> bool:
    """Whether an act died at its write of this number, counted from the ledger entry of the kind
    `once`, if one is named."""
    with pytest.MonkeyPatch.context() as patch:
        Writes(patch, fatal, once)
        try:
            act()
        except Crash:
            return True
    return False


@pytest.mark.parametrize("died", [1, 2, 3, 4, 5, 6])
def test_a_crash_while_a_request_is_submitted(session: Session, died: int) -> None:
    """Nobody was told that it is in quarantine; the queue sees to it when it comes, before the
    request has waited for others to come together."""
    name, _ = two_of_one_shard(session)
    config = session.config()
    queue = config.queue.model_copy(update={"window": 3600.0})
    with session.folder.locked() as workspace:
        workspace.save_config(config.model_copy(update={"queue": queue}))
    assert die_at(died, lambda: submit(session, ErasureTargets((name,)), quarantine=True))
    with session.database() as opened, opened.read() as conn:
        committed = bool(conn.exec_driver_sql("SELECT count(*) FROM requests").scalar())
    assert committed == (died > 1)
    with queue_of(session, keys=None) as serving:
        serving.serve(lambda _: True)
    assert session.folder.require_state().quarantined == (
        keys_of(session, name) if committed else frozenset()
    )
