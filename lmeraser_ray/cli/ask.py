"""The verbs that read a workspace: `predict`, `evaluate`, `cost`, `fingerprint`, `verify`."""

from pathlib import Path
from typing import Any

from lmeraser_ray.cli.evidence import run_verify_certificate
from lmeraser_ray.cli.verb import (
    Arguments,
    Parser,
    Report,
    counted,
    refuse_names,
    session_of,
    share,
)
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.pipeline.progress import Progress


def predict_options(parser: Parser) -> None:
    """Which pictures."""
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="picture files")


def run_predict(args: Arguments, progress: Progress) -> Report:
    """`lmeraser predict`."""
    from lmeraser_ray.operations.predict import predict

    done = predict(session_of(args, progress), args.images)
    found, lines, entries = done.predictions, [], []
    for at, image in enumerate(args.images):
        row = found.probabilities[at]
        ranked = sorted(zip(found.classes, row.tolist(), strict=True), key=lambda pair: -pair[1])
        answered = [
            {
                "shard": int(k),
                "key": done.manifest.shards[k].constituent.key,
                "weight": round(float(w), 6),
            }
            for k, w in zip(found.routes.shards[at], found.routes.weights[at], strict=True)
        ]
        probabilities = {name: round(p, 6) for name, p in ranked if p > 0}
        label, probability = ranked[0]
        about = {
            "label": label,
            "probability": probability,
            "probabilities": probabilities,
            "shards": answered,
        }
        entries.append({"image": str(image), **about})
        first = ", ".join(f"{name} {p:.3f}" for name, p in ranked[:3] if p > 0)
        lines.append(
            f"{image}: {label} ({first}) answered by shard "
            f"{', '.join(str(part['shard']) for part in answered)}"
        )
    return Report("\n".join(lines), {"predictions": entries, "seconds": progress.rounded()})


def run_evaluate(args: Arguments, progress: Progress) -> Report:
    """`lmeraser evaluate`."""
    from lmeraser_ray.operations.evaluate import evaluate

    done = evaluate(session_of(args, progress))
    scored = [
        (k, size, *done.test.by_shard.get(k, (None, 0))) for k, size in enumerate(done.shard_sizes)
    ]
    shards = [
        {"shard": k, "size": size, "queries": queries, "accuracy": accuracy}
        for k, size, accuracy, queries in scored
    ]
    data = {
        "accuracy": {"test": done.test.accuracy, "train": done.train.accuracy},
        "per_class": done.test.by_class,
        "per_shard": shards,
        "quarantined": list(done.quarantined),
        "fingerprint": done.fingerprint,
    }
    lines = [
        f"test accuracy {share(done.test.accuracy)} on {done.test.records:,} records, "
        f"{share(done.train.accuracy)} on the {done.train.records:,} training records that remain",
        "by class  "
        + "  ".join(f"{name} {share(value)}" for name, value in done.test.by_class.items()),
        "shard  size  test queries  accuracy",
        *(
            f"{k:>5}  {size:>4}  {queries:>12}  {share(accuracy):>8}"
            for k, size, accuracy, queries in scored
        ),
    ]
    silent = ", ".join(map(str, done.quarantined))
    return Report(
        "\n".join(lines), data, (f"in quarantine, so not asked: shard {silent}.",) if silent else ()
    )


def cost_options(parser: Parser) -> None:
    """Whose deletion."""
    parser.add_argument(
        "--records",
        action="append",
        default=[],
        metavar="ID,…",
        help="record ids; without it, every training record",
    )


def run_cost(args: Arguments, progress: Progress) -> Report:
    """`lmeraser cost`."""
    from lmeraser_ray.erasure.requests.targets import parse_targets
    from lmeraser_ray.models.partition.expected import summarize
    from lmeraser_ray.operations.cost import cost

    refuse_names(bool(args.records), ())
    records = parse_targets(args.records, []).records
    if args.records and not records:
        raise ConfigError(
            "--records names no record: give ids between commas, or leave it out for every "
            "training record."
        )
    done = cost(session_of(args, progress), records)
    found, parameters = summarize(done.costs), done.parameters
    data: dict[str, Any] = {
        **found,
        "parameters": parameters,
        "records": len(done.costs.positions),
        "seconds": progress.rounded(),
    }
    lines = [
        f"one deletion trains {share(found['expected_share'])} of a full training again on "
        f"average, {share(found['p99_share'])} at the 99th percentile, "
        f"{share(found['worst_share'])} at worst"
    ]
    if done.costs.sampled.any():
        lines.append(
            f"unsampled records {share(found['expected_share_unsampled'])}, sampled ones "
            f"{share(found['expected_share_sampled'])} (re-clustering included)"
        )
    if parameters["mean"] is not None:
        lines.append(
            f"{parameters['mean']:,.0f} of {parameters['total']:,} parameters on average, "
            f"{parameters['worst']:,.0f} at worst"
        )
    if args.records:
        costs = done.costs
        columns = (costs.retrained, costs.share, costs.touched, done.retrained)
        each = [
            *zip(done.names, *(column.tolist() for column in columns), strict=True),
            *((name, 0, 0.0, 0, 0.0) for name in done.test),
        ]
        data["deletions"] = [
            {"record": name, "retrained": n, "share": s, "shards_touched": k, "parameters": p}
            for name, n, s, k, p in each
        ]
        lines += [
            f"{name}: {counted(n, 'record')} in {counted(k, 'shard')} ({share(s)})"
            for name, n, s, k, _ in each
        ]
    return Report("\n".join(lines), data)


def run_fingerprint(args: Arguments, progress: Progress) -> Report:
    """`lmeraser fingerprint`."""
    from lmeraser_ray.operations.fingerprint import fingerprint

    found = fingerprint(session_of(args, progress))
    return Report(found, {"fingerprint": found})


def verify_options(parser: Parser) -> None:
    """How deep; or which certificate."""
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="train again from the live records in a scratch place and compare bytes",
    )
    parser.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help="check a certificate instead: needs no workspace",
    )
    parser.add_argument(
        "--public_key",
        type=Path,
        metavar="PEM",
        help="the key that must have signed it; without it, those of LMERASER_KEYS",
    )


def run_verify(args: Arguments, progress: Progress) -> Report:
    """`lmeraser verify`."""
    if args.certificate and args.rebuild:
        raise ConfigError(
            "--rebuild trains a workspace again, --certificate checks a file: give one of them."
        )
    if args.certificate:
        return run_verify_certificate(args)
    if args.public_key:
        raise ConfigError("--public_key is for a certificate: give --certificate FILE too.")
    from lmeraser_ray.operations.verify import verify

    done = verify(session_of(args, progress), rebuild=args.rebuild)
    data = {
        "ok": done.ok,
        "checked": done.checked,
        "differences": list(done.differences),
        "fingerprint": done.fingerprint,
        "rebuilt": done.rebuilt,
    }
    if done.ok:
        how = (
            "rebuilt from the live records, every byte is equal"
            if done.rebuilt
            else "every digest holds, nothing is stray"
        )
        return Report(f"ok: {done.checked} checks, {how}", data)
    lines = [
        f"not ok: {counted(len(done.differences), 'difference')}, the first is:",
        *done.differences[:20],
    ]
    return Report("\n".join(lines), data, exit_code=VerificationError.exit_code)
