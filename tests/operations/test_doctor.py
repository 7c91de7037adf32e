"""`doctor`: a sentence for each thing, and what to do where it is not ready; nothing is made."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.distributed import address as address_of_cluster
from lmeraser_ray.operations import doctor as looks
from lmeraser_ray.operations.doctor import doctor
from lmeraser_ray.pipeline.session import Session


def test_a_new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("LMERASER_KEYS", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(looks, "NEEDED_BYTES", 1)
    found = doctor(Session(tmp_path / "workspace"))
    assert [each.what for each in found.findings] == [
        *("machine", "GPU", "Ray", "keys", "database", "disk")
    ]
    assert found.ready
    assert all(each.sentence.endswith(".") for each in found.findings)
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_of_cluster, "ANSWER_S", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        found = looks.ray(ExecutionConfig())
        assert found.ready is False
        assert f"{address} cannot be used: nothing accepts" in found.sentence
        taken.listen()
        found = looks.ray(ExecutionConfig())
        assert found.ready is False
        assert f"{address} cannot be used: what accepts connections there" in found.sentence
    assert looks.ray(ExecutionConfig(engine="inline")).ready is None


def test_keys_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMERASER_KEYS", str(tmp_path / "keys"))
    found = looks.found("keys", looks.keys)
    assert found.ready is False
    assert "lmeraser keys init" in found.sentence


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    found = looks.disk(Session(tmp_path / "a" / "b"))
    assert (found.ready, str(tmp_path) in found.sentence) == (False, True)
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert looks.disk(Session(tmp_path)).ready is False
