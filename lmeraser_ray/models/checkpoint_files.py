"""What a file of weights is, by its content and whatever its name: the tree that it holds, or one
sentence that says what it is instead.

Place in the flow: called by `checkpoints.load_checkpoint`. Invariants: nothing is loaded that could
run code; no text of the file, or of the loader, is repeated but the name of a class.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from lmeraser_ray.errors import ConfigError

EXPECTED = "expected a safetensors file or state dict that loads safely"
AGAIN = "bring the file again from where it was published"
LENGTH, MOST = 8, 100_000_000
"""A safetensors file begins with the length of its head in so many bytes; the format's limit."""
GLOBAL = re.compile(r"GLOBAL ([\w.]{1,80})")

BEGINNINGS = (
    (b"version https://git-lfs", "a pointer of Git LFS", "run `git lfs pull` where it was cloned"),
    (b"<", "a web page (HTML or XML)", "download the file itself, not the page about it"),
    (b"{", "JSON, such as an index of files", "give the file of weights that it names"),
    (b"\x1f\x8b", "a gzip archive", "unpack it, and give the file in it"),
    (b"\xfd7zXZ", "an xz archive", "unpack it, and give the file in it"),
    (b"\x89HDF", "an HDF5 file, as Keras writes", "convert it to PyTorch's names of weights"),
    (b"\x93NUMPY", "a NumPy array", "save the weights by their names"),
    (b"GGUF", "a GGUF file", "give the checkpoint that it was made from"),
)
"""What a file is that begins so, and what to do."""


def read_tree(path: Path, data: bytes) -> dict[str, Any]:
    """The mapping in the bytes of the file `path`: weights by name, or what wraps them. Errors:
    `ConfigError` that says what the file is instead, also for a pickle that would run code, which
    is not run."""
    if not data:
        raise refused(path, "is empty", AGAIN)
    if data[LENGTH : LENGTH + 1] == b"{" and int.from_bytes(data[:LENGTH], "little") <= MOST:
        return of_safetensors(path, data)
    if data.startswith(b"PK"):
        require_archive(path, data)
    elif not data.startswith(b"\x80"):
        text = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
        for beginning, what, advice in BEGINNINGS:
            if text.startswith(beginning):
                raise refused(path, f"is {what}", advice)
        if data[257:262] == b"ustar":
            raise refused(path, "is a tar archive", "unpack it, and give the file in it")
    return of_pickle(path, data)


def of_safetensors(path: Path, data: bytes) -> dict[str, Any]:
    """The tensors of a safetensors file."""
    from safetensors.torch import load

    if int.from_bytes(data[:LENGTH], "little") + LENGTH > len(data):
        raise refused(path, "is a safetensors file that was cut off in its head", AGAIN)
    try:
        return dict(load(data))
    except Exception as error:
        raise refused(path, "is a safetensors file that is cut off or damaged", AGAIN) from error


def require_archive(path: Path, data: bytes) -> None:
    """Errors: `ConfigError` where a zip archive is none that `torch.save` writes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except Exception as error:
        raise refused(path, "is a zip archive that is cut off or damaged", AGAIN) from error
    if any(name.endswith("constants.pkl") for name in names):
        raise refused(path, "is a TorchScript program", "save the state dict of its model")
    if not any(name.endswith("data.pkl") for name in names):
        raise refused(path, "is a zip archive of other files", "unpack it, and give the file in it")


def of_pickle(path: Path, data: bytes) -> dict[str, Any]:
    """The mapping that `torch.save` wrote, where it holds tensors and plain values only."""
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        said = str(error)
        if not data.startswith((b"\x80", b"PK")):
            raise refused(path, "is no file of weights", AGAIN) from error
        if "GLOBAL" in said or "Unsupported" in said:
            named = GLOBAL.search(said)
            which = f" ({named[1]})" if named else ""
            raise refused(
                path,
                f"holds pickled objects{which}, which could run code and were not loaded",
                "save its weights alone, by torch.save(model.state_dict(), FILE) or as safetensors",
            ) from error
        raise refused(path, "is a pickle that is cut off or damaged", AGAIN) from error
    if not isinstance(found, dict):
        raise refused(path, f"holds a {type(found).__name__}", "save the weights by their names")
    return found


def refused(path: Path, what: str, advice: str) -> ConfigError:
    """The error that tells what a file is."""
    return ConfigError(f"backbone.weights {path} {what}, {EXPECTED}: {advice}.")
