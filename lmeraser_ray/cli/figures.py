"""The verbs that show what data and results look like: `figures`, `diversity`."""

from pathlib import Path
from typing import Any

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, counted, timed, workspace_of
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.paths import location

PRIVATE = (
    "These pictures show private records, or what was learned from them, and no erasure reaches "
    "them: keep them where the records may be kept, and delete them when a record that they show "
    "is erased."
)


FIGURES = (
    Argument(
        "--workspace",
        "draw a workspace's shards and prompts instead of a study's results (private records)",
        type=location,
    ),
    Argument(
        "--out",
        "the folder of the pictures (STUDY/figures; with --workspace there is no default)",
        type=Path,
    ),
)


def run_figures(args: Arguments, progress: Progress) -> Report:
    """Draw the figures of a study (PNG, SVG), or a workspace's shards and prompts."""
    from lmeraser_ray.study.figures import study_figures, workspace_figures

    if args.workspace is None:
        if args.overrides:
            raise ConfigError(
                f"--{args.overrides[0][0]} changes nothing in results that are there: give it to "
                "`lmeraser compare`."
            )
        done = study_figures(args.study, args.out or args.study / "figures", progress)
    elif args.study != Path("study"):
        raise ConfigError("--study and --workspace were both given: draw one after the other.")
    elif args.out is None:
        raise ConfigError(
            "--workspace needs --out, a folder outside of the workspace: its pictures would show "
            "private records."
        )
    else:
        done = workspace_figures(workspace_of(args, progress).session, args.out)
    lines = [
        f"{counted(len(done.files), 'file')} written{':' if done.files else ''}",
        *(f"  {path}" for path in done.files),
    ]
    lines += [f"{name} was not drawn: {reason}" for name, reason in done.skipped.items()]
    data = {
        "files": [str(path) for path in done.files],
        "skipped": done.skipped,
        "seconds": progress.rounded(),
    }
    return Report("\n".join(lines), data, (PRIVATE,) if args.workspace and done.files else ())


DIVERSITY = (
    Argument(
        "--metric",
        "distance of stored features, or LPIPS (features)",
        choices=("features", "lpips"),
        default="features",
    ),
    Argument(
        "--pairs",
        "pairs of training records that are drawn by keyed hash (2000)",
        type=int,
        default=2000,
    ),
)


def run_diversity(args: Arguments, progress: Progress) -> Report:
    """Measure how different the training pictures are, and how much less within a shard."""
    from lmeraser_ray.study.diversity import Mean, diversity

    session = workspace_of(args, progress).session
    done = diversity(session, metric=args.metric, pairs=args.pairs)

    def figures(mean: Mean | None) -> dict[str, Any] | None:
        if mean is None:
            return None
        normal = (
            {"normalised": mean.mean / done.norm, "normalised_interval": mean.interval / done.norm}
            if done.norm
            else {}
        )
        return {"mean": mean.mean, "interval": mean.interval, "pairs": mean.pairs, **normal}

    def text(mean: Mean | None) -> str:
        if mean is None:
            return "n/a (no shard has two records)"
        normal = (
            f"; {mean.mean / done.norm:.3f} of the mean norm {done.norm:.3f}" if done.norm else ""
        )
        return f"{mean.mean:.4f} ± {mean.interval:.4f} ({mean.pairs:,} pairs{normal})"

    data = {
        "metric": done.metric,
        "records": done.records,
        "shards": done.shards,
        "between": figures(done.between),
        "within_shards": figures(done.within),
        "norm": done.norm,
        "seconds": progress.rounded(),
    }
    lines = [
        "mean distance "
        f"({'of features, Euclidean' if done.metric == 'features' else 'LPIPS, AlexNet'}) between "
        f"two of {done.records:,} training records: {text(done.between)}",
        f"between two of one shard ({done.shards} shards): {text(done.within)}",
        timed(progress),
    ]
    return Report("\n".join(lines), data)


VERBS = (
    Verb("figures", run_figures, FIGURES, folder="study"),
    Verb("diversity", run_diversity, DIVERSITY),
)
