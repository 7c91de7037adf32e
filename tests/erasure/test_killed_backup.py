"""A backup that is killed leaves no picture outside of the workspace."""

import signal
import subprocess
import sys
from pathlib import Path

from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from tests.support.world import World

DIES = """
import os, signal, sys
from pathlib import Path
from lmeraser_ray.erasure.backup import archive
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.pipeline.session import Session
real = archive.add
def add(tar, part, source):
    real(tar, part, source)
    tar.fileobj.flush()
    if "pictures" in part.name:
        os.kill(os.getpid(), signal.SIGKILL)
archive.add = add
backup(Session(Path(sys.argv[1])), to=Path(sys.argv[2]), erasures=None)
"""


def test_a_killed_backup_leaves_nothing(tmp_path: Path) -> None:
    train(Session(tmp_path / "w"), World(tmp_path / "world", n=10).config())
    (tmp_path / "backups").mkdir()
    words = [sys.executable, "-c", DIES, tmp_path / "w", tmp_path / "backups" / "b.tar"]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert list((tmp_path / "backups").iterdir()) == []
