"""A cluster that does not answer is an error that names its address, soon."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext, suppress

import pytest

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.distributed import address, cluster
from lmeraser_ray.errors import ExecutionError


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
def closed() -> Iterator[str]:
    """An address at which nothing listens, nor can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


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


@pytest.fixture(params=[b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(9), b"\xff"])
def garbage(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a program that is no head: what it says, it says to everyone, and leaves."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(request.param)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_another_program(garbage: str) -> None:
    with pytest.raises(ExecutionError, match=f"{garbage} cannot be used: .* does not answer"):
        cluster.connect(ExecutionConfig(address=garbage))


@pytest.mark.parametrize("where", ["", "local"])
def test_addresses_that_start_a_local_cluster(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", where)
    assert address.configured(ExecutionConfig()) is None
    assert address.configured(ExecutionConfig(address=where)) is None


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


class LastMoment(Future[None]):
    """Has its result when the time for it is over."""

    def result(self, timeout: float | None = None) -> None:
        super().result()
        if timeout is not None:
            raise TimeoutError


@pytest.mark.parametrize("error", [None, TimeoutError("of Ray"), ValueError("of Ray")])
def test_a_cluster_that_lets_us_in_at_the_last_moment(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def begin() -> None:
        if error:
            raise error

    monkeypatch.setattr(cluster, "Future", LastMoment)
    monkeypatch.setattr(cluster, "require_node", lambda _: None)
    with pytest.raises(type(error), match="of Ray") if error else nullcontext():
        cluster.enter("127.0.0.1:1", begin, 5.0)
