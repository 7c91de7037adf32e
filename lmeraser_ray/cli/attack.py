"""The verb `attack`."""

from pathlib import Path
from typing import Any

from lmeraser_ray.cli.study import check_study, numbers, own_system_notes
from lmeraser_ray.cli.verb import KEEP, Argument, Arguments, Report, Verb
from lmeraser_ray.config.options import read_yaml
from lmeraser_ray.pipeline.progress import Progress

LIGHT: dict[str, Any] = {
    "data": {"source": "digits", "buckets": 2},
    "backbone": {
        "name": "tiny",
        "weights": "random",
        "input_size": 16,
        "batch": 64,
        "readout": {"layer": None, "pool": "flatten", "normalize": "layer"},
    },
    "execution": {"engine": "inline"},
}
"""The setting without --config: digits, and a backbone so small that hundreds of trainings take
minutes on one core."""
LIGHTER = (
    ("partition.shards", "8"),
    ("partition.sample_size", "100"),
    ("learner.kind", "linear_probe"),
    ("learner.head_lr", "0.03"),
    ("learner.epochs", "20"),
    ("learner.batch", "64"),
    ("aggregation.shards", "1"),
)
"""What the system `lmeraser` is there. A half has 720 records: 8 shards of 90, in which a head of
256 inputs can remember each record, and the paper's one prototype answers, so that the attack has
power. A head without a prompt: it learns from stored features and decodes no picture, which takes a
fifth of the time. Any other system is as its own file says."""


ATTACK = (
    Argument(
        "--config",
        "a YAML file for data, backbone and execution; without it, digits and a tiny backbone",
        type=Path,
    ),
    Argument("--system", "a name or a YAML file (lmeraser)", default="lmeraser"),
    Argument(
        "--shadows",
        "models to attack; half as many more choose the memorised records (64)",
        type=int,
        default=64,
    ),
    Argument(
        "--models",
        "models on each side of KLoM, each of all records (200); 0 leaves it out",
        type=int,
        default=200,
    ),
    Argument("--forget", "records in a forget set (40)", type=int, default=40),
    Argument("--share", "share of the epochs that fine-tuning has (0.2)", type=float, default=0.2),
    KEEP,
)


def run_attack(args: Arguments, progress: Progress) -> Report:
    """Measure removal effectiveness: the law, then membership attacks as evidence."""
    from lmeraser_ray.study.variants import variants

    overrides = [pair for pair in args.overrides if pair[0] != "seed"]
    base = read_yaml(args.config) if args.config else LIGHT
    lighter = LIGHTER if base is LIGHT and args.system == "lmeraser" else ()
    [seed] = numbers(str(dict(args.overrides).get("seed", base.get("seed", 0))), "--seed")[:1]
    [variant] = variants(base, [args.system], [*lighter, *overrides], [])
    config = variant.config(seed)
    check_study(args.study, [config])
    from lmeraser_ray.pipeline.session import Session
    from lmeraser_ray.study.attack import AttackRequest, attack
    from lmeraser_ray.study.figures import verb_figure

    question = AttackRequest(
        variant.name,
        config,
        shadows=args.shadows,
        forget=args.forget,
        share=args.share,
        models=args.models,
        keep=args.keep,
    )
    done = attack(Session(args.study, progress), question)
    files = [str(path) for path in (*done.files, *verb_figure(args.study, "attack", progress))]
    sets = {
        name: {method: result.power.auc for method, result in methods.items()}
        for name, methods in done.sets.items()
    }
    data = {"state_equality": done.equality, "auc": sets, "files": files}
    notes = own_system_notes(base, args.config)
    return Report(f"{done.text}\n\nwritten to {', '.join(files)}", data, notes)


VERBS = (Verb("attack", run_attack, ATTACK, folder="study", configures=True),)
