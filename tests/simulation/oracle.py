"""The other side of the law: what a training on some records alone publishes, in a store of its own
that never saw anything else."""

import random
from collections.abc import Iterator, Sequence
from functools import cache
from unittest.mock import patch

from lmeraser_ray.data.buckets import bucket_number, put_bucket, rows_of
from lmeraser_ray.data.feature_file import Features
from lmeraser_ray.data.reader import Rows
from lmeraser_ray.data.record import Record
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.store import Store
from tests.simulation.disk import Disk, SimulatedPath
from tests.simulation.population import CARD, Population, features_of, population
from tests.simulation.world import Image, World, installed


@cache
def trained(kind: int) -> Image:
    """The workspace of a population, trained on all of it."""
    world = World(population(kind), None, kind, [])
    with installed(world):
        train(world.session(), world.population.config)
        return world.image()


class PlainEngine(InlineEngine):
    """The package's own engine, with the features of a simulation."""

    def start(self) -> None:
        """Nothing is loaded."""

    def features(self, parts: Sequence[Rows]) -> Iterator[tuple[int, int, Features]]:
        for at, part in enumerate(parts):
            for first, piece in part.pieces(CARD.batch):
                yield at, first, features_of(self.worker.reader.pixels(piece))


_known: dict[tuple[int, frozenset[str]], str] = {}


def fingerprint_of(people: Population, live: frozenset[str]) -> str:
    """What training on these records alone publishes. Computed once in each process."""
    key = people.kind, live
    if key not in _known:
        before, SimulatedPath.disk = SimulatedPath.disk, Disk()
        rng = random.Random("oracle")
        try:
            with patch("secrets.token_hex", lambda n: rng.randbytes(n).hex()):
                _known[key] = evaluate(people, live)
        finally:
            SimulatedPath.disk = before
    return _known[key]


def evaluate(people: Population, live: frozenset[str]) -> str:
    """Train on these records in an empty store. Returns the fingerprint."""
    config, store = people.config, Store(SimulatedPath("/simulated/apart"), "run")
    store.create()
    buckets: dict[int, list[Record]] = {}
    for each in people.people:
        if each.record in live:
            number = bucket_number(config.seed, each.record, config.data.buckets)
            record = Record(each.record, each.subject, each.label, False, each.image)
            buckets.setdefault(number, []).append(record)
    made = []
    for number, records in sorted(buckets.items()):
        records.sort(key=lambda record: record.record_id.encode())
        images = [record.image for record in records]
        made.append(put_bucket(store, store.listing(), number, rows_of(records), images))
    engine = PlainEngine(store, config, CARD)
    flow = Flow(store, config, CARD, engine, Progress(quiet=True))
    return flow.evaluate(made, None).manifest.fingerprint
