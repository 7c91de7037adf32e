"""Rows 12 and 13: an artifact that is cut, changed or gone, and a torn journal of the request
database.

Damage is detected, rebuilt by `train`, named by `verify`, never served; a request that meets it is
not certified: it says what to do, and ends well after that.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.storage.store import KINDS
from tests.support import acts
from tests.support.law import held
from tests.support.story import ALONE, LANES, Case

pytestmark = pytest.mark.long

KILLED = -9


def flip(path: Path, at: float = 0.5) -> None:
    """Change one bit, at a share of the file."""
    data = bytearray(path.read_bytes())
    data[min(len(data) - 1, int(at * len(data)))] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Half of it is there."""
    os.truncate(path, path.stat().st_size // 2)


DAMAGES: dict[str, Callable[[Path], None]] = {"flipped": flip, "cut": cut, "gone": Path.unlink}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artifact_is_named_and_rebuilt_and_never_served(case: Case, damage: str) -> None:
    """Of each kind: `verify` says which one, what answers does not use it, `train` puts it back
    byte for byte."""
    wanted = held(case.root)
    seen = set()
    kinds = [kind for kind in KINDS if kind != "statistics"]  # which its learner does not keep
    for kind in kinds:
        for path in sorted((case.root / "objects" / kind).iterdir())[:1]:
            DAMAGES[damage](path)
            said = verify(case.session).differences
            assert said, path.name
            assert path.name in said[0], said
            assert "damaged" in said[0] or "missing" in said[0], said
            if kind not in (
                "records",
                "pictures",
                "features",
                "assignments",
            ):  # what an answer to a stranger is made from
                with pytest.raises(VerificationError, match="lmeraser train"):
                    evaluate(case.session)
            train(case.session, case.truth.config())
            assert held(case.root) == wanted, path.name
            seen.add(kind)
    assert seen == set(kinds)
    case.expect_whole()


def part(case: Case, number: int, kind: str) -> Path:
    """The file of a kind of a bucket."""
    folder = case.session.folder
    [state] = [
        state for state in folder.require_published().buckets if state.bucket.number == number
    ]
    return folder.store.path(
        {
            "records": state.bucket.records,
            "pictures": state.bucket.pictures,
            "features": state.features,
        }[kind]
    )


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["records", "pictures", "features"])
@pytest.mark.parametrize("bucket", ["its own", "a neighbour's"])
def test_a_request_that_meets_a_damaged_bucket(
    case: Case, bucket: str, kind: str, damage: str
) -> None:
    """Its own bucket is damaged, or that of a record in the same shard: it is not certified, and
    says what to do; then it ends well."""
    request = case.ask(
        case.ids[14]
    )  # in bucket 0, and in the shard of record 13, which is in bucket 1
    path = part(case, 0 if bucket == "its own" else 1, kind)
    DAMAGES[damage](path)
    ended = case.work().end()
    found = case.request(request)
    if (bucket, kind) == (
        "a neighbour's",
        "features",
    ) and damage != "cut":  # which nobody needs: made again, or left for `verify`
        assert found.state is State.CERTIFIED
        assert verify(case.session).ok == (damage == "gone")
    elif ended.code == 0:
        assert found.state is State.FAILED, found
        assert "lmeraser verify" in (found.reason or ""), found.reason
        assert "lmeraser retry" in (found.reason or ""), found.reason
    else:
        assert ended.code == 4, ended
        assert "lmeraser train" in ended.err.splitlines()[-1], ended.err
        assert found.state is not State.CERTIFIED
    assert (found.envelope is None) == (found.state is not State.CERTIFIED)
    assert case.start(acts.learn, case.root, case.truth.config().model_dump_json()).end().code == 0
    if found.state is State.FAILED:
        case.retry(request)
    case.settle()
    case.expect_whole()


@pytest.mark.parametrize("at", [0.02, 0.2, 0.4, 0.6, 0.8, 0.98])
def test_any_bit_of_somebody_elses_picture(case: Case, at: float) -> None:
    """A bucket is written again without a record: a changed bit of another record in it must not
    become the new bucket's."""
    for path in sorted((case.root / "objects" / "pictures").iterdir()):
        flip(path, at)
    case.ask(*(case.ids[i] for i in LANES))
    ended = case.work().end()
    assert State.CERTIFIED not in case.states().values()
    assert ended.code == 4, ended
    train(case.session, case.truth.config())
    case.settle()
    case.expect_whole()


def test_a_damaged_constituent_that_nobody_trains_again(case: Case) -> None:
    """Of another shard than the record's: the erasure is not touched by it, and `verify` and
    whoever asks still find the damage."""
    shards = {
        shard.number: shard.constituent for shard in case.session.folder.require_published().shards
    }
    flip(case.session.folder.store.path(shards[1]))
    case.ask(case.ids[ALONE])
    case.settle()
    assert "damaged" in verify(case.session).differences[0]
    with pytest.raises(VerificationError, match="lmeraser train"):
        evaluate(case.session)
    train(case.session, case.truth.config())
    case.expect_whole()


def test_a_torn_journal(case: Case) -> None:
    """Row 13: kill -9 in a transaction that had reached the file, then its journal is cut: what was
    committed, or a refusal to go on."""
    known = case.submit(case.ids[ALONE])
    assert case.start(acts.scribble, case.root).end().code == KILLED
    journal = case.root / "requests.db-journal"
    torn, size = case.root.with_name("torn"), journal.stat().st_size
    assert size > 10_000
    case.root.rename(torn)
    refused = 0
    for share in (0.0, 0.01, 0.3, 0.7, 0.999, 1.0):
        shutil.copytree(torn, case.root)
        os.truncate(journal, int(share * size))
        ended = case.submission(case.ids[1]).end()
        if ended.code == 0:
            assert case.states() == {known: State.RECEIVED, ended.out.strip(): State.RECEIVED}
        else:
            refused += 1
            assert ended.code == 4, ended
            assert "lmeraser restore" in ended.err, ended.err
            assert case.work().end().code == 4
        if share < 1.0:
            shutil.rmtree(case.root)
    assert refused >= 3
    assert ended.code == 0, "a whole journal is rolled back"
    case.note(ended.out.strip(), [case.ids[1]])
    case.settle()
    case.expect_whole()
