"""`python -m benchmarks.service`: what callers of `lmeraser serve` see. A minute; `--ray` for an
application of Ray Serve.

A real service on this machine, with the queue beside it, on the digits of scikit-learn and one
`--system`. First `--rate` erasure requests a second are sent for `--seconds`, each at its moment,
whether or not the others are answered: milliseconds from that moment to the answer, which comes
after COMMIT; at the end each acknowledged request must be in the database. They are of records that
do not exist, so that the queue refuses them and trains nothing. Then `--callers` ask for
predictions, one after the other each, for as long; beside it, in this process, the same pictures by
`Workspace.predict`, `serve.batch` at a time: the service's pictures a second as a share of these.
Required: a 99th percentile below 100 ms at 100 a second, none lost.
"""

import argparse
import asyncio
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks import machine
from lmeraser_ray import Workspace

REQUIRED_MS = 100.0
PATIENCE, PORT = 300.0, 8799


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.service", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--system", default="ridge")
    parser.add_argument("--rate", type=int, default=100, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part")
    parser.add_argument("--callers", type=int, default=32, help="who ask for predictions at once")
    parser.add_argument("--ray", action="store_true", help="serve by Ray Serve")
    parser.add_argument("--out", type=Path, help="a file for the result")
    return parser.parse_args()


@contextmanager
def served(workspace: Workspace, keys: Path, *, ray: bool) -> Iterator[str]:
    """Have the service up. Yields its address."""
    words = ["serve", "--workspace", str(workspace.session.root), "--keys", str(keys)]
    words += ["--port", str(PORT), "--serve.rate", "100000"]
    words += ["--execution.engine", "ray" if ray else "inline"]
    line = [sys.executable, "-m", "lmeraser_ray", *words]
    log = keys.with_suffix(".log")
    with log.open("w") as sink:
        process = subprocess.Popen(line, stderr=sink, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{PORT}"
        end = time.monotonic() + PATIENCE
        while "event=serving" not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"The service did not come up: {log.read_text()}")
            time.sleep(0.1)
        httpx.get(f"{url}/v2/health/ready", timeout=PATIENCE).raise_for_status()
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


async def submissions(client: httpx.AsyncClient, rate: int, seconds: float) -> dict[str, Any]:
    """Send requests at their moments."""
    begin, took, ids = time.perf_counter() + 0.5, list[float](), list[str]()

    async def send(number: int) -> None:
        moment = begin + number / rate
        await asyncio.sleep(moment - time.perf_counter())
        answer = await client.post("/erasures", json={"records": [f"nobody-{number}"]})
        took.append(1000 * (time.perf_counter() - moment))
        if answer.status_code == 201:
            ids.append(answer.json()["request"])

    count = int(rate * seconds)
    await asyncio.gather(*map(send, range(count)))
    return {"sent": count, "acknowledged": len(ids), "ids": ids, "ms": percentiles(took)}


async def predictions(
    client: httpx.AsyncClient, images: list[bytes], callers: int, seconds: float
) -> tuple[float, dict[str, float]]:
    """Ask for one picture after another. Returns pictures a second, and milliseconds."""
    end, took = time.perf_counter() + seconds, list[float]()

    async def ask(caller: int) -> None:
        at = caller
        while time.perf_counter() < end:
            begin = time.perf_counter()
            form = {"image": ("a.png", images[at % len(images)])}
            (await client.post("/predict", files=form)).raise_for_status()
            took.append(1000 * (time.perf_counter() - begin))
            at += callers

    await asyncio.gather(*map(ask, range(callers)))
    return len(took) / seconds, percentiles(took)


def percentiles(took: list[float]) -> dict[str, float]:
    """Milliseconds that half, 90 and 99 of a hundred take at most."""
    return {f"p{q}": round(float(np.percentile(took, q)), 1) for q in (50, 90, 99)}


def alone(workspace: Workspace, images: list[bytes], seconds: float) -> float:
    """Pictures a second of the library in this process."""
    batch = workspace.session.config().serve.batch
    workspace.predict(images[:batch])  # loads the backbone's file into the cache
    begin, done = time.perf_counter(), 0
    chunks = [images[at : at + batch] for at in range(0, len(images), batch)]
    every = [image for chunk in chunks for image in chunk]
    while time.perf_counter() - begin < seconds:
        done += len(workspace.predict(every).names)
    return done / (time.perf_counter() - begin)


async def measure(url: str, token: str, options: argparse.Namespace, images: list[bytes]) -> Any:
    """Both parts, over one pool of connections."""
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=PATIENCE, limits=limits
    ) as client:
        await client.post("/predict", files={"image": ("a.png", images[0])})
        sent = await submissions(client, options.rate, options.seconds)
        return sent, *await predictions(client, images, options.callers, options.seconds)


def digits(count: int = 256) -> list[bytes]:
    """Encoded pictures."""
    found = []
    for image in load_digits().images[:count]:
        sink = io.BytesIO()
        Image.fromarray((image * 15).astype(np.uint8)).save(sink, "PNG")
        found.append(sink.getvalue())
    return found


def main() -> None:
    """Train, serve, ask, report."""
    options = arguments()
    images = digits()
    with tempfile.TemporaryDirectory(prefix="lmeraser-benchmark-") as name:
        workspace, keys = Workspace(Path(name, "workspace")), Path(name, "keys")
        workspace.train(system=options.system, execution={"engine": "inline"})
        workspace.keys("init", folder=keys)
        token = workspace.tokens("make", role="operator").bearer or ""
        with served(workspace, keys, ray=options.ray) as url:
            sent, rate, ms = asyncio.run(measure(url, token, options, images))
        stored = {one.id for one in workspace.requests()}
        bare = alone(workspace, images, options.seconds)
    lost = len(set(sent.pop("ids")) - stored)
    met = sent["ms"]["p99"] < REQUIRED_MS and not lost and sent["sent"] == sent["acknowledged"]
    found = {
        "benchmark": "service",
        "system": options.system,
        "engine": "ray" if options.ray else "inline",
        "submissions": {**sent, "rate": options.rate, "lost": lost},
        "predictions": {"callers": options.callers, "per_second": round(rate, 1), "ms": ms},
        "library_per_second": round(bare, 1),
        "ratio": round(rate / bare, 3),
        "met": met,
        "machine": machine.describe(),
    }
    machine.report(found, options.out)


if __name__ == "__main__":
    main()
