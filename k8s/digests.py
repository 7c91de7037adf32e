"""Ask the registries for the digests of the images, and write them beside the tags: make images

    images/kustomization.yaml ──tags──► docker buildx imagetools ──digests──► the same file

A digest names one image for ever; a tag is what its registry says today. Needs a network and
docker with buildx, which asks without pulling. The digest of Ray's image, on which ours is built,
is printed as the argument of `docker build`.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from lmeraser_ray.errors import ExecutionError, LmeraserError

HERE = Path(__file__).parent
LIST, DOCKERFILE = HERE / "images" / "kustomization.yaml", HERE.parent / "Dockerfile"
ENTRY = re.compile(
    r"  - \{name: (?P<name>\S+), (?:newName: (?P<place>\S+), )?newTag: (?P<tag>[^,}\s]+)"
    r"(?:, digest: \S+)?\}"
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(image: str) -> str:
    """What the registry has under a tag: `sha256:` and 64 hexadecimal digits, of all platforms
    together. Errors: `ExecutionError` where nobody can be asked."""
    words = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", image]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ExecutionError("docker is not installed: it asks registries for digests.") from error
    try:
        found = str(json.loads(done.stdout)["digest"])
    except (ValueError, KeyError, TypeError):
        found = ""
    if done.returncode or not DIGEST.fullmatch(found):
        raise ExecutionError(f"The registry gave no digest of {image}: {done.stderr.strip()}")
    return found


def with_digest(entry: re.Match[str]) -> str:
    """An entry of the list with the digest of its tag."""
    name, place, tag = entry["name"], entry["place"], entry["tag"]
    digest = digest_of(f"{place or name}:{tag.strip(chr(34))}")
    known = f"name: {name}, " + (f"newName: {place}, " if place else "")
    return f"  - {{{known}newTag: {tag}, digest: {digest}}}"


def base_images() -> list[str]:
    """Ray's images that the Dockerfile begins with."""
    [image] = re.findall(r"^FROM (\S+)\$\{VARIANT\}\$\{DIGEST\}$", DOCKERFILE.read_text(), re.M)
    return [image, f"{image}-gpu"]


def main() -> int:
    """Write the digests. Returns the exit code."""
    try:
        LIST.write_text(ENTRY.sub(with_digest, LIST.read_text()))
        for image in base_images():
            print(f"{image}: docker build --build-arg DIGEST=@{digest_of(image)}")
    except LmeraserError as error:
        print(f"k8s.digests: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
