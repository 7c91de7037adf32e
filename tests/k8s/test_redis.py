"""Redis as its manifest starts it: it asks for the password, which no list of processes shows."""

import socket
from pathlib import Path

import psutil

from tests.support.head import free_port
from tests.support.redis import started


def said(address: str, *words: str) -> bytes:
    """What the server answers."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(" ".join(words).encode() + b"\r\n")
        return client.recv(100)


def test_the_password_is_asked_for_and_in_no_argument(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with started(tmp_path / "data", free_port()) as redis:
        assert said(redis.address, "PING").startswith(b"-NOAUTH")
        assert said(redis.address, "AUTH", redis.password) == b"+OK\r\n"
        [server] = [one for one in psutil.Process().children() if "redis-server" in one.name()]
        assert redis.password not in " ".join(server.cmdline())
    assert (tmp_path / "password.conf").stat().st_mode & 0o777 == 0o600
