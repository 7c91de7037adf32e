"""Which records and shards of a trained workspace tests of quarantine speak of."""

from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.operations.predict import predict
from lmeraser_ray.operations.queue import run
from lmeraser_ray.pipeline.session import Session
from tests.support.world import World, picture


def training_record(session: Session, world: World) -> tuple[str, int]:
    """A record that trains, and the number of its shard."""
    folder = session.folder
    current = PublishedState.read(folder.store, session.config(), folder.require_published())
    names, constituents = current.index.names("record_id"), current.constituents.tolist()
    return next(
        (name, constituent)
        for name, constituent in zip(names, constituents, strict=True)
        if constituent >= 0
    )


def asked(session: Session) -> set[int]:
    """The numbers of the shards that a prediction asks."""
    done = predict(session, [picture(1), picture(2)])
    return {
        done.manifest.shards[int(k)].number for row in done.predictions.routes.shards for k in row
    }


def keys_of(session: Session, *names: str) -> set[str]:
    """The constituents of the published state that were trained on these records."""
    folder = session.folder
    manifest = folder.require_published()
    current = PublishedState.read(folder.store, session.config(), manifest)
    numbers = {int(current.constituents[at]) for at in current.places(names).values()}
    return {shard.constituent.key for shard in manifest.shards if shard.number in numbers}


def two_of_one_shard(session: Session) -> tuple[str, str]:
    """Two records that train the same constituent."""
    folder = session.folder
    current = PublishedState.read(folder.store, session.config(), folder.require_published())
    names, constituents = current.index.names("record_id"), current.constituents
    first, second, *_ = [
        names[i] for i in range(len(names)) if constituents[i] == constituents.max()
    ]
    return first, second


def work_off(session: Session) -> None:
    """What `lmeraser queue run` does."""
    run(session, keys=key_folder(None), say=lambda _: None)


def session_ids(session: Session) -> list[str]:
    """The ids of the records that train."""
    folder = session.folder
    current = PublishedState.read(folder.store, session.config(), folder.require_published())
    return current.index.names("record_id", current.index.training)
