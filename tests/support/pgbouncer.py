"""A real pgbouncer before the tests' PostgreSQL, where there is one (Debian's package `pgbouncer`):
started at need, ended with the context."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.support.children import wait_until
from tests.support.head import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def pooled(postgresql: str, mode: str, size: int = 20) -> Iterator[str]:
    """The URL of a pooler with this pool_mode, and so many connections to the server at most."""
    if PROGRAM is None:
        pytest.skip("needs pgbouncer: install Debian's package `pgbouncer`")
    server, port = make_url(postgresql), free_port()
    sockets = Path(str(server.query["host"]))
    folder = Path(tempfile.mkdtemp(prefix="lmeraser-pgbouncer-"))
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{server.database} = host={sockets} user={server.username}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\ndefault_pool_size = {size}\nuser = {sockets.owner()}\n"
    )
    url = f"postgresql://{server.username}@127.0.0.1:{port}/{server.database}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, str(settings)], stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or answers(url))
        assert process.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def answers(url: str) -> bool:
    """Whether a server at a URL lets anybody in."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
