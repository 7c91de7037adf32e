"""The frozen public backbone: from normalised pictures to features; nothing about it is trained.

    >>> config = BackboneConfig(name="tiny", weights="random", input_size=16)
    >>> backbone = load_backbone(config, torch.device("cpu"))
    >>> backbone.features(np.zeros((2, 3, 16, 16), np.uint8)).shape
    (2, 16)

Place in the flow: records → features, and inside every learner of pictures. Invariants: evaluation
mode, no gradient to the weights; the identity is a digest of architecture, weights before folding,
preprocessing, readout and what is folded, not of where the weights came from or of the classifier
behind the features; a feature pass has one fixed batch shape and, on the CPU, one thread, so that a
record's bits do not depend on its batch-mates or on how busy the machine is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.config import BackboneConfig, DataConfig, ReadoutConfig
from lmeraser_ray.config.slips import near
from lmeraser_ray.data.spec import Interpolation, PictureSpec
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.checkpoints import (
    EMBEDDED,
    MODEL_ERRORS,
    Weights,
    behind_pre_logits,
    load_checkpoint,
    load_embedded,
)
from lmeraser_ray.models.efficientnet_lite0 import EfficientNetLite0
from lmeraser_ray.models.folding import fold_norms
from lmeraser_ray.models.numerics import one_thread
from lmeraser_ray.models.readout import pooled_features
from lmeraser_ray.storage.digests import canonical_json, key_of

PIPELINE = 1
"""Raised whenever a change to the decoding of pictures or to the readout changes the bits of a
feature."""


class TinyConvnet(nn.Module):
    """A small random convnet for tests and examples: two strided convolutions, 16 features."""

    default_cfg: ClassVar = {
        "input_size": (3, 16, 16), "interpolation": "bilinear",
        "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5),
        "num_classes": 10, "classifier": "classifier",
    }  # fmt: skip

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.body = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.classifier = nn.Linear(16, classes) if classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """x: [b, 3, h, w] float32 → [b, 16, h/4, w/4]."""
        return functional.gelu(self.body(functional.gelu(self.stem(x))))

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, 3, h, w] float32 → [b, 16], or [b, classes]."""
        return self.classifier(self.forward_features(x).mean((2, 3)))  # type: ignore[no-any-return]


class Backbone:
    """A loaded, frozen backbone on a device; `load_backbone` builds it. dimension: d, the numbers
    of a feature; batch: pictures in one feature pass; identity: SHA-256 in hexadecimal; folded: the
    convolutions that took in the batch norms behind them, by name."""

    def __init__(
        self,
        module: nn.Module,
        spec: PictureSpec,
        readout: ReadoutConfig,
        batch: int,
        name: str,
        device: torch.device,
        classifier: nn.Module | None = None,
        *,
        fold: bool = False,
    ) -> None:
        self.module = module.eval().requires_grad_(False)
        self.spec, self.readout, self.batch, self.device = spec, readout, batch, device
        self.name = name
        weights = weight_parts(module)
        self.folded = fold_norms(module, (self.read, module), spec.input_size) if fold else ()
        self.identity = backbone_identity(name, weights, spec, readout, batch, self.folded)
        module.to(device).to(memory_format=torch.channels_last)
        self._mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1) * 255
        self.dimension = self._probe()
        self.classifier = (
            None if classifier is None else classifier.eval().requires_grad_(False).to(device)
        )
        self.classifier_identity = (
            None if classifier is None else key_of("classifier/1", *weight_parts(classifier))
        )

    def _probe(self) -> int:
        blank = torch.zeros(1, 3, self.spec.input_size, self.spec.input_size, device=self.device)
        with torch.no_grad():
            return int(self.read(blank).shape[1])

    def normalize(self, pictures: Tensor) -> Tensor:
        """Pixels to the backbone's input. pictures: [b, 3, s, s] uint8 → [b, 3, s, s] float32,
        channels last."""
        pixels = pictures.to(self.device, torch.float32, memory_format=torch.channels_last)
        return pixels.sub_(self._mean).div_(self._std)

    def read(self, x: Tensor) -> Tensor:
        """The feature of each normalised picture, differentiable in x. x: [b, 3, s, s] → [b, d]
        float32."""
        parts = [
            self._normalized(part.float()) for part in pooled_features(self.module, x, self.readout)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _normalized(self, pooled: Tensor) -> Tensor:
        """The features of one layer [b, d] float32, each record's by itself."""
        if self.readout.normalize == "layer":
            return functional.layer_norm(pooled, pooled.shape[1:])
        if self.readout.normalize == "l2":
            return functional.normalize(pooled, dim=1)
        return pooled

    def logits(self, x: Tensor) -> Tensor:
        """The scores of the pre-trained classifier for each normalised picture, differentiable in
        x, whatever the readout.

        x: [b, 3, s, s] → [b, source classes] float32. Errors: `ConfigError` where the backbone was
        loaded without its classifier.
        """
        if self.classifier is None:
            raise ConfigError(
                f"The backbone {self.name} was loaded without its classifier: load it with "
                "classifier=True."
            )
        found: Tensor = self.classifier(self.module(x))
        return found.float()

    @property
    def source_classes(self) -> int:
        """The classes of the pre-trained classifier."""
        size = self.spec.input_size
        with torch.no_grad():
            return int(self.logits(torch.zeros(1, 3, size, size, device=self.device)).shape[1])

    @torch.no_grad()
    @one_thread()
    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of up to `batch` pictures, padded to exactly `batch`, on one thread. pictures:
        [n, 3, s, s] uint8 → [n, d] float32."""
        n = len(pictures)
        padded = np.zeros((self.batch, *pictures.shape[1:]), np.uint8)
        padded[:n] = pictures
        found: NDArray[np.float32] = (
            self.read(self.normalize(torch.from_numpy(padded))).cpu().numpy()
        )
        return found[:n]


def weight_parts(module: nn.Module) -> list[bytes]:
    """Every weight by name, dtype, shape and bytes, in the order of the names, for a digest."""
    parts = []
    for key, value in sorted(module.state_dict().items()):
        parts.append(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        parts.append(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return parts


def backbone_identity(
    name: str,
    weights: Sequence[bytes],
    spec: PictureSpec,
    readout: ReadoutConfig,
    batch: int,
    folded: Sequence[str],
) -> str:
    """SHA-256 in hexadecimal over architecture, every weight before folding, preprocessing, readout
    and batch shape, and over which convolutions are folded, without any classifier."""
    about = {
        "pipeline": PIPELINE,
        "architecture": name,
        "picture": spec.facts(),
        "readout": readout.model_dump(),
        "batch": batch,
    }
    if folded:
        about["folded"] = list(folded)
    return key_of("backbone/1", canonical_json(about), *weights)


def load_backbone(
    config: BackboneConfig,
    device: torch.device,
    *,
    classifier: bool = False,
    data: DataConfig | None = None,
) -> Backbone:
    """Build the architecture, load its weights and resolve its preprocessing. classifier: keep the
    classifier that the weights come with; data: how pictures are fitted and through which window
    they are seen.

    Errors: `ConfigError` that names the field: no such model (with the nearest name), weights that
    do not fit or are not finite, normalisation that divides by nothing, a readout or a size that
    the model does not have, or no classifier.
    """
    module, spare = build_module(config)
    require_finite_weights(config, module.state_dict() | spare)
    spec = resolve_picture(config, module, data or DataConfig())
    try:
        behind = build_classifier(config, module, spare, spec.input_size) if classifier else None
        return Backbone(
            module,
            spec,
            config.readout,
            config.batch,
            architecture(config),
            device,
            behind,
            fold=config.fold is not False,
        )
    except ConfigError:
        raise
    except MODEL_ERRORS as error:
        raise ConfigError(
            f"backbone.name {config.name} cannot be read at layer {config.readout.layer} with "
            f"pool {config.readout.pool} at {spec.input_size} px ({error}): choose another "
            "readout or input_size."
        ) from error


def require_finite_weights(config: BackboneConfig, weights: Mapping[str, Tensor]) -> None:
    """Errors: `ConfigError` that names weights that are not finite, as a damaged checkpoint has
    them, or one whose numbers were beyond a half precision."""
    wrong = [
        name
        for name, one in weights.items()
        if one.is_floating_point() and not one.isfinite().all()
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ConfigError(
            f"backbone.weights {config.weights} are damaged: {', '.join(wrong[:3])}{more} of "
            f"{len(weights)} hold numbers that are not finite. Bring the file again from where it "
            "was published, or take it in float32."
        )


def architecture(config: BackboneConfig) -> str:
    """The architecture in a model name: the name without timm's tag of the pre-trained weights."""
    return config.name.split(".")[0]


def build_module(config: BackboneConfig) -> tuple[nn.Module, Weights]:
    """The module with its weights, on the CPU, and the classifier's weights that the file held
    besides (none for random or pretrained weights)."""
    config.require_weights()
    module = create(config, classes=0)
    if config.weights in ("random", "pretrained"):
        return module, {}
    if config.weights == "embedded":
        return module, load_embedded(module, config.name)
    path = Path(config.weights)
    return module, load_checkpoint(module, path, architecture(config), config.sha256)


def build_classifier(
    config: BackboneConfig, module: nn.Module, spare: Weights, size: int
) -> nn.Module:
    """The layers from the module's last pooled features to the classes it was pre-trained for,
    checked against the whole model's output.

    spare: what a file had behind the features; a random or pretrained model is made once more, with
    its classifier.
    """
    place, classes = own_settings(module).get("classifier"), own_settings(module).get("num_classes")
    weight, bias = f"{place}.weight", f"{place}.bias"
    if config.weights not in ("random", "pretrained"):
        classes = len(spare.get(weight, ()))
    if not classes or not isinstance(place, str):
        raise ConfigError(
            f"backbone {config.name} with weights {config.weights} has no classifier of its own: "
            "give weights that have one."
        )
    whole = create(config, classes=classes)
    state = module.state_dict() | {
        name: value for name, value in spare.items() if name in (weight, bias)
    }
    missing, unexpected = whole.load_state_dict(state, strict=False)
    head = whole.get_submodule(place)
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        same = torch.allclose(head(module.eval()(x)), whole.eval()(x), rtol=1e-4, atol=1e-5)
    if not same or unexpected or set(missing) - (set() if spare else {weight, bias}):
        raise ConfigError(
            f"backbone {config.name} has more than one layer between its features and its "
            "classes: choose another backbone."
        )
    if not whole.get_parameter(weight).any():
        raise ConfigError(
            f"backbone {config.name} with weights {config.weights} has a classifier of zeros: "
            "give weights with another."
        )
    return behind_pre_logits(head, spare)


def create(config: BackboneConfig, classes: int) -> nn.Module:
    """The architecture with weights drawn by its seed, or timm's pretrained ones. classes: 0 ends
    it at its features."""
    with torch.random.fork_rng(devices=[]):
        if (config.weights, config.name) == ("embedded", EMBEDDED):
            return EfficientNetLite0(classes)  # every weight is replaced
        if config.name == "tiny":
            torch.manual_seed(config.seed)
            return TinyConvnet(classes)
        return create_timm(config, classes)


def create_timm(config: BackboneConfig, classes: int) -> nn.Module:
    """A timm model for the configured size. A model that is built for one size takes `img_size`; a
    model that takes pictures of any size refuses this argument. Errors: `ConfigError`."""
    import timm

    known = timm.list_models() + timm.list_pretrained()
    if config.name not in known and architecture(config) not in known:
        meant = near(config.name, known)
        raise ConfigError(
            f"backbone.name {config.name!r} is not a timm model"
            + (f": did you mean {meant!r}?" if meant else ".")
        )

    def build(**size: int) -> nn.Module:
        torch.manual_seed(config.seed)
        pretrained = config.weights == "pretrained"
        made = timm.create_model(config.name, pretrained=pretrained, num_classes=classes, **size)
        return cast(nn.Module, made)

    try:
        if config.input_size:
            try:
                return build(img_size=config.input_size)
            except TypeError as error:
                if "img_size" not in str(error):
                    raise
        return build()
    except MODEL_ERRORS as error:
        raise ConfigError(
            f"timm could not create backbone {config.name!r} with weights {config.weights!r}: "
            f"{error}"
        ) from error


def own_settings(module: nn.Module) -> dict[str, Any]:
    """timm's configuration of the model's weights: input size, preprocessing, name of its
    classifier."""
    return getattr(module, "pretrained_cfg", None) or module.default_cfg  # type: ignore[return-value]


def resolve_picture(config: BackboneConfig, module: nn.Module, data: DataConfig) -> PictureSpec:
    """The preprocessing: as configured, and the model's own where a field is None. Errors:
    `ConfigError`."""
    own = own_settings(module)
    size = config.input_size or int(own["input_size"][-1])
    spec = PictureSpec(
        input_size=size,
        resize=config.resize or size,
        interpolation=config.interpolation or own["interpolation"],
        mean=tuple(config.mean or own["mean"]),
        std=tuple(config.std or own["std"]),
        fit=data.fit,
        window=data.window,
    )
    if spec.interpolation not in get_args(Interpolation):
        raise ConfigError(
            f"backbone.interpolation is {spec.interpolation} by the model's own default: set "
            "bilinear, bicubic or nearest."
        )
    with np.errstate(all="ignore"):
        shift, scale = (np.asarray(each, np.float32) * 255 for each in (spec.mean, spec.std))
        ends = (np.asarray([[0], [255]], np.float32) - shift) / scale
    if not (scale > 0).all() or not np.isfinite(ends).all():
        raise ConfigError(
            f"backbone.mean {list(spec.mean)} and std {list(spec.std)} make numbers of pixels that "
            "are not finite in float32: set those that the weights were trained with, such as "
            "0.5 each."
        )
    if spec.resize < spec.input_size:
        raise ConfigError(
            f"backbone.resize {spec.resize} is smaller than input_size {spec.input_size}: make it "
            "at least as large."
        )
    return spec
