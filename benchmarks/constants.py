"""`python -m benchmarks.constants`: the log loss and accuracy that constants of the closed forms
give, on validation records. A quarter of an hour; `--out docs/results/constants.json` keeps it.

    SCALE         of `models/learners/ridge`: logits are ridge scores times it
    SPREAD_SHARE  of `models/learners/class_means`: the temperature over the mean squared distance
    penalty       of `config/learner.RidgeConfig`, which the presets set

Digits of scikit-learn and of MNIST, of people with ten each, as `benchmarks.persons` writes them. A
seed is a split: people are its test records, and of the others some are held out to judge by, drawn
by the keyed hashes that a training and `sweep.on: validation` draw by. No seed's trial reads its
test records. A *setting* is a set of digits, a readout, its normalisation, a learner and a
partition: one shard, 40 random shards whose answers are averaged, or 40 cells around landmarks, of
which the three nearest answer by distance.

Of each value is reported, over settings, its log loss over that of the setting's best value:
geometric mean and worst; and how many points of accuracy it is below the setting's best.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmarks import machine, persons
from lmeraser_ray.config import ClassMeansConfig, Config, NearestConfig, RidgeConfig
from lmeraser_ray.config.quickstart import QUICKSTART
from lmeraser_ray.data.reader import prepare
from lmeraser_ray.data.subjects import is_test_subject
from lmeraser_ray.models.aggregation.nearest import nearest_shards
from lmeraser_ray.models.backbone import load_backbone
from lmeraser_ray.models.learners.base import Probabilities, ShardData
from lmeraser_ray.models.learners.class_means import SPREAD_SHARE, ClassMeans, likeness
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.quantize import QUANTA, Normalization
from lmeraser_ray.models.learners.ridge import SCALE, Ridge, softmax
from lmeraser_ray.models.numerics import choose_device
from lmeraser_ray.storage.digests import bucket_of, keyed_hash, seeded_key, unit_interval
from lmeraser_ray.study.comparison_table import markdown
from lmeraser_ray.study.hashed_order import hashed_order

SCALES = (4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0, 48.0)
SHARES = (0.01, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3)
READOUTS: dict[str, dict[str, object]] = {
    "fourth stage, flatten": {"layer": 3, "pool": "flatten"},
    "fourth stage, mean2x2": {"layer": 3, "pool": "mean2x2"},
    "last features": {"layer": None, "pool": "mean"},
}
PARTITIONS = ("one", "random", "cells")
PROJECTION = 2000
"""That of the preset `ridge-relu`, which has one shard."""
TRIED = (
    *((learner, partition) for learner in ("class-means", "ridge") for partition in PARTITIONS),
    ("ridge-relu", "one"),
)
SCALED = (0.01, 0.03)
"""Penalties, the default and the presets', at which every scale is tried; at the others `SCALE`."""
LEAST = 1e-12
"""A probability below it is taken for it: a class that no shard of a query knows has 0."""

Positions = NDArray[np.int64]
Source = Callable[[], Iterable[persons.Digit]]
SOURCES: dict[str, Source] = {"digits": persons.of_scikit_learn, "mnist": persons.of_mnist}
Values = dict[str, list[float]]
"""By the value of a constant: log loss, accuracy."""
Trial = dict[str, Values]
"""By constant; `SCALE` by penalty too."""


@dataclass(frozen=True)
class Digits:
    """n digits. features: [n, d] float32; normalize: what was done to them."""

    ids: Sequence[str]
    labels: NDArray[np.str_]
    people: Sequence[str]
    features: NDArray[np.float32]
    normalize: Normalization


@dataclass(frozen=True)
class Split:
    """One seed's. shards: the positions of each of k shards' training records; held [q]: those to
    judge by; weights [q, k]: of each shard in their answers, rows sum to 1."""

    shards: Sequence[Positions]
    held: Positions
    weights: NDArray[np.float64]


def config_of(readout: Mapping[str, object]) -> Config:
    """The quickstart's, its backbone read so."""
    backbone = {**QUICKSTART["backbone"], "readout": readout}
    return Config.model_validate({**QUICKSTART, "backbone": backbone})


def read(digits: Sequence[persons.Digit], readout: Mapping[str, object]) -> Iterator[Digits]:
    """The features of digits, each record's as they are, and as `normalize: layer` has them."""
    config = config_of(readout)
    backbone = load_backbone(
        config.backbone, choose_device("cpu"), classifier=False, data=config.data
    )
    pixels = [prepare(picture, backbone.spec, config.data.max_pixels) for _, _, picture in digits]
    size = backbone.batch
    features = np.concatenate(
        [backbone.features(np.stack(pixels[at : at + size])) for at in range(0, len(pixels), size)]
    )
    ids = [f"{label}/{name}.png" for name, label, _ in digits]
    labels = np.array([label for _, label, _ in digits])
    yield Digits(ids, labels, persons.people(ids), features, "none")
    normal = functional.layer_norm(torch.from_numpy(features), features.shape[1:]).numpy()
    yield Digits(ids, labels, persons.people(ids), normal, "layer")


def sides(digits: Digits, seed: int, config: Config) -> tuple[Positions, Positions]:
    """The positions to train on, and those to judge by. Test records, by the hash that a training
    draws them by, are in neither; the people held out are drawn by the hash of `sweep.on:
    validation`."""
    key = seeded_key(seed, "validation")
    training, held = list[int](), list[int]()
    for at, person in enumerate(digits.people):
        if not is_test_subject(seed, person, config.data.test_fraction):
            hidden = unit_interval(keyed_hash(key, person)) < config.sweep.fraction
            (held if hidden else training).append(at)
    return np.array(training), np.array(held)


def split(digits: Digits, seed: int, partition: str, many: int, config: Config) -> Split:
    """A seed's records in one shard, in random shards whose answers are averaged, or in cells
    around as many landmarks, of which the nearest answer by distance, as by default."""
    training, held = sides(digits, seed, config)
    ids = [digits.ids[at] for at in training]
    if partition == "one":
        return Split([training], held, np.ones((len(held), 1)))
    if partition == "random":
        key = seeded_key(seed, "benchmarks/constants")
        number = np.array([bucket_of(keyed_hash(key, name), many) for name in ids])
        shards = [training[number == each] for each in np.unique(number)]
        return Split(shards, held, np.full((len(held), len(shards)), 1 / len(shards)))
    order = hashed_order(ids, seed, "benchmarks/constants")
    landmarks = digits.features[training[order[:many]]].astype(np.float64)
    cells, _ = nearest_shards(digits.features[training], landmarks, NearestConfig(shards=1))
    present = np.unique(cells)
    near, found = nearest_shards(digits.features[held], landmarks[present], NearestConfig())
    weights = np.zeros((len(held), len(present)))
    np.put_along_axis(weights, near, found, 1)
    return Split([training[cells[:, 0] == each] for each in present], held, weights)


def judged(
    digits: Digits, part: Split, answers: Sequence[tuple[Constituent, Probabilities]]
) -> list[float]:
    """Log loss and accuracy of the shards' answers, weighed."""
    classes = np.unique(digits.labels)
    total = np.zeros((len(part.held), len(classes)))
    for (constituent, probabilities), weight in zip(answers, part.weights.T, strict=True):
        places = np.searchsorted(classes, constituent.classes)
        total[:, places] += weight[:, None] * probabilities
    right = np.searchsorted(classes, digits.labels[part.held])
    found = total[np.arange(len(right)), right]
    loss = -np.log(np.maximum(found, LEAST)).mean()
    return [float(loss), float((total.argmax(1) == right).mean())]


def shard_of(digits: Digits, rows: Positions) -> ShardData:
    """A shard's features and labels; nothing is drawn from its key."""
    return ShardData("00" * 32, digits.features[rows], tuple(digits.labels[rows].tolist()))


def trial_of_ridge(digits: Digits, part: Split, projection: int) -> Trial:
    """Every penalty, at some of them every scale."""
    quantum, queries = QUANTA[digits.normalize], digits.features[part.held]
    shards = [shard_of(digits, rows) for rows in part.shards]
    learner = Ridge(RidgeConfig(projection=projection), quantum=quantum)
    whole = learner.count(shards[0].inputs, shards[0].labels) if len(shards) == 1 else None
    found: Trial = {}
    for penalty in PENALTIES:
        learner = Ridge(RidgeConfig(projection=projection, penalty=penalty), quantum=quantum)
        trained = [
            learner.constituent(whole) if whole is not None else learner.train(shard)
            for shard in shards
        ]
        scores = scores_of(learner, trained, queries)
        found[f"SCALE at penalty {penalty}"] = {
            str(scale): judged(
                digits, part, [(each, softmax(score, scale)) for each, score in scores]
            )
            for scale in (SCALES if penalty in SCALED else (SCALE,))
        }
    found["penalty"] = {
        str(penalty): found[f"SCALE at penalty {penalty}"][str(SCALE)] for penalty in PENALTIES
    }
    return {name: values for name, values in found.items() if len(values) > 1}


def scores_of(
    learner: Ridge, trained: Sequence[Constituent], queries: NDArray[np.float32]
) -> list[tuple[Constituent, NDArray[np.float64]]]:
    """Each shard's scores, all in one product."""
    tensors = {
        name: np.concatenate([each.tensors[name] for each in trained])
        for name in ("weight", "bias")
    }
    ends = np.cumsum([len(each.classes) for each in trained])[:-1]
    scores = learner.scores(Constituent((), tensors, {}), queries)
    return list(zip(trained, np.split(scores, ends, axis=1), strict=True))


def trial_of_means(digits: Digits, part: Split) -> Trial:
    """Every share of the spread."""
    learner = ClassMeans(ClassMeansConfig(), quantum=QUANTA[digits.normalize])
    trained = [learner.train(shard_of(digits, rows)) for rows in part.shards]
    far = [(each, *learner.distances(each, digits.features[part.held])) for each in trained]
    return {
        "SPREAD_SHARE": {
            str(share): judged(
                digits,
                part,
                [(each, likeness(distances, share * spread)) for each, distances, spread in far],
            )
            for share in SHARES
        }
    }


def trials(
    digits: Digits, seeds: int, many: int, config: Config
) -> Iterator[tuple[str, str, list[Trial]]]:
    """Learner, partition, and the trial of each seed."""
    for learner, partition in TRIED:
        found = []
        for seed in range(seeds):
            part = split(digits, seed, partition, many, config)
            projection = PROJECTION if learner == "ridge-relu" else 0
            found.append(
                trial_of_means(digits, part)
                if learner == "class-means"
                else trial_of_ridge(digits, part, projection)
            )
        yield learner, partition, found


def mean_of(found: Sequence[Trial]) -> Trial:
    """Log loss and accuracy of each value, means over the seeds."""
    return {
        constant: {
            value: np.mean([each[constant][value] for each in found], axis=0).round(5).tolist()
            for value in values
        }
        for constant, values in found[0].items()
    }


def summary(settings: Sequence[Trial]) -> dict[str, dict[str, dict[str, float]]]:
    """Of each value of each constant, over the settings that have it."""
    constants = sorted({constant for each in settings for constant in each})
    return {
        constant: compared([each[constant] for each in settings if constant in each])
        for constant in constants
    }


def compared(settings: Sequence[Values]) -> dict[str, dict[str, float]]:
    """Of each value: its log loss over that of each setting's best, and its accuracy below that of
    each setting's best."""
    found = np.array([list(each.values()) for each in settings])  # [settings, values, 2]
    ratio = found[:, :, 0] / found[:, :, 0].min(1, keepdims=True)
    below = found[:, :, 1].max(1, keepdims=True) - found[:, :, 1]
    return {
        value: {
            "log loss over the best": round(float(np.exp(np.log(ratio[:, at]).mean())), 3),
            "worst": round(float(ratio[:, at].max()), 2),
            "accuracy": round(float(found[:, at, 1].mean()), 4),
            "below the best": round(float(below[:, at].mean()), 4),
            "worst below": round(float(below[:, at].max()), 4),
        }
        for at, value in enumerate(settings[0])
    }


def tables(found: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> str:
    """A summary as Markdown, a table a constant: log loss over the best, accuracy, by partition."""
    return "\n\n".join(
        markdown(
            (
                f"`{constant}`",
                *(f"{part}: log loss over the best" for part in PARTITIONS),
                *(f"{part}: accuracy" for part in PARTITIONS),
            ),
            [
                (
                    value,
                    *(f"{each[value]['log loss over the best']:.2f}" for each in by_partition),
                    *(f"{each[value]['accuracy']:.4f}" for each in by_partition),
                )
                for value in by_partition[0]
            ],
        ).strip()
        for constant in (f"SCALE at penalty {SCALED[-1]}", "SPREAD_SHARE", "penalty")
        for by_partition in [[found[part][constant] for part in PARTITIONS]]
    )


def measured(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Every setting, with its means over the seeds."""
    for name in options.digits:
        digits = list(SOURCES[name]())[:: options.every]
        for readout in options.readouts:
            config = config_of(READOUTS[readout])
            for side in read(digits, READOUTS[readout]):
                for learner, partition, found in trials(
                    side, options.seeds, options.shards, config
                ):
                    machine.say(f"{name}, {readout}, {side.normalize}: {learner}, {partition}")
                    yield {
                        "digits": name,
                        "readout": readout,
                        "normalize": side.normalize,
                        "learner": learner,
                        "partition": partition,
                        "by value": mean_of(found),
                    }


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.constants", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--digits", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--readouts", nargs="+", choices=READOUTS, default=list(READOUTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=40, help="random shards, and cells")
    parser.add_argument("--every", type=int, default=1, help="take every so many-th digit")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    parser.add_argument("--table", type=Path, help="print the tables of such a file, and end")
    return parser.parse_args()


def main() -> None:
    """Measure, summarise by set of digits and over both, report."""
    options = parsed()
    if options.table:
        print(tables(json.loads(options.table.read_text())["summary"]))
        return
    torch.set_num_threads(1)
    settings, result = list[dict[str, object]](), dict[str, object]()
    for found in measured(options):
        settings.append(found)
        result = reported(options, settings)
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    machine.report(result)


def reported(
    options: argparse.Namespace, settings: Sequence[dict[str, object]]
) -> dict[str, object]:
    """The result so far."""
    return {
        "benchmark": "constants",
        "seeds": options.seeds,
        "shards": options.shards,
        "now": {"SCALE": SCALE, "SPREAD_SHARE": SPREAD_SHARE},
        "summary": {
            name: summary(
                [
                    each["by value"]
                    for each in settings
                    if name in ("all", each["digits"], each["partition"])
                ]
            )
            for name in ("all", *options.digits, *PARTITIONS)
        },
        "settings": settings,
        "machine": machine.describe(),
    }


if __name__ == "__main__":
    main()
