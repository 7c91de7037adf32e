"""A cluster that does not answer, or has no room, is an error that names its address, soon; and
what is waited for is said meanwhile."""

import socket
import threading
from collections.abc import Iterator

import pytest

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.distributed import address, cluster
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline import waiting
from lmeraser_ray.pipeline.waiting import Waiting


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "ANSWER_S", 0.2)
    monkeypatch.setattr(address, "PAUSE_S", 0.05)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a program that accepts connections, and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """An address at which nothing listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("variable", [True, False])
def test_a_stale_address(
    closed: str, scheme: str, variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = scheme + closed
    monkeypatch.setenv("RAY_ADDRESS", where if variable else "127.0.0.1:1")
    execution = ExecutionConfig(address=None if variable else where)
    with pytest.raises(ExecutionError, match=f"{where} cannot be used: nothing accepts"):
        cluster.connect(execution)


def test_a_head_that_hangs(silent: str) -> None:
    with pytest.raises(ExecutionError, match=f"{silent} cannot be used: .* does not answer"):
        cluster.connect(ExecutionConfig(address=silent))


@pytest.mark.parametrize("where", ["nowhere.invalid:6379", "127.0.0.1:99999", "[::1]:1"])
def test_an_address_that_cannot_be(where: str) -> None:
    with pytest.raises(ExecutionError, match="cannot be used"):
        address.require_head(where)


@pytest.mark.parametrize("where", [None, "", "auto", "local"])
def test_what_names_no_head(where: str | None) -> None:
    address.require_head(where)


def test_the_cluster_that_this_machine_started_last_is_gone(
    closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "head_of", lambda _: closed)
    with pytest.raises(ExecutionError, match=f"{closed} cannot be used"):
        cluster.connect(ExecutionConfig(address="auto"))


def test_what_is_waited_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said = threading.Event()
    monkeypatch.setattr(waiting, "FIRST_S", 0.01)
    monkeypatch.setattr(waiting, "say", lambda _, text: (lines.append(text), said.set()))
    lines: list[str] = []
    with Waiting("for a cluster"):
        assert said.wait(20)
    assert lines[0].startswith("lmeraser: waiting for a cluster, for ")
