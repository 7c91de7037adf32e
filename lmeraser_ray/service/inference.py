"""The routes of predictions: the Open Inference Protocol (`/v2`), and `/predict` for a person.

Pictures come as encoded files: BYTES in base64 by the protocol's JSON, or a form's file; or as
pixels, tensors of UINT8 or FP32 of the shape [n, height, width, 3 or 1]. Invariants: what a tensor
says is what the Python API says of the same array; every answer names the state that made it.
Source: the Open Inference Protocol, version 2, REST.
"""

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, File, Form, Response, UploadFile
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from lmeraser_ray import __version__
from lmeraser_ray.data.sources.held_pictures import encoded
from lmeraser_ray.errors import DataError, LmeraserError
from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.service.access import allowed
from lmeraser_ray.service.predictor import Outcome, PictureAnswer, Unusable
from lmeraser_ray.service.problems import RETRY_S, STANDARD
from lmeraser_ray.service.site import Served, Site

NAME = "lmeraser"
INPUT = "image"
MOST_PICTURES = 4096
DTYPES = {"UINT8": np.uint8, "FP32": np.float32}
PREDICTING = [Depends(allowed(Role.PREDICTOR))]
router = APIRouter(tags=["predictions"], responses=STANDARD)


class Tensor(BaseModel):
    """A tensor of the protocol. data: flat or nested, in row-major order; for BYTES, base64."""

    name: str
    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=4)]
    datatype: Literal["BYTES", "UINT8", "FP32", "FP64"]
    parameters: dict[str, Any] = {}
    data: list[Any]


class Inference(BaseModel):
    """A request of the protocol: one input, the pictures."""

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=1)]
    outputs: list[dict[str, Any]] = []


class Inferred(BaseModel):
    """An answer of the protocol: `label` [n] BYTES, `probability` [n] FP64 of that label, and
    `probabilities` [n, classes] FP64, whose columns the parameter `classes` names."""

    model_name: str = NAME
    model_version: str
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Tensor]


class Labelled(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class Predicted(BaseModel):
    """What the model says of a picture: the most probable classes, the shards that answered, and
    the name of the state."""

    predictions: list[Labelled]
    shards: list[int]
    state: str


class ServerCard(BaseModel):
    """What serves."""

    name: str = NAME
    version: str = __version__
    extensions: list[str] = []


class TensorCard(BaseModel):
    """A tensor's name, type and shape; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelCard(BaseModel):
    """The served model, in the one version that is published."""

    name: str = NAME
    versions: list[str]
    platform: str = "lmeraser_ray"
    inputs: list[TensorCard] = [TensorCard(name=INPUT, datatype="BYTES", shape=[-1])]
    outputs: list[TensorCard] = [
        TensorCard(name="label", datatype="BYTES", shape=[-1]),
        TensorCard(name="probability", datatype="FP64", shape=[-1]),
        TensorCard(name="probabilities", datatype="FP64", shape=[-1, -1]),
    ]


class Live(BaseModel):
    """Whether the service runs."""

    live: bool = True


class Ready(BaseModel):
    """Whether a state is published that can answer. name: of the model."""

    ready: bool
    name: str = NAME


def pictures_of(tensor: Tensor) -> list[bytes]:
    """Return the encoded pictures of a tensor. Errors: `HTTPException` 422."""
    if tensor.datatype == "BYTES":
        if math.prod(tensor.shape) != len(tensor.data):
            raise HTTPException(
                422, f"shape says {math.prod(tensor.shape)} pictures, data has {len(tensor.data)}."
            )
        return [from_base64(at, text) for at, text in enumerate(tensor.data)]
    try:
        array = np.asarray(tensor.data, DTYPES.get(tensor.datatype)).reshape(tensor.shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise HTTPException(
            422, f"data is no {tensor.datatype} tensor of the shape {tensor.shape}."
        ) from error
    if tensor.datatype not in DTYPES or array.ndim != 4:
        raise HTTPException(
            422,
            f"the tensor is {tensor.datatype} {tensor.shape}, expected UINT8 or FP32 of the shape "
            "[pictures, height, width, 3 or 1], or BYTES.",
        )
    return [encoded(one, None) for one in array]


def from_base64(at: int, text: object) -> bytes:
    """Return the bytes of a picture. Errors: `HTTPException` 422."""
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (binascii.Error, ValueError, TypeError) as error:
        raise HTTPException(422, f"picture {at} is no base64 text.") from error


def answers_of(outcomes: Sequence[Outcome]) -> list[PictureAnswer]:
    """Return the answers. Errors: `HTTPException` 422 that names the first picture without one."""
    for at, one in enumerate(outcomes):
        if isinstance(one, Unusable):
            raise HTTPException(422, f"picture {at}: {one.reason}")
    return [one for one in outcomes if isinstance(one, PictureAnswer)]


def present_state(site: Site) -> str | None:
    """The name of the published state that can answer; None where nothing can."""
    try:
        state = site.session.folder.state()
    except LmeraserError:
        return None
    if state is None or not state.answering.shards:
        return None
    return site.state_name(state.answering.fingerprint)


async def ask(site: Site, pictures: list[bytes]) -> list[PictureAnswer]:
    """The answers to encoded pictures. Errors: `HTTPException` 422 where one cannot be used, or
    there are none or too many, 503 where nothing can answer."""
    if not 0 < len(pictures) <= MOST_PICTURES:
        raise HTTPException(422, f"{len(pictures)} pictures, expected 1 to {MOST_PICTURES}.")
    try:
        return answers_of(await site.answer(pictures))
    except DataError as error:
        raise HTTPException(503, str(error), {"Retry-After": RETRY_S}) from error


@router.get("/v2/health/live", operation_id="live")
def live() -> Live:
    """Whether the service runs."""
    return Live()


@router.get("/v2/health/ready", operation_id="ready")
@router.get(f"/v2/models/{NAME}/ready", operation_id="model_ready")
def ready(site: Served, response: Response) -> Ready:
    """Whether a state is published that can answer."""
    found = present_state(site) is not None
    response.status_code = 200 if found else 503
    return Ready(ready=found)


@router.get("/v2", operation_id="server")
def server() -> ServerCard:
    """What serves."""
    return ServerCard()


@router.get(f"/v2/models/{NAME}", operation_id="model", dependencies=PREDICTING)
@router.get(
    f"/v2/models/{NAME}/versions/{{version}}", operation_id="version", dependencies=PREDICTING
)
def model(site: Served, version: str | None = None) -> ModelCard:
    """The served model; its version is the name of the published state."""
    there = present_state(site)
    if there is None:
        raise HTTPException(503, "Nothing is published that can answer.", {"Retry-After": RETRY_S})
    if version not in (None, there):
        raise HTTPException(404, "That state is not published: only the present one answers.")
    return ModelCard(versions=[there])


@router.post(f"/v2/models/{NAME}/infer", operation_id="infer", dependencies=PREDICTING)
async def infer(asked: Inference, site: Served) -> Inferred:
    """Label pictures, all by one state."""
    found = await ask(site, pictures_of(asked.inputs[0]))
    best = [answer.top(1)[0] for answer in found]
    count, classes = len(found), list(found[0].classes)
    table = Tensor(
        name="probabilities",
        shape=[count, len(classes)],
        datatype="FP64",
        parameters={"classes": classes},
        data=[p for answer in found for p in answer.probabilities],
    )
    return Inferred(
        model_version=site.state_name(found[0].fingerprint),
        id=asked.id,
        parameters={"shards": [list(answer.shards) for answer in found]},
        outputs=[
            Tensor(name="label", shape=[count], datatype="BYTES", data=[name for name, _ in best]),
            Tensor(name="probability", shape=[count], datatype="FP64", data=[p for _, p in best]),
            table,
        ],
    )


@router.post("/predict", operation_id="predict", dependencies=PREDICTING)
async def predict(
    site: Served,
    image: Annotated[UploadFile, File()],
    top_k: Annotated[int, Form(ge=1, le=1000)] = 5,
) -> Predicted:
    """Label one picture: `curl -F image=@cat.jpg`."""
    answer = (await ask(site, [await image.read()]))[0]
    return Predicted(
        predictions=[Labelled(label=name, probability=p) for name, p in answer.top(top_k)],
        shards=list(answer.shards),
        state=site.state_name(answer.fingerprint),
    )
