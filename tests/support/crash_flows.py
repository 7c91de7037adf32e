"""What processes do whose changes of the disk are recorded, with training: see
`tests/support/crash_acts.py`. The variable STORY names the folder of the world.

    python -m tests.support.crash_flows FOLDER training erasure
"""

import os
from pathlib import Path

from lmeraser_ray.erasure.certificate.dsse import sha256_of
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from tests.support.crash_acts import main
from tests.support.crashes import SMALL
from tests.support.system_calls import note
from tests.support.world import World

GONE = 3
"""The number of the record that is erased."""


def training(folder: Path) -> None:
    """A first training."""
    done = train(Session(folder / "workspace"), World(Path(os.environ["STORY"])).config(**SMALL))
    note(folder, f"published {done.manifest.fingerprint}")


def erasure(folder: Path) -> None:
    """A request, and a queue that works it off and signs."""
    session, keys = Session(folder / "workspace"), KeyFolder(folder / "keys")
    with session.database() as database:
        requests = RequestRepository(database, session.names())
        made = requests.submit([World(Path(os.environ["STORY"])).ids[GONE]], [])
        note(folder, f"submitted {made.id}")
        with queue_of(session, keys=keys) as queue:
            queue.round(patient=False, stop=lambda: False)
        note(folder, f"certified {sha256_of(requests.get(made.id).envelope or b'')}")


if __name__ == "__main__":
    main((training, erasure))
