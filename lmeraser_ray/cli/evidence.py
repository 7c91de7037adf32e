"""The verbs of evidence: `keys`, `certificate`, `audit`, and what `verify --certificate` says."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeraser_ray.cli.verb import Arguments, Parser, Report, counted, session_of
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.erasure.certificate.dsse import SigningKey
    from lmeraser_ray.erasure.certificate.keystore import KeyFolder
    from lmeraser_ray.erasure.certificate.verifier import Certificate

KEYS_HELP = "the folder of signing keys (else LMERASER_KEYS, else ~/.config/lmeraser_ray/keys)"


def keys_options(parser: Parser) -> None:
    """What to do, and where the keys are."""
    parser.add_argument(
        "what",
        choices=("init", "rotate", "list"),
        help="make the first key, replace it by a new one, or list all",
    )
    parser.add_argument("--keys", type=Path, metavar="DIR", help=KEYS_HELP)


def run_keys(args: Arguments, _: Progress) -> Report:
    """`lmeraser keys`."""
    from lmeraser_ray.erasure.certificate.keystore import key_folder
    from lmeraser_ray.operations.certificate import keys

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


def certificate_options(parser: Parser) -> None:
    """Whose certificate, and where it goes."""
    parser.add_argument("request", metavar="ID", help="the request, as `lmeraser submit` gave it")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the certificate there, byte for byte (DSSE, JSON)",
    )
    parser.add_argument("--keys", type=Path, metavar="DIR", help=KEYS_HELP)


def run_certificate(args: Arguments, progress: Progress) -> Report:
    """`lmeraser certificate`."""
    from lmeraser_ray.erasure.certificate.keystore import key_folder
    from lmeraser_ray.operations.certificate import certificate

    folder = key_folder(args.keys)
    found = certificate(session_of(args, progress), args.request, folder.public_keys())
    lines = certificate_lines(found)
    if args.output:
        write_file(args.output, found.envelope)
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
    lines = [
        "ok: the signature is that of the key over every byte of the certificate",
        *certificate_lines(found),
    ]
    return Report("\n".join(lines), {"ok": True, **certificate_data(found)})


def certificate_lines(found: "Certificate") -> list[str]:
    """A certificate for people to read."""
    said = found.statement
    outcomes = [target.outcome for target in said.erased.targets]
    named = (
        ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
        or "none"
    )
    constituents = said.constituents
    return [
        f"certificate  SHA-256 {found.sha256}",
        f"signed by    key {found.keyid}",
        f"request      {said.request.id}",
        f"received     {moment(said.request.received)}, due "
        f"{moment(said.deadline.due)}{' (extended)' if said.request.extended else ''}",
        f"done         {moment(said.times.purged)}, "
        f"{'in time' if said.deadline.met else 'LATE: the deadline was not met'}",
        f"erased       {counted(len(said.erased.records), 'record')}; named: {named} (keyed hashes are "
        "in the certificate)",
        f"state        {said.state.before}",
        f"          -> {said.state.after}",
        f"rebuilt      {counted(len(constituents.rebuilt), 'constituent')}, "
        f"{constituents.reused:,} reused; {said.passes:,} record "
        f"passes{', re-clustered' if said.reclustered else ''}",
        f"purged       {counted(said.purged.files, 'file')}",
        f"searched     {scan_line(said.scan)}",
        f"by           lmeraser_ray {said.code.version}, code SHA-256 {said.code.sha256}, ledger "
        f"entry {said.ledger.seq}",
        *(f"not searched {one['place']}: {one['because']}" for one in said.scan["not_searched"]),
        *(f"not reached  {sentence}" for sentence in (*said.transient, *said.backups)),
    ]


def certificate_data(found: "Certificate") -> dict[str, Any]:
    """A certificate as JSON: who signed it and what it says, whole."""
    said = found.statement
    return {
        "certificate": found.sha256,
        "key": found.keyid,
        "checked": found.checked,
        "request": said.request.id,
        "deadline": {"due": said.deadline.due, "met": said.deadline.met},
        "fingerprint_before": said.state.before,
        "fingerprint": said.state.after,
        "statement": said.as_json(),
    }


def moment(text: str) -> str:
    """A moment to the second."""
    return f"{text[:10]} {text[11:19]} UTC"


def scan_line(scan: dict[str, Any]) -> str:
    """What an absence scan did and found, on one line."""
    files, size = (sum(one[name] for one in scan["searched"]) for name in ("files", "bytes"))
    where = (
        f"{counted(files, 'file')}, {size:,} bytes, in {counted(len(scan['searched']), 'place')}"
    )
    return f"{where}, for {counted(scan['records'], 'record')}: {scan['found']} found"


def audit_options(parser: Parser) -> None:
    """How deep, and which head of the ledger."""
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="train the published state again too, and compare bytes",
    )
    parser.add_argument(
        "--head",
        type=Path,
        metavar="FILE",
        help="write the ledger's signed head there, to be kept elsewhere",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="prove that the ledger still holds this signed head",
    )
    parser.add_argument("--keys", type=Path, metavar="DIR", help=KEYS_HELP)


def run_audit(args: Arguments, progress: Progress) -> Report:
    """`lmeraser audit`."""
    from lmeraser_ray.erasure.certificate.keystore import key_folder
    from lmeraser_ray.operations.audit import audit

    folder = key_folder(args.keys)
    against = read_file(args.against, "--against") if args.against else None
    done = audit(
        session_of(args, progress), folder.public_keys(), against=against, rebuild=args.rebuild
    )
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
    notes = write_head(args.head, done.signed_head, folder) if args.head else ()
    return Report(
        f"ok: {', '.join(seen)}\nledger {done.head.hash} at entry {done.head.seq}", data, notes
    )


def write_head(
    path: Path, sign: Callable[["SigningKey"], bytes], folder: "KeyFolder"
) -> tuple[str, ...]:
    """Write the ledger's signed head. Returns notes."""
    key = folder.current()
    write_file(path, sign(key))
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
    """A file that an option names."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{option} {path} cannot be read ({error.strerror}): give the path of a file."
        ) from error


def write_file(path: Path, data: bytes) -> None:
    """Durably write a file that an option names, in one step."""
    from lmeraser_ray.storage.files import write_atomic

    write_atomic(path, data, scratch=path.parent)
