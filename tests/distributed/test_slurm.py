"""`jobs/slurm.sbatch`, with stand-ins for what Slurm and Ray install: the shell understands the
script, and the command that it starts on the nodes is one of ours."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.cli.words import parse
from tests.support.pages import ROOT, blocks, lines

SCRIPT = ROOT / "jobs" / "slurm.sbatch"
STANDS_IN = {
    "scontrol": 'printf "node-7\\nnode-8\\n"',
    "hostname": 'echo "10.0.0.7 192.168.0.7"',
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "ray": 'stat -c %a "$RAY_AUTH_TOKEN_PATH" > mode; printf "%s\\n" "$@" > words; '
    "[[ $RAY_STARTS ]] || exit 0; "
    'while [[ $1 != -- ]]; do shift; done; shift; exec "$@"',
    "lmeraser": 'printf "%s\\n" "$@" > command; exit "$FAILS"',
}
GUIDE = (ROOT / "docs" / "guides" / "clusters.md").read_text()
SENT = [
    shlex.split(line)
    for block in [*blocks(GUIDE, "sh"), SCRIPT.read_text().replace("\n#", "\n")]
    for line in map(str.strip, lines(block))
    if line.startswith("sbatch ")
]


def run(folder: Path, words: list[str], *, fails: int = 0, ray_starts: bool = True) -> int:
    """Run the script as Slurm would; returns the exit code. `folder` has the words that `ray` and
    `lmeraser` were given."""
    for name, body in STANDS_IN.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    slurm = {
        "SLURM_JOB_NODELIST": "node-[7-8]",
        "SLURM_JOB_ID": "61234",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "8",
    }
    done = subprocess.run(
        ["bash", SCRIPT, *words],
        check=False,
        cwd=folder,
        env={
            **os.environ,
            **slurm,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "FAILS": str(fails),
            "RAY_STARTS": "yes" if ray_starts else "",
        },
        capture_output=True,
    )
    return done.returncode


def test_the_shell_understands_it() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


@pytest.mark.parametrize("sent", SENT, ids=" ".join)
def test_what_is_documented_is_what_the_nodes_run(sent: list[str], tmp_path: Path) -> None:
    """The words go through the shell as they are, a space in one of them included, and Ray is where
    the command looks for it."""
    said = sent[sent.index("jobs/slurm.sbatch") + 1 :]
    said[said.index("--workspace") + 1] = "/shared/a b"
    assert run(tmp_path, said) == 0
    words, (verb, *options) = (
        (tmp_path / name).read_text().splitlines() for name in ("words", "command")
    )
    start = words[: words.index("--")]
    assert start[:3] == ["symmetric-run", "--address", "10.0.0.7:21234"]
    assert dict(zip(start[3::2], start[4::2], strict=True)) == {
        "--min-nodes": "2",
        "--num-cpus": "8",
    }
    args = parse(VERBS[verb], options)
    assert args.workspace == Path("/shared/a b")
    assert dict(args.overrides)["execution.address"] == "10.0.0.7:21234"


def test_the_token_is_ours_alone_and_leaves_with_the_job(tmp_path: Path) -> None:
    """Also where the command failed, whose exit code is the job's."""
    assert run(tmp_path, ["train", "--workspace", "W"], fails=3) == 3
    assert (tmp_path / "mode").read_text().strip() == "600"
    assert not list(tmp_path.glob(".slurm-*"))


def test_a_cluster_that_did_not_start_is_no_success(tmp_path: Path) -> None:
    """`ray symmetric-run` says 0 then."""
    assert run(tmp_path, ["train", "--workspace", "W"], ray_starts=False) == 5
    assert not (tmp_path / "command").exists()
