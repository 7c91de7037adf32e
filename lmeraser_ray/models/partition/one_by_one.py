"""The cost of each deletion where one may move records of others: people stay together, shards
have a bound, or one permanent record alone is sampled. Each deletion is foretold by itself
(`without`) and its shards are compared.

Place in the flow: beside `deletion`, which has the quick ways for partitions in which nobody else
moves. Invariant: the numbers are those of a deletion that is carried out.
"""

import numpy as np

from lmeraser_ray.config import Config, RandomConfig
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.partition.chains import Chains, Positions, changes, dense
from lmeraser_ray.models.partition.common_start import CommonStart
from lmeraser_ray.models.partition.deletion import as_costs
from lmeraser_ray.models.partition.expected import DeletionCosts
from lmeraser_ray.models.partition.recluster import Advance
from lmeraser_ray.models.partition.without import Remaining


def moves_others(config: Config, index: RecordIndex) -> bool:
    """Whether deletions are foretold one by one: leaves fit together again, a person of several
    records has another mean, or behind the last permanent record nothing is as it was."""
    partition = config.partition
    of_people = partition.unit == "subject" and not isinstance(partition, RandomConfig)
    alone = config.wants_permanent and int(index.permanent.sum()) == 1
    return partition.bound is not None or of_people or alone


def one_by_one(
    remaining: Remaining,
    old: Chains,
    positions: Positions,
    *,
    joint: bool = False,
    start: CommonStart | None = None,
    progress: Advance = lambda _: None,
) -> DeletionCosts:
    """The cost of deleting each of `positions` [q] int64, among the training records, by itself.

    old: the shards of the training records; joint: one constituent serves all of them; start: of
    all records, where shards have a common one.
    """
    trains = remaining.index.training
    costs, moved = np.zeros((4, len(positions)), np.int64), np.zeros(len(positions), np.bool_)
    for at, position in enumerate(trains[positions].tolist()):
        gone = np.zeros(len(remaining.index), np.bool_)
        gone[position] = True
        before, after = dense(old.shard, remaining.without(gone)[trains])
        if start and start.stays[position]:
            costs[:, at] = start.among(~remaining.index.test).anew(old, after)
        else:
            tally = changes(old.moved(before), after)
            costs[:, at] = tally.joint() if joint else tally.cost()
            costs[3, at] += start.passes(~gone) if start else 0
        moved[at] = remaining.moves(gone)
        progress(1)
    return as_costs(old, positions, moved, costs)
