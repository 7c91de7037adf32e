"""The service on Ray Serve: the answers of one process, by the state that is published."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from ray import serve

from lmeraser_ray import Workspace
from lmeraser_ray.distributed.serving import served
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.service.service_spec import ServiceSpec
from lmeraser_ray.storage.database.ledger import Seal
from tests.support.head import free_port
from tests.support.world import World, picture

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.thorough]
PATIENCE = 120.0


@pytest.fixture
def url(trained: tuple[World, Path], tmp_path: Path) -> Iterator[str]:
    """The address of the trained workspace, served on the cluster."""
    _, root = trained
    KeyFolder(tmp_path / "keys").init()
    keys = KeyFolder(tmp_path / "keys").public_keys()
    with served(ServiceSpec.of(Workspace(root).session, "127.0.0.1", free_port(), keys)) as found:
        yield found
    serve.shutdown()


def test_replicas_answer_as_one_process_and_follow_the_state(
    trained: tuple[World, Path], url: str, tmp_path: Path
) -> None:
    """Callers at once share batches, and each gets what the library says."""
    world, root = trained
    workspace = Workspace(root)
    token = {"Authorization": f"Bearer {workspace.tokens('make', role='operator').bearer}"}
    images = [picture(at, at % 3) for at in range(12)]
    with httpx.Client(base_url=url, headers=token, timeout=PATIENCE) as client:

        def ask(image: bytes) -> tuple[str, dict[str, float]]:
            found = client.post("/predict", files={"image": ("a.png", image)}).json()
            pairs = {one["label"]: one["probability"] for one in found["predictions"]}
            return found["state"], pairs

        def expected() -> list[tuple[str, dict[str, float]]]:
            done = workspace.predict(images)
            rows = done.predictions.probabilities.tolist()
            classes = done.predictions.classes
            state = Seal(workspace.session.names()).state(done.manifest.fingerprint)
            return [(state, dict(zip(classes, row, strict=True))) for row in rows]

        def answers() -> list[tuple[str, dict[str, float]]]:
            with ThreadPoolExecutor(6) as pool:
                return list(pool.map(ask, images))

        before = answers()
        assert before == expected()
        made = client.post("/erasures", json={"records": [world.ids[0]]}).json()["request"]
        workspace.work_off(keys=tmp_path / "keys")
        after = answers()
        assert after == expected() and after[0][0] != before[0][0]
        assert client.get(f"/erasures/{made}/verification").json()["verified"]
        wrong = client.post("/predict", files={"image": ("a.png", b"no picture")})
        assert (wrong.status_code, wrong.json()["title"]) == (422, "Unprocessable Entity")
        assert httpx.get(f"{url}/erasures").status_code == 401
