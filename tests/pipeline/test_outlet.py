"""Streams that never fail: what an encoding lacks is likened, what cannot be written is dropped."""

import errno
import io
import os
import sys
from pathlib import Path

import pytest

from lmeraser_ray.cli.live_table import plain
from lmeraser_ray.cli.table import table
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.pipeline.outlet import (
    Outlet,
    SteadyText,
    on_terminal,
    print_line,
    steady,
    why_lost,
)
from lmeraser_ray.pipeline.progress import Progress


def written(text: str, encoding: str, tmp_path: Path) -> bytes:
    with (tmp_path / "out").open("w", encoding=encoding) as inner:
        steady(inner).write(text)
    return (tmp_path / "out").read_bytes()


@pytest.mark.parametrize(
    ("encoding", "text", "there"),
    [
        ("utf-8", "é → \udcff", "é → \\udcff".encode()),
        ("ascii", "é → … “x” ≥ 3", b'\\xe9 -> ... "x" >= 3'),
        ("latin-1", "é—ł", b"\xe9-\\u0142"),
        ("cp1252", "人€", b"\\u4eba\x80"),
        ("ascii", "╭─┬━╮│ █", b"+-+-+| #"),
    ],
)
def test_what_an_encoding_lacks_is_likened(
    encoding: str, text: str, there: bytes, tmp_path: Path
) -> None:
    assert written(text, encoding, tmp_path) == there


def test_a_table_keeps_its_form_in_ascii(tmp_path: Path) -> None:
    drawn = table(["shard", "size"], [["0", "7"], ["12", "135"]])
    lines = written(drawn, "ascii", tmp_path).decode().splitlines()
    assert [len(line) for line in lines] == [len(line) for line in drawn.splitlines()]
    assert set(lines[1]) == {"-"}
    assert plain  # the queue's picture is drawn the same way


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF])
def test_what_cannot_be_written_is_dropped(
    number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And told, but not to someone who wanted no more."""

    def fails(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    stream = steady((tmp_path / "out").open("w"))
    monkeypatch.setattr(os, "write", fails)
    assert stream.write("x" * 100_000) == 100_000
    stream.flush()
    told = why_lost(stream)
    monkeypatch.undo()
    assert told == (None if number == errno.EPIPE else os.strerror(number))
    stream.write("later")
    stream.flush()
    assert (tmp_path / "out").read_text() == "later"


def test_a_pipe_that_does_not_block_gets_everything() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    text = "x" * 200_000
    if (pid := os.fork()) == 0:
        stream = SteadyText(Outlet(write), "ascii", by_line=False, at_once=False)
        stream.write(text)
        stream.flush()
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as reader:
        assert len(reader.read()) == len(text)
    assert os.waitpid(pid, 0)[1] == 0


def test_no_stream_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where Python began with a closed descriptor; of a library's user too."""
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        print_line("nowhere")
        assert not on_terminal(sys.stderr)
        assert Progress().quiet
        assert table(["a"], [["1"]])
        with steady(stream) as made:
            assert made.write("nowhere") == 7


def test_bars_whose_terminal_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bar is drawn, drawn again and removed, and the work goes on."""
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        progress = Progress(quiet=False)
        with progress.bar("features", 2, "pictures") as moved:
            progress.say("what comes next")
            moved(1)
        monkeypatch.undo()


def test_a_stop_whose_terminal_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal's handler writes to 2, and must not raise into the work that it interrupts."""
    real = os.write

    def fails(handle: int, data: bytes) -> int:
        if handle == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(handle, data)

    monkeypatch.setattr(os, "write", fails)
    stop = Stop("what is being trained is finished")
    stop.ask()
    assert stop.wait(0)
