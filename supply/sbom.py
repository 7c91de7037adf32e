"""The bill of materials, and whether every licence in it is allowed: make sbom

    what is installed ──cyclonedx-py──► build/sbom.json ──licenses.yaml──► refused packages

The bill (CycloneDX) lists what this Python has installed: the program's dependencies and its
developers' tools. A package is refused unless each licence that it names is allowed; of a choice
(`OR`) one suffices. What a package carries inside of its files (CUDA's in torch's wheels, Ray's
own copies) is known to the bill only as far as the package's metadata say.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from license_expression import OR, ExpressionError, get_spdx_licensing

from lmeraser_ray.config.foreign_yaml import read_yaml_text
from lmeraser_ray.errors import VerificationError

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("licenses.yaml")
Component = dict[str, Any]


@dataclass(frozen=True)
class LicenseList:
    """What `licenses.yaml` says. allowed: names of licences; stated: the licence of a package that
    names none itself."""

    allowed: frozenset[str]
    stated: dict[str, str]

    @classmethod
    def read(cls, path: Path = LIST) -> "LicenseList":
        """The list of the repository."""
        said: Any = read_yaml_text(path.read_text())
        return cls(frozenset(said["allowed"]), dict(said["stated"]))

    def refused(self, component: Component) -> list[str]:
        """The licences of a component that are not allowed; `none` where it names no licence."""
        name = component["name"]
        texts = list(named(component)) or [self.stated.get(name, "none")]
        return [text for text in texts if not self.allows(text)]

    def allows(self, text: str) -> bool:
        """Whether a licence's name, or an expression of several, is allowed."""
        if text in self.allowed:
            return True
        try:
            tree = get_spdx_licensing().parse(text)
        except ExpressionError:
            return False
        return tree is not None and self._allows(tree)

    def _allows(self, tree: Any) -> bool:
        parts = [self._allows(part) for part in getattr(tree, "args", ())]
        if not parts:  # one licence, with an exception or without
            return str(tree) in self.allowed
        return any(parts) if isinstance(tree, OR) else all(parts)


def named(component: Component) -> Iterator[str]:
    """The licences that a component names: of each an expression, SPDX's name, or another name."""
    for entry in component.get("licenses", ()):
        said = entry.get("license", {})
        yield entry.get("expression") or said.get("id") or said.get("name") or "none"


def write_bill(path: Path, python: str = sys.executable) -> None:
    """Write what a Python has installed, as CycloneDX JSON that is checked against its schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = ["--pyproject", "pyproject.toml", "--output-reproducible", "--validate"]
    subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "cyclonedx_py", "environment", *options, "-o", str(path), python],
        cwd=ROOT,
        check=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bill and print what is refused. Returns the exit code: 0, or 4."""
    parser = argparse.ArgumentParser("supply.sbom", description="Bill of materials and licences.")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "sbom.json", metavar="FILE")
    args = parser.parse_args(argv)
    write_bill(args.output)
    components = json.loads(args.output.read_text())["components"]
    known, wrong = LicenseList.read(), 0
    for component in components:
        for text in known.refused(component):
            wrong += 1
            print(
                f"{component['name']} {component['version']}: its licence is {text}, which "
                f"{LIST.name} does not allow: use another package, or allow it there with a reason."
            )
    print(f"{args.output}: {len(components)} packages, {wrong} licences that are not allowed")
    return VerificationError.exit_code if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
