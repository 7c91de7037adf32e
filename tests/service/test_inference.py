"""Predictions over HTTP: what the Python API says, by the state that is published."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.storage.database.ledger import Seal
from tests.support.served_workspace import ServedWorkspace
from tests.support.world import picture

INFER = "/v2/models/lmeraser/infer"


def tensor(images: list[bytes]) -> dict[str, object]:
    """Encoded pictures as the protocol's input."""
    data = [base64.b64encode(image).decode() for image in images]
    return {"name": "image", "shape": [len(data)], "datatype": "BYTES", "data": data}


def infer(served: ServedWorkspace, *inputs: dict[str, object]) -> dict[str, object]:
    answer = served.ask("POST", INFER, Role.PREDICTOR, json={"inputs": list(inputs), "id": "7"})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def rows_of(found: dict[str, object]) -> list[list[float]]:
    """The probabilities of each picture."""
    table = found["outputs"][2]  # type: ignore[index]
    flat: list[list[float]] = np.array(table["data"]).reshape(table["shape"]).tolist()
    return flat


def named(served: ServedWorkspace, fingerprint: str) -> str:
    """How callers know a state."""
    return Seal(served.workspace.session.names()).state(fingerprint)


def test_no_answer_has_a_fingerprint(served: ServedWorkspace) -> None:
    """It would confirm a guess of who is in the data."""
    plain = served.workspace.fingerprint()
    form = {"files": {"image": ("cat.png", picture(3))}}
    said = [
        served.ask("POST", "/predict", Role.PREDICTOR, **form).text,
        served.ask("POST", INFER, json={"inputs": [tensor([picture(1)])]}).text,
        served.ask("GET", "/v2/models/lmeraser").text,
    ]
    served.client.post(
        "/login",
        data={"token": served.tokens[Role.OPERATOR]},
        headers={"Origin": "http://testserver"},
    )
    said.append(served.client.get("/model").text)
    assert "Shards" in said[-1] and not [text for text in said if plain in text]


def test_an_answer_is_that_of_the_library(served: ServedWorkspace) -> None:
    """To the bit, whatever shares the batch."""
    images = [picture(at, at % 3) for at in range(20)]
    whole = served.workspace.predict(images)
    found = infer(served, tensor(images))
    labels, best, table = found["outputs"]  # type: ignore[misc]
    assert rows_of(found) == whole.predictions.probabilities.tolist()
    assert labels["data"] == whole.predictions.labels
    assert table["parameters"]["classes"] == list(whole.predictions.classes)
    assert best["data"] == [max(row) for row in rows_of(found)]
    assert (found["id"], found["model_name"]) == ("7", "lmeraser")
    assert found["model_version"] == named(served, whole.manifest.fingerprint)
    for at, image in enumerate(images[:5]):
        assert rows_of(infer(served, tensor([image]))) == [rows_of(found)[at]]


def test_a_person_sends_a_file(served: ServedWorkspace) -> None:
    form = {"files": {"image": ("cat.png", picture(3))}, "data": {"top_k": "2"}}
    found = served.ask("POST", "/predict", Role.PREDICTOR, **form).json()
    alone = served.workspace.predict([picture(3)])
    assert [(one["label"], one["probability"]) for one in found["predictions"]] == alone.top(2)[0]
    assert found["state"] == named(served, alone.manifest.fingerprint) and found["shards"]


def test_pixels_are_what_the_library_makes_of_an_array(served: ServedWorkspace) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(picture(5))))
    expected = served.workspace.predict([pixels]).predictions.probabilities.tolist()
    shape = [1, *pixels.shape]
    whole = {"name": "image", "shape": shape, "datatype": "UINT8", "data": pixels[None].tolist()}
    floats = (pixels.astype(np.float32) / 255).ravel().tolist()
    share = {"name": "image", "shape": shape, "datatype": "FP32", "data": floats}
    assert rows_of(infer(served, whole)) == rows_of(infer(served, share)) == expected


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [tensor([])],
        [tensor([picture(1)]), tensor([picture(1)])],
        [tensor([b"no picture"])],
        [tensor([picture(1), b""])],
        [{**tensor([picture(1)]), "shape": [2]}],
        [{**tensor([picture(1)]), "data": ["no base64!"]}],
        [{**tensor([picture(1)]), "data": [7]}],
        [{**tensor([picture(1)]), "datatype": "INT64"}],
        [{"name": "a", "shape": [1, 2, 2], "datatype": "UINT8", "data": [0, 0, 0, 0]}],
        [{"name": "a", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [0]}],
        [{"name": "a", "shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [256, 0, 0]}],
        [{"name": "a", "shape": [1, 1, 1, 3], "datatype": "FP32", "data": [2.0, 0, 0]}],
        [{"name": "a", "shape": [1, 1, 1, 3], "datatype": "FP64", "data": [0, 0, 0]}],
        [{"name": "a", "shape": [1, 1, 1, 7], "datatype": "UINT8", "data": [0] * 7}],
        [{"name": "a", "shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [[0], 0, "x"]}],
        [{"name": "a", "shape": [0, 4, 4, 3], "datatype": "UINT8", "data": []}],
        [{"name": "a", "shape": [2**40, 2**40], "datatype": "UINT8", "data": []}],
    ],
    ids=range(18),
)
def test_what_is_no_picture_is_refused_in_a_sentence(
    served: ServedWorkspace, inputs: list[dict[str, object]]
) -> None:
    answer = served.ask("POST", INFER, json={"inputs": inputs})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_answer_after_a_publication_is_of_the_new_state(served: ServedWorkspace) -> None:
    """The predictor was loaded, and has answered, before; the records' class is gone."""
    gone = [
        name
        for name, label in zip(served.world.ids, served.world.labels, strict=True)
        if label == "class-2"
    ]
    before = infer(served, tensor([picture(2, 2)]))
    served.submit(records=gone)
    assert infer(served, tensor([picture(2, 2)]))["model_version"] == before["model_version"]
    served.work_off()
    after = infer(served, tensor([picture(2, 2)]))
    assert after["model_version"] != before["model_version"]
    assert "class-2" not in after["outputs"][2]["parameters"]["classes"]  # type: ignore[index]
    old = f"/v2/models/lmeraser/versions/{before['model_version']}"
    assert served.ask("GET", old).status_code == 404
    now = f"/v2/models/lmeraser/versions/{after['model_version']}"
    assert served.ask("GET", now).json()["versions"] == [after["model_version"]]


def test_where_everything_is_in_quarantine_nothing_is_answered(served: ServedWorkspace) -> None:
    served.submit(records=served.world.ids, quarantine=True)
    assert served.ask("GET", "/v2/health/ready", None).status_code == 503
    assert served.ask("GET", "/v2/health/live", None).status_code == 200
    answer = served.ask("POST", INFER, json={"inputs": [tensor([picture(1)])]})
    assert answer.status_code == 503 and "quarantine" in answer.json()["detail"]


def test_callers_at_once_get_their_own_answers(served: ServedWorkspace) -> None:
    images = [picture(at, at % 3) for at in range(24)]
    expected = served.workspace.predict(images).predictions.probabilities.tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: infer(served, tensor([image])), images))
    assert [rows_of(one)[0] for one in found] == expected
