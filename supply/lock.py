"""Write the versions that are tested, each with the hashes of all its files: make lock

    pyproject.toml ──uv──► constraints.txt       what the program needs, and what builds it
                       └─► constraints-dev.txt   what only its developers need besides

pip refuses a file with another hash (`--require-hashes`). The hashes are of every file that the
package index has of a version, so that another platform or Python installs from the same two lists:
what a version has no wheel for is built from its source, which has a hash too. A version with
neither for the oldest Python is refused, and nothing is written. No address of an index is in the
lists. A version stays until `--upgrade`, or until pyproject.toml no longer allows it.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
PROGRAM, DEVELOPERS = ROOT / "constraints.txt", ROOT / "constraints-dev.txt"
PYTHON = "3.11.5"
"""The oldest Python that all of them install on: what builds the documentation needs it."""
HEADS = {
    PROGRAM: "# What the program needs, and what builds it: make lock writes this.\n"
    "#   pip install --require-hashes --requirement constraints.txt\n",
    DEVELOPERS: "# What developers need besides constraints.txt: make lock writes this.\n",
}
Pins = dict[str, str]
"""By name: a requirement with its marker and hashes, as the lines of a requirements file."""


def read_pins(text: str) -> Pins:
    """The pins of a requirements file, in its order."""
    blocks = re.findall(r"^[A-Za-z0-9].*\n(?:[ \t].*\n)*", text, re.MULTILINE)
    return {re.split(r"[=\s;\[]", block, maxsplit=1)[0]: block for block in blocks}


def head(pin: str) -> str:
    """A pin without its hashes: name, version and marker."""
    return pin.partition("\\")[0].strip()


def compiled(words: Sequence[str], known: str, *, upgrade: bool) -> Pins:
    """What uv makes of a requirement. words: the extra options of uv; known: pins to keep."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    with TemporaryDirectory() as scratch:
        builds, found = Path(scratch) / "builds.in", Path(scratch) / "found.txt"
        builds.write_text("\n".join(project["build-system"]["requires"]))
        found.write_text(known)
        options = [
            *("--universal", "--python-version", PYTHON, "--generate-hashes"),
            *("--no-annotate", "--no-header", "--quiet", "--output-file", str(found)),
            *(["--upgrade"] if upgrade else []),
        ]
        uv_compile([*options, *words, str(builds)])
        return read_pins(found.read_text())


def check_oldest_python(pins: Pins) -> None:
    """Every version has a file that the oldest Python can take: a universal resolution is content
    with a wheel for any Python. Errors: CalledProcessError, after uv's own words."""
    with TemporaryDirectory() as scratch:
        words = Path(scratch) / "pins.in"
        words.write_text("\n".join(map(head, pins.values())))
        uv_compile(["--quiet", "--no-deps", "--python-version", PYTHON, str(words)])


def uv_compile(words: Sequence[str]) -> None:
    """uv's resolver, in the project's root."""
    subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "uv", "pip", "compile", *words],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def lists(known: str, *, upgrade: bool) -> Mapping[Path, Pins]:
    """Both lists. The developers' is made first and holds all, so that the program's has the same
    versions, for every platform on which anybody needs them."""
    everything = compiled(["pyproject.toml", "--extra", "dev"], known, upgrade=upgrade)
    program = compiled(["pyproject.toml"], "".join(everything.values()), upgrade=False)
    both = {name: everything[name] for name in program}
    others = {name: pin for name, pin in everything.items() if name not in program}
    return {PROGRAM: both, DEVELOPERS: others}


def main(argv: Sequence[str] | None = None) -> int:
    """Write both lists. Returns the exit code."""
    parser = argparse.ArgumentParser("supply.lock", description="Write the constraints.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    args = parser.parse_args(argv)
    known = "".join(path.read_text() for path in HEADS if path.exists())
    both = lists(known, upgrade=args.upgrade)
    check_oldest_python({name: pin for pins in both.values() for name, pin in pins.items()})
    for path, pins in both.items():
        path.write_text(HEADS[path] + "".join(pins.values()))
        print(f"{path.name}: {len(pins)} versions, {path.read_text().count('--hash')} hashes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
