"""The service on Ray Serve: an ingress that has the routes, and predictors that hold the backbone.

    HTTP → proxy → ingress (the application of `service/`) → predictors (batches of requests)

No signing key is on the cluster. Invariant: each batch is answered by one published state, which is
looked up when the batch begins.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fastapi import FastAPI
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from lmeraser_ray.config import ServeConfig
from lmeraser_ray.service.application import create_app
from lmeraser_ray.service.predictor import Outcome, Predictor, answered_together
from lmeraser_ray.service.service_spec import ServiceSpec

NAME = "lmeraser"
"""Of the application."""
PREDICTOR = "predictor"


class ServePredictor:
    """A replica that predicts."""

    def __init__(self, spec: ServiceSpec) -> None:
        session = spec.session()
        settings = session.config().serve
        self._predictor = Predictor(session)
        self._predictor.warm()
        self.answer.set_max_batch_size(settings.batch)
        self.answer.set_batch_wait_timeout_s(settings.batch_wait)

    @serve.batch  # type: ignore[untyped-decorator]
    async def answer(self, asked: list[list[bytes]]) -> list[Sequence[Outcome]]:
        """Answer the pictures of several requests, each request's in its order."""
        return await asyncio.to_thread(answered_together, self._predictor.answer, asked)


def ingress(spec: ServiceSpec) -> Callable[[], FastAPI]:
    """Return what builds the application in a replica."""

    def build() -> FastAPI:
        handle = serve.get_deployment_handle(PREDICTOR, NAME)

        async def answer(pictures: Sequence[bytes]) -> Sequence[Outcome]:
            found: Sequence[Outcome] = await handle.answer.remote(list(pictures))
            return found

        return create_app(spec.site(answer))

    return build


def application(spec: ServiceSpec, settings: ServeConfig) -> serve.Application:
    """Return the application of Ray Serve."""
    scale: dict[str, object] = {"num_replicas": settings.replicas}
    if settings.most_replicas is not None:
        bounds = {"min_replicas": settings.replicas, "max_replicas": settings.most_replicas}
        scale = {"autoscaling_config": bounds}
    share = {"num_cpus": settings.cpus, "num_gpus": settings.gpus}
    predictor = serve.deployment(
        ServePredictor, name=PREDICTOR, ray_actor_options=share, **scale
    ).bind(spec)
    front = serve.deployment(serve.ingress(ingress(spec))(), name="ingress")
    return front.options(ray_actor_options={"num_cpus": 0}).bind(predictor)


@contextmanager
def served(spec: ServiceSpec) -> Iterator[str]:
    """Serve while the context lasts, on the cluster that this process is connected to. Yields the
    address."""
    settings = spec.session().config().serve
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host=spec.host, port=spec.port))
    quiet = LoggingConfig(enable_access_log=False, log_level="CRITICAL")
    serve.run(application(spec, settings), name=NAME, route_prefix="/", logging_config=quiet)
    try:
        yield spec.url
    finally:
        serve.delete(NAME)
