"""A pooler before the server, a real pgbouncer: one that keeps sessions is as none, one that does
not is refused in a sentence, before anything is changed on the server."""

from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.storage.database import postgresql as client
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.workspace_lock import lock_of_server
from tests.support.desk import Desk
from tests.support.pgbouncer import pooled

REFUSED = "a pooler that gives each transaction another session"


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_without_sessions_is_refused(
    mode: str, postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOOK_SECONDS", 60)  # it answers, if late
    with pooled(postgresql, mode) as url:
        with pytest.raises(ConfigError, match=REFUSED) as found:
            Desk(tmp_path / "desk", url).open()
        assert str(make_url(url).port) in str(found.value)
        with pytest.raises(ConfigError, match=REFUSED), lock_of_server(url, "s3://bucket/w"):
            pass
        with psycopg.connect(postgresql) as plain, psycopg.connect(url, autocommit=True) as others:
            for setting in ("search_path", "statement_timeout"):
                left = others.execute(f"SHOW {setting}").fetchone()
                assert left == plain.execute(f"SHOW {setting}").fetchone()


@pytest.mark.parametrize("size", [1, 20])
def test_a_pooler_that_keeps_sessions_is_as_none(
    size: int, postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOOK_SECONDS", 1)
    with pooled(postgresql, "session", size) as url:
        for _ in range(2):
            database = Desk(tmp_path / "desk", url).open()
            database.close()
        if size > 1:
            with ExitStack() as held:
                held.enter_context(lock_of_server(url, "s3://bucket/w"))()
                with pytest.raises(ExecutionError, match="Another command"):
                    held.enter_context(lock_of_server(url, "s3://bucket/w"))


def test_a_transaction_in_another_session_is_refused(postgresql: str, tmp_path: Path) -> None:
    """As where the pooler was busy when it was looked at."""
    with pooled(postgresql, "session") as url:
        database: Database = Desk(tmp_path / "desk", url).open()
        with database._engine.connect() as connection:
            connection.info[client.POOLED] += 1
        with pytest.raises(ConfigError, match=REFUSED), database.read():
            pass
        database.close()
