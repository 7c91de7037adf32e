"""The verbs that ask a workspace: `predict`, `evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeraser_ray.cli.table import table
from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, share, workspace_of
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.operations.predict import Predicting


PREDICT = (Argument("images", "picture files", type=Path, nargs="+", metavar="IMAGE"),)


def run_predict(args: Arguments, progress: Progress) -> Report:
    """Label pictures."""
    done = workspace_of(args, progress).predict(args.images)
    entries = [
        {"image": str(image), **prediction(done, at)} for at, image in enumerate(args.images)
    ]
    lines = [
        f"{entry['image']}: {entry['label']} ("
        + ", ".join(f"{name} {p:.3f}" for name, p in list(entry["probabilities"].items())[:3])
        + ") answered by shard "
        + ", ".join(str(part["shard"]) for part in entry["shards"])
        for entry in entries
    ]
    return Report("\n".join(lines), {"predictions": entries, "seconds": progress.rounded()})


def prediction(done: "Predicting", at: int) -> dict[str, Any]:
    """Return the prediction of the picture at a position as JSON: the label, the probabilities from
    the highest down, and the shards that answered."""
    found = done.predictions
    row = found.probabilities[at].tolist()
    ranked = sorted(zip(found.classes, row, strict=True), key=lambda entry: -entry[1])
    label, probability = ranked[0]
    shards = [
        {
            "shard": int(k),
            "key": done.manifest.shards[k].constituent.key,
            "weight": round(float(weight), 6),
        }
        for k, weight in zip(found.routes.shards[at], found.routes.weights[at], strict=True)
    ]
    return {
        "label": label,
        "probability": probability,
        "probabilities": {name: round(p, 6) for name, p in ranked if p > 0},
        "shards": shards,
    }


def run_evaluate(args: Arguments, progress: Progress) -> Report:
    """Measure the accuracy on test records and on the remaining training records."""
    done = workspace_of(args, progress).evaluate()
    scored = [
        (k, size, *done.test.by_shard.get(k, (None, 0))) for k, size in enumerate(done.shard_sizes)
    ]
    data = {
        "accuracy": {"test": done.test.accuracy, "train": done.train.accuracy},
        "per_class": done.test.by_class,
        "per_shard": [
            {"shard": k, "size": size, "queries": queries, "accuracy": accuracy}
            for k, size, accuracy, queries in scored
        ],
        "quarantined": list(done.quarantined),
        "fingerprint": done.fingerprint,
    }
    text = (
        f"test accuracy {share(done.test.accuracy)} on {done.test.records:,} records, "
        f"{share(done.train.accuracy)} on the {done.train.records:,} training records that remain"
    )
    classes = table(
        ["class", "accuracy"], [[name, share(value)] for name, value in done.test.by_class.items()]
    )
    shards = table(
        ["shard", "size", "test queries", "accuracy"],
        [
            [str(k), f"{size:,}", f"{queries:,}", share(accuracy)]
            for k, size, accuracy, queries in scored
        ],
    )
    silent = ", ".join(map(str, done.quarantined))
    notes = (f"shard {silent} is in quarantine, so it was not asked.",) if silent else ()
    return Report(f"{text}\n\n{classes}\n\n{shards}", data, notes)


VERBS = (Verb("predict", run_predict, PREDICT), Verb("evaluate", run_evaluate))
