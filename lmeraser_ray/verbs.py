"""Every verb of the command line: its options, what it calls, and its report as text and as JSON."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmeraser_ray.data.names import read_ids
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.options import load_config, to_yaml
from lmeraser_ray.progress import Progress
from lmeraser_ray.session import Session

Parser = argparse.ArgumentParser
Arguments = argparse.Namespace


@dataclass(frozen=True)
class Report:
    """What a verb says. `notes` go to stderr."""

    text: str
    data: dict[str, Any] | None
    notes: tuple[str, ...] = ()
    exit_code: int = 0


@dataclass(frozen=True)
class Verb:
    """One verb."""

    name: str
    about: str
    options: Callable[[Parser], None]
    run: Callable[[Arguments, Progress], Report]


def session_of(args: Arguments, progress: Progress) -> Session:
    """The session that the common options ask for."""
    return Session(args.workspace, progress, overrides=args.overrides)


def share(value: float | None) -> str:
    """A share as a percentage."""
    return "n/a" if value is None else f"{value:.2%}"


def no_options(_: Parser) -> None:
    """The common options are enough."""


# --- train


def train_options(parser: Parser) -> None:
    """Where the configuration comes from."""
    parser.add_argument("--config", type=Path, help="a YAML file; without it, the quickstart configuration")
    parser.add_argument("--print_config", action="store_true", help="print the effective configuration and stop")


def run_train(args: Arguments, progress: Progress) -> Report:
    """`lmeraser train`."""
    config = load_config(args.config, args.overrides)
    if args.print_config:
        return Report(to_yaml(config).rstrip(), None)
    from lmeraser_ray.train import Training, train

    done: Training = train(Session(args.workspace, progress), config)
    manifest, ingested, evaluated = done.manifest, done.ingested, done.evaluated
    data = {
        "workspace": str(args.workspace),
        "records": manifest.records,
        "training_records": manifest.training_records,
        "test_records": manifest.records - manifest.training_records,
        "shards": len(manifest.shards),
        "trained": len(evaluated.trained),
        "reused": evaluated.reused,
        "passes": done.passes,
        "features_computed": evaluated.features_computed,
        "erased_left_out": ingested.left_out,
        "excluded": ingested.excluded,
        "equal_pictures": ingested.twins,
        "accuracy": {"test": done.test.accuracy},
        "seconds": progress.rounded(),
        "fingerprint": manifest.fingerprint,
    }
    text = (
        f"{manifest.training_records:,} training records in {len(manifest.shards)} shards: {len(evaluated.trained)} trained, "
        f"{evaluated.reused} reused\ntest accuracy {share(done.test.accuracy)} on {done.test.records:,} records\n"
        f"seconds {', '.join(f'{name} {value:.1f}' for name, value in progress.seconds.items())}\nfingerprint {manifest.fingerprint}"
    )
    return Report(text, data, train_notes(ingested))


def train_notes(ingested: Any) -> tuple[str, ...]:
    """What a person should know of what came in."""
    notes = []
    if ingested.left_out:
        notes.append(f"{ingested.left_out} records were erased before and are left out (--data.readmit FILE lets ids in again).")
    if ingested.unknown_exclusions:
        notes.append(f"data.exclude names {len(ingested.unknown_exclusions)} ids that the source does not have.")
    if ingested.twins:
        notes.append(
            f"{ingested.twins} records have a picture that another record has too: erasing one leaves the other, "
            "so name both, or give them one subject."
        )
    return tuple(notes)


# --- predict


def predict_options(parser: Parser) -> None:
    """Which pictures."""
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="picture files")


def run_predict(args: Arguments, progress: Progress) -> Report:
    """`lmeraser predict`."""
    from lmeraser_ray.predict import predict

    done = predict(session_of(args, progress), args.images)
    found, lines, entries = done.predictions, [], []
    for at, image in enumerate(args.images):
        row = found.probabilities[at]
        ranked = sorted(zip(found.classes, row.tolist(), strict=True), key=lambda pair: -pair[1])
        answered = [
            {"shard": int(k), "key": done.manifest.shards[k].constituent.key, "weight": round(float(w), 6)}
            for k, w in zip(found.routes.shards[at], found.routes.weights[at], strict=True)
        ]
        probabilities = {name: round(p, 6) for name, p in ranked if p > 0}
        label, probability = ranked[0]
        about = {"label": label, "probability": probability, "probabilities": probabilities, "shards": answered}
        entries.append({"image": str(image), **about})
        first = ", ".join(f"{name} {p:.3f}" for name, p in ranked[:3] if p > 0)
        lines.append(f"{image}: {label} ({first}) answered by shard {', '.join(str(part['shard']) for part in answered)}")
    return Report("\n".join(lines), {"predictions": entries, "seconds": progress.rounded()})


# --- evaluate


def run_evaluate(args: Arguments, progress: Progress) -> Report:
    """`lmeraser evaluate`."""
    from lmeraser_ray.evaluate import evaluate

    done = evaluate(session_of(args, progress))
    scored = [(k, size, *done.test.by_shard.get(k, (None, 0))) for k, size in enumerate(done.shard_sizes)]
    shards = [{"shard": k, "size": size, "queries": queries, "accuracy": accuracy} for k, size, accuracy, queries in scored]
    data = {
        "accuracy": {"test": done.test.accuracy, "train": done.train.accuracy},
        "per_class": done.test.by_class,
        "per_shard": shards,
        "fingerprint": done.fingerprint,
    }
    lines = [
        f"test accuracy {share(done.test.accuracy)} on {done.test.records:,} records, {share(done.train.accuracy)} on the "
        f"{done.train.records:,} training records that remain",
        "by class  " + "  ".join(f"{name} {share(value)}" for name, value in done.test.by_class.items()),
        "shard  size  test queries  accuracy",
        *(f"{k:>5}  {size:>4}  {queries:>12}  {share(accuracy):>8}" for k, size, accuracy, queries in scored),
    ]
    return Report("\n".join(lines), data)


# --- unlearn


def unlearn_options(parser: Parser) -> None:
    """What is to be erased."""
    parser.add_argument("--records", action="append", default=[], metavar="ID,…", help="record ids; may be repeated")
    parser.add_argument("--subjects", action="append", default=[], metavar="ID,…", help="subjects, with all their records; may be repeated")
    parser.add_argument("--file", type=Path, help="a file of record ids, one a line (for ids with commas too)")


def run_unlearn(args: Arguments, progress: Progress) -> Report:
    """`lmeraser unlearn`."""
    from lmeraser_ray.unlearn import Request, parse_request, unlearn

    typed = parse_request(args.records, args.subjects)
    request = Request(tuple(dict.fromkeys((*typed.records, *sorted(read_ids(args.file, "--file"))))), typed.subjects)
    done = unlearn(session_of(args, progress), request)
    evaluated = done.evaluated
    data = {
        "removed": done.removed,
        "already_erased": list(done.already),
        "shards": len(done.after.shards),
        "retrained": len(evaluated.trained) if evaluated else 0,
        "reused": evaluated.reused if evaluated else len(done.after.shards),
        "reclustered": evaluated.reclustered if evaluated else False,
        "passes": done.passes,
        "seconds": progress.rounded(),
        "fingerprint_before": done.before.fingerprint,
        "fingerprint": done.after.fingerprint,
    }
    text = (
        f"{done.removed} records removed; {data['retrained']} of {data['shards']} shards trained again, {data['reused']} reused"
        f"{', re-clustered' if data['reclustered'] else ''}\nseconds "
        f"{', '.join(f'{name} {value:.1f}' for name, value in progress.seconds.items())}\n"
        f"fingerprint {done.before.fingerprint}\n         -> {done.after.fingerprint}"
    )
    notes = (f"{len(done.already)} ids had been erased before: {', '.join(done.already[:5])}.",) if done.already else ()
    return Report(text, data, notes)


# --- cost


def cost_options(parser: Parser) -> None:
    """Whose deletion."""
    parser.add_argument("--records", action="append", default=[], metavar="ID,…", help="record ids; without it, every training record")


def run_cost(args: Arguments, progress: Progress) -> Report:
    """`lmeraser cost`."""
    from lmeraser_ray.cost import cost
    from lmeraser_ray.partition.expected import summarize
    from lmeraser_ray.unlearn import parse_request

    done = cost(session_of(args, progress), parse_request(args.records, []).records)
    found = summarize(done.costs)
    data: dict[str, Any] = {**found, "records": len(done.names), "seconds": progress.rounded()}
    lines = [
        f"one deletion trains {share(found['expected_share'])} of the training records again on average, "
        f"{share(found['p99_share'])} at the 99th percentile, {share(found['worst_share'])} at worst",
        f"unsampled records {share(found['expected_share_unsampled'])}, sampled ones {share(found['expected_share_sampled'])} "
        "(re-clustering included)",
    ]
    if args.records:
        costs = done.costs
        each = [*zip(done.names, costs.retrained.tolist(), costs.share.tolist(), costs.touched.tolist(), strict=True)]
        each += [(name, 0, 0.0, 0) for name in done.test]
        data["deletions"] = [{"record": name, "retrained": n, "share": s, "shards_touched": k} for name, n, s, k in each]
        lines += [f"{name}: {n} records in {k} shards ({share(s)})" for name, n, s, k in each]
    return Report("\n".join(lines), data)


# --- fingerprint, verify


def run_fingerprint(args: Arguments, progress: Progress) -> Report:
    """`lmeraser fingerprint`."""
    from lmeraser_ray.verify import fingerprint

    found = fingerprint(session_of(args, progress))
    return Report(found, {"fingerprint": found})


def verify_options(parser: Parser) -> None:
    """How deep."""
    parser.add_argument("--rebuild", action="store_true", help="train again from the live records in a scratch place and compare bytes")


def run_verify(args: Arguments, progress: Progress) -> Report:
    """`lmeraser verify`."""
    from lmeraser_ray.verify import verify

    done = verify(session_of(args, progress), rebuild=args.rebuild)
    data = {
        "ok": done.ok,
        "checked": done.checked,
        "differences": list(done.differences),
        "fingerprint": done.fingerprint,
        "rebuilt": done.rebuilt,
    }
    if done.ok:
        how = "rebuilt from the live records, every byte is equal" if done.rebuilt else "every digest holds, nothing is stray"
        return Report(f"ok: {done.checked} checks, {how}", data)
    lines = [f"not ok: {len(done.differences)} differences, the first is:", *done.differences[:20]]
    return Report("\n".join(lines), data, exit_code=VerificationError.exit_code)


# --- demo


def run_demo(args: Arguments, progress: Progress) -> Report:
    """`lmeraser demo`."""
    from lmeraser_ray.demo import demo

    return demo(args.workspace, args.overrides, progress)


VERBS = {
    verb.name: verb
    for verb in (
        Verb("train", "train a workspace on its records; what exists is reused, what was interrupted goes on", train_options, run_train),
        Verb("predict", "label pictures", predict_options, run_predict),
        Verb("evaluate", "accuracy on test records and on the remaining training records", no_options, run_evaluate),
        Verb("unlearn", "erase records or subjects: rebuild what changes, publish, purge", unlearn_options, run_unlearn),
        Verb("cost", "the exact share of records that a deletion trains again", cost_options, run_cost),
        Verb("fingerprint", "SHA-256 over all that the workspace holds of the private data", no_options, run_fingerprint),
        Verb(
            "verify", "check every digest and that nothing is stray; --rebuild trains again and compares bytes", verify_options, run_verify
        ),
        Verb("demo", "the whole story on handwritten digits: train, predict, unlearn, verify", no_options, run_demo),
    )
}
