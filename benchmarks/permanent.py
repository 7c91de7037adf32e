"""What permanent records are worth: accuracy on validation records, and the record passes that the
deletion of one record takes, of systems with and without them. On digits; the test records are
never read. A tenth of the records is permanent, by keyed hash.

    python -m benchmarks.permanent prompts --seeds 10,11,12 [--last]
    python -m benchmarks.permanent ridge --seeds 10,11,12 [--last]

prompts: the quickstart's learner, through the whole flow. ridge: heads in float64, as a stand-in
for closed forms: each shard fits what the permanent records' ridge leaves over, or its own labels.
Shares are of the work of a full training, feature passes included.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.partitions import PENALTY, Cells, Cut, Floats, digits, hashed, ward
from lmeraser_ray.config import Config
from lmeraser_ray.config.quickstart import QUICKSTART
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.sources.digits import digit_entries
from lmeraser_ray.operations.evaluate import score
from lmeraser_ray.operations.single_costs import costs_by_system
from lmeraser_ray.pipeline.flow import load_inputs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.digests import keyed_hash, seeded_key, unit_interval
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.ingested_flow import ingested_flow

SHARE = 0.1
LAST = {"layer": None, "pool": "mean"}
RANDOM = {"kind": "random", "shards": 30}
ADAPTIVE = QUICKSTART["partition"]
PERMANENT = {**ADAPTIVE, "sampled": "permanent", "shards": 50}
START = {"start": "permanent", "share": 0.3}
SYSTEMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "random 30, common start": (RANDOM, START),
    "random 30": (RANDOM, {}),
    "Ward 70 of 150": (ADAPTIVE, {}),
    "Ward 50 of the permanent, common start": (PERMANENT, START),
    "Ward 50 of the permanent": (PERMANENT, {}),
}
"""Partitions, and what of the learner differs from the quickstart's."""


def stays(name: str, seed: int) -> bool:
    """Whether a record is permanent."""
    return unit_interval(keyed_hash(seeded_key(seed, "benchmarks/permanent"), name)) < SHARE


def config_of(
    partition: Mapping[str, Any], learner: Mapping[str, Any], *, seed: int, last: bool, file: Path
) -> Config:
    """A configuration of the quickstart's with other sections."""
    tree = json.loads(json.dumps(QUICKSTART))
    tree |= {"seed": seed, "partition": dict(partition), "execution": {"engine": "inline"}}
    tree["data"]["permanent"] = str(file)
    tree["learner"] |= learner
    if partition["kind"] == "random":
        tree["aggregation"] = {"kind": "all"}
    if last:
        tree["backbone"]["readout"] = LAST
    return Config.model_validate(tree)


def prompts(seed: int, *, last: bool) -> Iterator[tuple[str, dict[str, float]]]:
    """Each system's accuracy and work."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "permanent.txt")
        names = [entry.name for entry in digit_entries() if stays(entry.name, seed)]
        file.write_text("".join(f"{name}\n" for name in names))
        session, store = Session(Path(folder, "study")), Store(Path(folder, "objects"))
        store.create()
        for name, (partition, learner) in SYSTEMS.items():
            config = config_of(partition, learner, seed=seed, last=last, file=file)
            with ingested_flow(session, store, load_inputs(config), "validation") as found:
                flow, buckets = found
                manifest = flow.evaluate(buckets, None).manifest
                index = RecordIndex.read(store, buckets)
                said = score(flow, manifest, index, np.flatnonzero(index.test))
                every = np.arange(len(index.training))
                [costs] = costs_by_system(
                    store, flow.config, manifest, index, every, session.progress
                )
                fixed = index.permanent[index.training]
                yield (
                    name,
                    {
                        "accuracy": float(said.accuracy or 0.0),
                        "passes": float(costs.passes[~fixed].mean()),
                        "one": float(costs.share[~fixed].mean()),
                        "worst": float(costs.share[~fixed].max()),
                        "permanent": float(costs.share[fixed].mean()),
                        "training": float(costs.total.max()),
                    },
                )


def ridge_weights(x: Floats, target: Floats, scale: float) -> Floats:
    """Ridge regression in the dual. x: [m, d + 1], target: [m, 10] → [d + 1, 10]."""
    found: Floats = x.T @ np.linalg.solve(x @ x.T + PENALTY * scale * np.eye(len(x)), target)
    return found


def ridge(seed: int, whole: Floats, labels: NDArray[np.int64]) -> Iterator[tuple[str, Any]]:
    """Each system's accuracy and the share of the training records in a record's shard. whole:
    [n, d], the features of all digits."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(whole))[: int(0.8 * len(whole))]
    held, at = order[: len(order) // 4], order[len(order) // 4 :]
    x = np.concatenate([whole, np.ones((len(whole), 1))], 1)
    target, rank = np.eye(10)[labels], rng.permutation(len(at))
    permanent = np.array([stays(f"digit-{n:04d}", seed) for n in at])
    scale = float(((whole[at] - whole[at].mean(0)) ** 2).sum(1).mean())
    first = ridge_weights(x[at[permanent]], target[at[permanent]], scale)
    mine = np.where(permanent, rank, rank + len(whole))  # the permanent ones alone are sampled
    sample = int(permanent.sum())
    cuts = {
        "random 30": hashed(whole[at], rank, k=30),
        "Ward 70 of 150": ward(whole[at], rank, k=70, sample=150),
        "Ward 50 of the permanent": ward(whole[at], mine, k=50, sample=sample),
        "one shard": Cut(np.zeros(len(at), np.int32), None, 1),
    }
    alone = (x[held] @ first).argmax(1) == labels[held]
    yield "the permanent alone", {"accuracy": float(alone.mean())}
    for name, cut in cuts.items():
        for start in (None, first):
            said = answers(cut, x[at], target[at], x[held], scale, start)
            _, inverse, sizes = np.unique(cut.cells, return_inverse=True, return_counts=True)
            one = float((sizes[inverse][~permanent] / len(at)).mean())
            right = float((said.argmax(1) == labels[held]).mean())
            label = f"{name}, common start" if start is not None else name
            yield label, {"accuracy": right, "records of its shard": one}


def answers(
    cut: Cut, x: Floats, target: Floats, queries: Floats, scale: float, start: Floats | None
) -> Floats:
    """The scores of queries [q, 10]: the mean of all heads, or of the five nearest by distance."""
    shards: Cells = np.unique(cut.cells)
    base = np.zeros((x.shape[1], 10)) if start is None else start
    fit = partial(ridge_weights, scale=scale)
    heads = [
        base + fit(x[cut.cells == n], target[cut.cells == n] - x[cut.cells == n] @ base)
        for n in shards
    ]
    each = np.stack([queries @ head for head in heads])
    if cut.prototypes is None:
        return np.asarray(each.mean(0))
    far = ((queries[:, None, :-1] - cut.prototypes[shards]) ** 2).sum(-1)
    near = np.argsort(far, 1)[:, :5]
    chosen = np.take_along_axis(far, near, 1)
    weights = np.exp(-(chosen / chosen[:, :1] - 1) / 0.2)
    weights /= weights.sum(1, keepdims=True)
    said = weights[:, :, None] * each[near, np.arange(len(near))[:, None]]
    return np.asarray(said.sum(1))


def main() -> None:
    """Print a line of JSON for each system and seed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("heads", choices=("prompts", "ridge"))
    parser.add_argument("--seeds", default="10,11,12")
    parser.add_argument("--last", action="store_true", help="the last features")
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    features = digits(asked.last)[:2] if asked.heads == "ridge" else None
    for seed in seeds:
        found = ridge(seed, *features) if features else prompts(seed, last=asked.last)
        for name, figures in found:
            rounded = {key: round(value, 4) for key, value in figures.items()}
            print(json.dumps({"system": name, "seed": seed, **rounded}), flush=True)


if __name__ == "__main__":
    main()
