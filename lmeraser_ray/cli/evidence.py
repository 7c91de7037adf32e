"""The verbs of evidence: `certificate`, `verify`, `audit`, `fingerprint`, `keys`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeraser_ray.cli.verb import KEYS, Argument, Arguments, Report, Verb, counted, workspace_of
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.foreign_json import read_bounded

if TYPE_CHECKING:
    from lmeraser_ray.erasure.absence.told_scan import ScanJson
    from lmeraser_ray.erasure.certificate.dsse import SigningKey
    from lmeraser_ray.erasure.certificate.keystore import KeyFolder
    from lmeraser_ray.erasure.certificate.verifier import Certificate


KEYS_VERB = (
    Argument(
        "what",
        "make the first key, replace it by a new one, or list all",
        choices=("init", "rotate", "list"),
    ),
    KEYS,
)


def run_keys(args: Arguments, _: Progress) -> Report:
    """Make, rotate and list the keys that sign certificates."""
    from lmeraser_ray.erasure.certificate.keystore import key_folder
    from lmeraser_ray.operations.keys import keys

    done = keys(key_folder(args.keys), args.what)
    public = [
        {"key": keyid, "file": str(path), "signs": keyid == done.signs}
        for keyid, path in done.public.items()
    ]
    signs = (
        f"key {done.signs} signs"
        if done.signs
        else "no key signs yet: the first is made by `lmeraser keys init`"
    )
    lines = [
        f"{done.folder}: {signs}",
        *(f"{'*' if entry['signs'] else ' '} {entry['key']}  {entry['file']}" for entry in public),
    ]
    return Report(
        "\n".join(lines), {"folder": str(done.folder), "signs": done.signs, "keys": public}
    )


CERTIFICATE = (
    Argument("request", "the id that `lmeraser submit` printed", metavar="ID"),
    Argument(
        "--output",
        "write the certificate there, byte for byte (DSSE, JSON)",
        type=Path,
        metavar="FILE",
    ),
    Argument(
        "--letter",
        "write what it says as a letter that a person understands, F.html or F.pdf",
        type=Path,
        metavar="F",
    ),
    KEYS,
)


def run_certificate(args: Arguments, progress: Progress) -> Report:
    """Print the signed certificate of an erasure."""
    from lmeraser_ray.erasure.certificate.keystore import key_folder
    from lmeraser_ray.operations.certificate import require_letter, write_letter
    from lmeraser_ray.storage.whole_file import write_whole

    if args.letter:
        require_letter(args.letter)
    folder = key_folder(args.keys)
    found = workspace_of(args, progress).certificate(args.request, keys=args.keys)
    lines = certificate_lines(found)
    if args.letter:
        write_letter(found, args.letter)
        lines.append(f"letter written to {args.letter}")
    if args.output:
        write_whole(args.output, found.envelope)
        pem = folder.public_path(found.keyid) if found.checked else "PEM"
        lines.append(
            f"written to {args.output}; to check it: lmeraser verify --certificate {args.output} "
            f"--public_key {pem}"
        )
    notes = (
        ()
        if found.checked
        else (f"the signature was not checked: the public key {found.keyid} is not at hand here.",)
    )
    return Report(
        "\n".join(lines), {**certificate_data(found), "envelope": found.envelope.decode()}, notes
    )


def certificate_lines(found: "Certificate") -> list[str]:
    """Return a certificate as lines for people to read."""
    from lmeraser_ray.erasure.absence.told_scan import read_scan, tested_only

    said = found.statement
    scan = read_scan(said.scan)
    outcomes = [target.outcome for target in said.erased.targets]
    named = (
        ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
        or "none"
    )
    constituents = said.constituents
    rebuilt = (
        f"nothing: what was erased was used for testing only; {constituents.reused:,} reused"
        if tested_only(said.scan, len(said.erased.records))
        else f"{counted(len(constituents.rebuilt), 'constituent')}, {constituents.reused:,} "
        f"reused; {said.passes:,} record passes{', re-clustered' if said.reclustered else ''}"
    )
    return [
        f"certificate  SHA-256 {found.sha256}",
        f"signed by    key {found.keyid}",
        f"request      {said.request.id}",
        f"received     {moment(said.request.received)}, due "
        f"{moment(said.deadline.due)}{' (extended)' if said.request.extended else ''}",
        f"done         {moment(said.times.purged)}, "
        f"{'in time' if said.deadline.met else 'LATE: the deadline was not met'}",
        f"erased       {counted(len(said.erased.records), 'record')}; named: {named} (keyed hashes "
        "are in the certificate)",
        f"state        {said.state.before}{' (keyed hash)' if said.version > 1 else ''}",
        f"          -> {said.state.after}",
        f"rebuilt      {rebuilt}",
        f"purged       {counted(said.purged.files, 'file')}",
        f"searched     {scan_line(scan)}",
        f"by           lmeraser_ray {said.code.version}, code SHA-256 {said.code.sha256}, ledger "
        f"entry {said.ledger.seq}",
        *(
            f"accepted     {one.trace} in {one.place} ({one.file}), by an operator on "
            f"{moment(one.accepted)}: still there"
            for one in said.exceptions
        ),
        *(
            f"not searched {one.place}: {one.because}"
            for one in (scan.not_searched if scan else ())
        ),
        *(f"not reached  {sentence}" for sentence in (*said.transient, *said.backups)),
    ]


def certificate_data(found: "Certificate") -> dict[str, Any]:
    """Return a certificate as JSON: the key that signed it and its whole statement."""
    said = found.statement
    return {
        "certificate": found.sha256,
        "key": found.keyid,
        "checked": found.checked,
        "request": said.request.id,
        "deadline": {"due": said.deadline.due, "met": said.deadline.met},
        "exceptions": len(said.exceptions),
        "statement": said.as_json(),
    }


def moment(text: str) -> str:
    """Return a time, to the second."""
    return f"{text[:10]} {text[11:19]} UTC"


def scan_line(scan: "ScanJson | None") -> str:
    """Return what an absence scan searched and found, on one line."""
    if scan is None:
        return "in a form that this version does not show: see the certificate itself"
    files, size = (sum(one.files for one in scan.searched), sum(one.bytes for one in scan.searched))
    where = f"{counted(files, 'file')}, {size:,} bytes, in {counted(len(scan.searched), 'place')}"
    return f"{where}, for {counted(scan.records, 'record')}: {scan.found} found"


AUDIT = (
    Argument(
        "--rebuild", "train the published state again too, and compare bytes", action="store_true"
    ),
    Argument(
        "--head",
        "write the ledger's signed head there, to be kept elsewhere",
        type=Path,
        metavar="FILE",
    ),
    Argument(
        "--against", "prove that the ledger still holds this signed head", type=Path, metavar="FILE"
    ),
    KEYS,
)


def run_audit(args: Arguments, progress: Progress) -> Report:
    """Check the ledger, every request and every certificate against each other."""
    from lmeraser_ray.erasure.certificate.keystore import key_folder

    against = read_file(args.against, "--against") if args.against else None
    done = workspace_of(args, progress).audit(against=against, rebuild=args.rebuild, keys=args.keys)
    data = {
        "ok": done.ok,
        "entries": done.head.seq,
        "head": done.head.hash,
        "requests": done.requests,
        "certificates": done.certificates,
        "differences": list(done.differences),
        "fingerprint": done.fingerprint,
        "against": done.against,
        "rebuilt": done.rebuilt,
        "erased": done.stones.as_json(),
    }
    if not done.ok:
        lines = [
            f"not ok: {counted(len(done.differences), 'difference')}, the first is:",
            *done.differences[:20],
        ]
        return Report("\n".join(lines), data, exit_code=VerificationError.exit_code)
    seen = (
        f"{done.head.seq:,} ledger entries in one chain",
        counted(done.requests, "request"),
        f"{counted(done.certificates, 'certificate')} verified",
        *(("the kept head is in the ledger",) if done.against else ()),
        *(("rebuilt from the live records, every byte is equal",) if done.rebuilt else ()),
    )
    notes = write_head(args.head, done.signed_head, key_folder(args.keys)) if args.head else ()
    return Report(
        f"ok: {', '.join(seen)}\n{done.stones.line()}\nledger {done.head.hash} at entry "
        f"{done.head.seq}",
        data,
        notes,
    )


def write_head(
    path: Path, sign: Callable[["SigningKey"], bytes], folder: "KeyFolder"
) -> tuple[str, ...]:
    """Write the ledger's signed head, and return notes about it."""
    from lmeraser_ray.storage.whole_file import write_whole

    key = folder.current()
    write_whole(path, sign(key))
    made = (
        (f"a signing key was made in {folder.path}: keep a copy of it in a safe place.",)
        if key.made
        else ()
    )
    return (
        *made,
        f"{path} holds the ledger's head: keep it where who can write to the workspace cannot "
        "write.",
    )


def read_file(path: Path, option: str) -> bytes:
    """Read a file that an option names. Errors: `ConfigError`."""
    try:
        return read_bounded(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"{option} {path} cannot be read ({why}): give the path of a file."
        ) from error


def run_fingerprint(args: Arguments, progress: Progress) -> Report:
    """Print the SHA-256 over all that the workspace holds of the private data."""
    found = workspace_of(args, progress).fingerprint()
    return Report(found, {"fingerprint": found})


VERIFY = (
    Argument(
        "--rebuild",
        "train again from the live records in a scratch place and compare bytes",
        action="store_true",
    ),
    Argument(
        "--certificate",
        "check a certificate instead: needs no workspace",
        type=Path,
        metavar="FILE",
    ),
    Argument(
        "--public_key",
        "the key that must have signed it; without it, those of LMERASER_KEYS",
        type=Path,
        metavar="PEM",
    ),
    Argument(
        "--strict",
        "with --certificate: fail where the erasure was late, or certified with exceptions",
        action="store_true",
    ),
)


def run_verify(args: Arguments, progress: Progress) -> Report:
    """Check every digest and that nothing is stray; --rebuild trains again and compares bytes."""
    if args.certificate and args.rebuild:
        raise ConfigError(
            "--rebuild trains a workspace again, --certificate checks a file: give one of them."
        )
    if args.certificate:
        return run_verify_certificate(args)
    if args.public_key or args.strict:
        name = "--public_key" if args.public_key else "--strict"
        raise ConfigError(f"{name} is for a certificate: give --certificate FILE too.")
    done = workspace_of(args, progress).verify(rebuild=args.rebuild)
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
            else "every digest holds, nothing is stray, ledger and requests agree"
        )
        return Report(f"ok: {done.checked} checks, {how}", data)
    lines = [
        f"not ok: {counted(len(done.differences), 'difference')}, the first is:",
        *done.differences[:20],
    ]
    return Report("\n".join(lines), data, exit_code=VerificationError.exit_code)


def run_verify_certificate(args: Arguments) -> Report:
    """`lmeraser verify --certificate FILE`: needs no workspace."""
    from lmeraser_ray.erasure.certificate.keystore import key_folder, read_public_key
    from lmeraser_ray.erasure.certificate.verifier import check_certificate

    keys = (
        dict([read_public_key(args.public_key)]) if args.public_key else key_folder().public_keys()
    )
    envelope = read_file(args.certificate, "--certificate")
    try:
        found = check_certificate(envelope, keys)
    except VerificationError as error:
        raise VerificationError(f"{args.certificate} does not verify. {error}") from error
    flaws = tuple(flaws_of(found))
    failed = args.strict and bool(flaws)
    holds = "the signature is that of the key over every byte of the certificate"
    lines = [
        "; ".join((f"not ok (--strict): {holds}" if failed else f"ok: {holds}", *flaws)),
        *certificate_lines(found),
    ]
    data = {"ok": not failed, "flaws": list(flaws), **certificate_data(found)}
    return Report("\n".join(lines), data, exit_code=VerificationError.exit_code if failed else 0)


def flaws_of(found: "Certificate") -> Iterator[str]:
    """Yield what a certificate says against the erasure itself."""
    said = found.statement
    if not said.deadline.met:
        yield "the erasure was LATE: its deadline was not met"
    if said.exceptions:
        yield (
            f"it was certified with {counted(len(said.exceptions), 'exception')}: findings of the "
            "absence scan that an operator accepted"
        )


VERBS = (
    Verb("certificate", run_certificate, CERTIFICATE),
    Verb("verify", run_verify, VERIFY),
    Verb("audit", run_audit, AUDIT),
    Verb("fingerprint", run_fingerprint),
    Verb("keys", run_keys, KEYS_VERB),
)
