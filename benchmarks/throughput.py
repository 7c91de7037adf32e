"""`python -m benchmarks.throughput`: how much of the bare backbone's speed is left when one shard
is trained. A minute or two.

Alternating in one process (see `benchmarks.sides`): the real learner on a shard of random pictures,
and a bare loop of forward and input-gradient backward through the same backbone object at the same
batch size, once under the learner's deterministic mode and once in torch's default mode. On the CPU
with one thread, as shards are trained. The same learner, loop and a feature pass alternate with
them through the backbone without folding, whose batch norms run: `folding` in the report is the
speed by processor time as a share of theirs. The defaults are the quickstart's: its backbone,
readout, learner and the mean size of its shards. The learner's share has to be 0.85 at least of
either. `--profile` says where the learner's time goes.
"""

import argparse

import torch

from benchmarks import machine
from benchmarks.sides import compare, learner_side, random_shard
from lmeraser_ray.config import BackboneConfig, PromptHeadConfig, ReadoutConfig
from lmeraser_ray.config.quickstart import quickstart
from lmeraser_ray.models import numerics
from lmeraser_ray.models.backbone import Backbone, load_backbone

REQUIRED = 0.85
"""The least share of the bare loop's speed that a training may have."""


def arguments() -> argparse.Namespace:
    """The options."""
    quick = quickstart()
    parser = argparse.ArgumentParser(
        "python -m benchmarks.throughput", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--backbone", default=quick.backbone.name, help="a timm model, or tiny")
    parser.add_argument(
        "--weights", default="random", help="random, embedded, pretrained or a file"
    )
    parser.add_argument(
        "--size", type=int, default=quick.backbone.input_size, help="side of the input in pixels"
    )
    parser.add_argument(
        "--layer", type=layer, default=quick.backbone.readout.layer, help="readout layer, or null"
    )
    parser.add_argument(
        "--pool",
        default=quick.backbone.readout.pool,
        choices=["mean", "mean2x2", "flatten", "token"],
    )
    parser.add_argument("--prompt-width", type=int, default=quick.learner.prompt.width)
    parser.add_argument("--batch", type=int, default=quick.learner.batch)
    parser.add_argument("--dtype", default=quick.learner.dtype, choices=["float32", "bfloat16"])
    parser.add_argument("--epochs", type=int, default=quick.learner.epochs)
    parser.add_argument(
        "--records",
        type=int,
        default=36,
        help="in the shard (the quickstart: 1,437 training records in 40 shards)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often the sides alternate")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "auto"])
    parser.add_argument(
        "--profile",
        action="store_true",
        help="print the learner's most expensive operators, on stderr",
    )
    return parser.parse_args()


def layer(text: str) -> int | None:
    """A readout layer as it is typed."""
    return None if text == "null" else int(text)


def load(options: argparse.Namespace, *, fold: bool) -> Backbone:
    """The frozen backbone that the options name."""
    readout = ReadoutConfig(layer=options.layer, pool=options.pool)
    config = BackboneConfig(
        name=options.backbone,
        weights=options.weights,
        input_size=options.size,
        readout=readout,
        fold=fold,
    )
    return load_backbone(config, numerics.choose_device(options.device))


def profile(config: PromptHeadConfig, backbone: Backbone, records: int) -> None:
    """One training under torch's profiler; the table by operator goes to stderr."""
    run = learner_side(config, backbone, random_shard(records, backbone.spec.input_size))
    run()
    with torch.profiler.profile() as found:
        run()
    by = "self_cpu_time_total" if backbone.device.type == "cpu" else "self_cuda_time_total"
    machine.say(
        "the learner by operator\n"
        + found.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=45)
    )


def main() -> None:
    """Measure and report."""
    options = arguments()
    numerics.make_deterministic()
    torch.set_num_threads(1)
    on = machine.describe()
    backbone = load(options, fold=True)
    quick = quickstart().learner
    prompt = quick.prompt.model_copy(update={"width": options.prompt_width})
    config = quick.model_copy(
        update={
            "batch": options.batch,
            "epochs": options.epochs,
            "dtype": options.dtype,
            "prompt": prompt,
        }
    )
    machine.say(
        f"{options.backbone} at {options.size} px, batch {options.batch}, {options.records} "
        f"records x {options.epochs} epochs"
    )
    found = compare(
        config,
        backbone,
        random_shard(options.records, options.size),
        rounds=options.rounds,
        unfolded=load(options, fold=False),
    )
    machine.say(f"{len(backbone.folded)} batch norms folded; of the unfolded: {found['folding']}")
    if options.profile:
        profile(config, backbone, options.records)
    asked = {
        name: value for name, value in vars(options).items() if name not in ("profile", "rounds")
    }
    met = min(found["ratio"]["median"], found["ratio_plain"]["median"]) >= REQUIRED
    verdict = {"threads": torch.get_num_threads(), "required": REQUIRED, "met": met}
    machine.report({"benchmark": "throughput", **asked, **found, **verdict, "machine": on})


if __name__ == "__main__":
    main()
