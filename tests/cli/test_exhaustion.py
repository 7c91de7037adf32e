"""Limits of the process: memory, descriptors and threads that run out end in one sentence and exit
code 5, and nothing is lost."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lmeraser_ray.cli import main as cli
from lmeraser_ray.cli.exhaustion import FILES, MEGABYTES, exhausted
from lmeraser_ray.cli.verb import Report, Verb
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.errors import DataError
from tests.support.command_line import Lm, Place

CAUSES = [
    (MemoryError(), "memory"),
    (OSError(errno.EMFILE, "Too many open files"), "open files"),
    (OSError(errno.ENFILE, "Too many open files in system"), "open files"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
    (RuntimeError("can't start new thread"), "threads"),
    (ImportError("libtorch.so: failed to map segment from shared object"), "memory"),
]


def raised(error: Exception, monkeypatch: pytest.MonkeyPatch, *, within: bool) -> int:
    def fail(*_: object) -> Report:
        if not within:
            raise error
        raise DataError("the file is no readable Parquet file") from error

    monkeypatch.setitem(VERBS, "fail", Verb("fail", fail))
    return cli.run("fail", [])


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(("error", "word"), CAUSES, ids=[word for _, word in CAUSES])
def test_what_ran_out_is_named(
    error: Exception,
    word: str,
    within: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where a parser took it for damage of its file."""
    assert raised(error, monkeypatch, within=within) == 5
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert word in said


def test_another_cause_is_none() -> None:
    assert exhausted(OSError(errno.ENOENT, "No such file or directory")) is None
    assert exhausted(KeyError("memory")) is None


def test_control_characters_do_not_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "\x1b[2Jcleared\x07 \x9b31m"
    monkeypatch.setitem(VERBS, "say", Verb("say", lambda *_: Report(said, None, (said,))))
    monkeypatch.setitem(
        VERBS, "fail", Verb("fail", lambda *_: (_ for _ in ()).throw(DataError(said)))
    )
    assert cli.run("say", []) == 0
    assert cli.run("fail", []) == 3
    for text in capsys.readouterr():
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\x9b" not in text
        assert "\\x1b[2Jcleared" in text


def limited(limit: int, value: int, *words: object) -> subprocess.CompletedProcess[str]:
    """A command under a limit of its process."""
    return subprocess.run(
        [sys.executable, "-m", "lmeraser_ray", *map(str, words)],
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


LIMITS = [
    *((resource.RLIMIT_NOFILE, files) for files in (5, 8, 12, FILES - 1)),
    *((resource.RLIMIT_AS, megabytes << 20) for megabytes in (80, 150, 300, MEGABYTES - 1)),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("limit", "value"), LIMITS)
def test_a_limit_that_is_too_low_is_said_at_once(limit: int, value: int) -> None:
    done = limited(limit, value, "status", "--workspace", "nowhere")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("lmeraser: error: This process may have")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("verb", [["verify", "--rebuild"], ["submit"], ["train"], ["unlearn"]])
def test_a_limit_that_is_met_on_the_way_loses_nothing(
    lm: Lm, place: Place, verb: list[str]
) -> None:
    """From where a command begins to where it has enough."""
    named = {
        "submit": ["--records", place.id()],
        "unlearn": ["--records", place.id()],
        "train": ["--config", place.config],
    }.get(verb[0], [])
    codes = set()
    for limit, values in (
        (resource.RLIMIT_NOFILE, (FILES, 24, 48)),
        (resource.RLIMIT_AS, [mb << 20 for mb in (MEGABYTES, 1000, 3000)]),
    ):
        for value in values:
            done = limited(limit, value, *verb, *named, "--workspace", place.root)
            codes.add(done.returncode)
            assert "Traceback" not in done.stderr, done.stderr
            assert done.returncode in (0, 3, 5), (done.returncode, done.stderr)
    assert 5 in codes or verb == ["submit"]  # which needs less than the least
    assert lm("queue", "run", "--workspace", place.root).code == 0
    assert lm("verify", "--workspace", place.root).code == 0
    assert lm("audit", "--workspace", place.root).code == 0


def test_the_limits_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "exit-codes.md").read_text()
    assert f"{MEGABYTES} megabytes" in page
    assert f"{FILES} open files" in page
