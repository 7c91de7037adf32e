"""A trained workspace behind the application, asked as a client asks: the real routes, requests,
predictor and keys, in this process."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi.testclient import TestClient
from httpx import Response

from lmeraser_ray import Workspace
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.operations.tokens import Role
from lmeraser_ray.service.application import create_app
from lmeraser_ray.service.predictor import Outcome, Predictor
from lmeraser_ray.service.site import Site
from tests.support.world import World


@dataclass
class ServedWorkspace:
    """A served workspace, and a token of each role."""

    world: World
    workspace: Workspace
    keys: Path
    client: TestClient
    tokens: dict[Role, str]

    def ask(
        self, method: str, path: str, role: Role | None = Role.OPERATOR, **more: object
    ) -> Response:
        """Send a request with the token of a role, or without one."""
        headers = dict(more.pop("headers", {}))  # type: ignore[call-overload]
        if role is not None:
            headers["Authorization"] = f"Bearer {self.tokens[role]}"
        return self.client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]

    def submit(self, role: Role = Role.OPERATOR, **body: object) -> str:
        """Submit an erasure. Returns its id."""
        answer = self.ask("POST", "/erasures", role, json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["request"])

    def work_off(self) -> None:
        """Be the queue until nothing is left."""
        self.workspace.work_off(keys=self.keys)


def serve_workspace(world: World, root: Path, keys: Path, **overrides: str) -> ServedWorkspace:
    """Serve a workspace. overrides: of the section `serve`."""
    named = [(f"serve.{name}", value) for name, value in overrides.items()]
    workspace = Workspace(root, overrides=named)
    predictor = Predictor(workspace.session)

    async def answer(pictures: Sequence[bytes]) -> Sequence[Outcome]:
        return await asyncio.to_thread(predictor.answer, pictures)

    site = Site(workspace.session, answer, KeyFolder(keys).public_keys())
    tokens = {role: workspace.tokens("make", role=role).bearer or "" for role in Role}
    return ServedWorkspace(world, workspace, keys, TestClient(create_app(site)), tokens)
