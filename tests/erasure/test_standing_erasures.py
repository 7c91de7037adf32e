"""Who was erased stays away, also where somebody deletes the tombstones: `audit` and `verify` say
so, `train` and `restore` put them back."""

from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from lmeraser_ray.cli.train import tombstone_notes
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.operations import train as training
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tables import requests, tombstones
from tests.support.law import index_of
from tests.support.world import World


class Erased:
    """A workspace in which a record, and a person with two others, were erased."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder / "world", n=20)
        self.keys = KeyFolder(folder / "keys")
        self.keys.init()
        self.session = Session(folder / "workspace")
        train(self.session, self.world.config())
        self.record = self.world.ids[5]
        unlearn(self.session, ErasureTargets((self.record,), ("person-7",)), keys=self.keys)

    def live(self, session: Session | None = None) -> set[str]:
        index, _ = index_of((session or self.session).root)
        return set(index.names("record_id"))

    def delete_tombstones(self) -> None:
        with self.session.database() as database, database.write() as conn:
            assert conn.execute(delete(tombstones)).rowcount == 4

    def hashes(self) -> set[str]:
        with self.session.database() as database, database.read() as conn:
            return set(conn.scalars(select(tombstones.c.hash)))

    def differences(self) -> list[str]:
        """Of an audit; `verify` says the same."""
        found = audit(self.session, self.keys.public_keys()).differences
        assert set(found) <= set(verify(self.session).differences)
        return list(found)


@pytest.fixture
def erased(tmp_path: Path) -> Erased:
    return Erased(tmp_path)


def test_train_puts_them_back(erased: Erased) -> None:
    """The state is the same, and nobody came back."""
    before, live = erased.hashes(), erased.live()
    assert erased.differences() == []
    erased.delete_tombstones()
    [said] = erased.differences()
    assert "4 tombstones of erased records and subjects are missing" in said
    done = train(erased.session, erased.world.config())
    assert (done.put_back, done.ingested.left_out) == (4, 3)
    assert (erased.hashes(), erased.live()) == (before, live)
    assert erased.differences() == []
    [note] = tombstone_notes(done.put_back)
    assert note.startswith("4 tombstones of erased records were missing and are put back")
    assert train(erased.session, erased.world.config()).put_back == 0


def test_who_came_back_is_seen(erased: Erased, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a release that put none back."""
    monkeypatch.setattr(training, "put_back", lambda _: 0)
    erased.delete_tombstones()
    train(erased.session, erased.world.config())
    assert erased.record in erased.live()
    said = "4 records or subjects that were erased are in the published state"
    assert any(said in sentence for sentence in erased.differences())


def test_who_was_let_in_again_is_no_difference(erased: Erased) -> None:
    """The ledger says whom a training let in, by keyed hashes; the others must stay away."""
    listed = erased.world.folder / "readmit.txt"
    listed.write_text(f"{erased.record}\n")
    done = train(erased.session, erased.world.config(data={"readmit": str(listed)}))
    assert done.ingested.let_in_again == 1
    assert erased.record in erased.live()
    assert erased.differences() == []
    assert train(erased.session, erased.world.config()).put_back == 0
    with erased.session.database() as database, database.write() as conn:
        conn.execute(delete(tombstones))
    [said] = erased.differences()
    assert said.startswith("3 tombstones")
    unlearn(erased.session, ErasureTargets((erased.record,)), keys=erased.keys)
    [said] = erased.differences()
    assert said.startswith("3 tombstones"), "the record has one again"


@pytest.mark.parametrize("what", ["envelope", "ledger"])
def test_where_nobody_can_tell_nothing_is_trained(erased: Erased, what: str) -> None:
    """The certificate is gone, or an entry of the ledger is another."""
    erased.delete_tombstones()
    with erased.session.database() as database, database.write() as conn:
        if what == "envelope":
            conn.execute(update(requests).values(envelope=None))
        else:
            conn.exec_driver_sql("UPDATE ledger SET kind = 'OTHER' WHERE kind = 'PUBLISHED'")
    with pytest.raises(VerificationError, match="Nobody can tell who was erased"):
        train(erased.session, erased.world.config())
    assert erased.record not in erased.live()


def test_restore_puts_them_back(erased: Erased, tmp_path: Path) -> None:
    """A backup from before the erasure, over a database without tombstones."""
    other = Session(tmp_path / "other")
    train(other, erased.world.config())
    backup(other, to=tmp_path / "b.tar", erasures=None)
    unlearn(other, ErasureTargets((erased.record,)), keys=erased.keys)
    with other.database() as database, database.write() as conn:
        conn.execute(delete(tombstones))
    restore(other, tmp_path / "b.tar")
    assert erased.record not in erased.live(other)
