"""`jobs/` as users run them: a head with its job server, `ray job submit` with a token, logs,
status, stop; the work is in a bucket."""

import re
import sys
from pathlib import Path

import pytest

from lmeraser_ray.cli import main as cli
from lmeraser_ray.config.options import to_yaml
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import location
from tests.support.children import wait_until
from tests.support.head import ROOT, Head, told
from tests.support.law import held, never_seen
from tests.support.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def submission(text: str) -> str:
    """The id of a job that was sent."""
    [found] = set(re.findall(r"raysubmit_\w+", text))
    return found


def test_the_folder_that_is_sent_is_small() -> None:
    """The package, the jobs and the configurations, and nothing else of a checkout."""
    from ray._private.runtime_env.packaging import get_excludes_from_ignore_files

    excluded = get_excludes_from_ignore_files(ROOT, include_gitignore=True)

    def sent(path: Path) -> bool:
        within = [
            path,
            *(folder for folder in path.parents if folder == ROOT or ROOT in folder.parents),
        ]
        return path.is_file() and not any(exclude(part) for exclude in excluded for part in within)

    files = [path for path in ROOT.rglob("*") if sent(path)]
    assert {path.relative_to(ROOT).parts[0] for path in files} == {
        "lmeraser_ray",
        "jobs",
        "configs",
        "pyproject.toml",
    }
    assert sum(path.stat().st_size for path in files) < 3_000_000, "no data, no weights"


def test_no_job_hides_a_module_of_python() -> None:
    """A script's folder comes first on its path: a job named `queue.py` would be what everybody
    imports as `queue`."""
    names = {path.stem for path in (ROOT / "jobs").glob("*.py")}
    assert names and not names & set(sys.stdlib_module_names)
    assert all(len(path.read_text().splitlines()) <= 30 for path in (ROOT / "jobs").glob("*.py"))


def test_train_forget_verify_by_jobs(head: Head, world: World, s3: str) -> None:
    """Three jobs on one workspace in a bucket: what is left equals what never saw the record."""
    config, letter = world.folder / "config.yaml", world.folder / "letter"
    config.write_text(to_yaml(world.config(execution={"engine": "ray"})))
    letter.write_text(f"{world.ids[6]}\n")
    there = f"{s3}/by-jobs/workspace"
    done = head.submit("-m", "lmeraser_ray.train", "--workspace", there, "--config", str(config))
    assert done.returncode == 0, told(done)
    assert "succeeded" in told(done)
    done = head.submit("jobs/unlearn.py", "--workspace", there, "--file", str(letter))
    assert done.returncode == 0 and "certified" in told(done), told(done)
    assert "1 record removed; 1 of 4 constituents trained again" in told(done), told(done)
    done = head.submit("jobs/verify.py", "--workspace", there, "--rebuild")
    assert done.returncode == 0, told(done)
    logs = head.ray("job", "logs", submission(told(done)))
    assert "equal" in told(logs), told(logs)
    assert held(location(there)) == held(never_seen(world, [world.ids[6]]))


def test_studies_by_jobs(
    head: Head, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep and a comparison, in a folder that outlives their jobs: a sweep's table is that of
    one process."""
    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(world.config(execution={"engine": "ray"})))
    words = ("--config", str(config), "--sweep", "partition.shards=3,4", "--study")
    done = head.submit("jobs/sweep.py", *words, str(tmp_path / "sweep"))
    assert done.returncode == 0, told(done)
    assert (
        cli.run("sweep", [*words, str(tmp_path / "here"), "--execution.engine", "inline"]) == 0
    ), capsys.readouterr().err
    assert (tmp_path / "sweep/sweep.csv").read_text() == (tmp_path / "here/sweep.csv").read_text()
    few = ("--systems", "lmeraser,ridge", "--seeds", "0", "--deletions", "1", "--together", "2")
    done = head.submit(
        "jobs/compare.py", "--study", str(tmp_path / "study"), "--config", str(config), *few
    )
    assert done.returncode == 0, told(done)
    assert {path.stem for path in (tmp_path / "study/runs").iterdir()} == {"lmeraser.0", "ridge.0"}


def test_the_queue_as_a_job(head: Head, world: World, object_storage: str) -> None:
    """It serves until it is stopped; what was submitted meanwhile is certified."""
    there = location(f"{object_storage}/queue-job/workspace")
    train(Session(there), world.config())
    words = (
        "jobs/erasure_queue.py",
        "serve",
        "--workspace",
        str(there),
        "--execution.engine",
        "ray",
    )
    sent = head.submit(*words, wait=False)
    assert sent.returncode == 0, told(sent)
    with Session(there).database() as database:
        requests = RequestRepository(database, Session(there).names())
        request = requests.submit([world.ids[6]], [])
        wait_until(lambda: requests.get(request.id).state is State.CERTIFIED, 300)
    assert head.ray("job", "stop", submission(told(sent))).returncode == 0
    assert held(there) == held(never_seen(world, [world.ids[6]]))


def test_an_error_is_the_jobs_status(head: Head, s3: str) -> None:
    """The sentence is in the log, the driver's exit code in the status, and the command's own is
    not zero."""
    done = head.submit(
        "jobs/train.py", "--workspace", f"{s3}/wrong/workspace", "--learner.epoch", "3"
    )
    assert done.returncode != 0
    assert "did you mean learner.epochs" in told(done).replace("\n", " "), told(done)
    status = told(head.ray("job", "status", submission(told(done))))
    assert "' failed" in status and "exit code 2" in status, status


def test_a_job_whose_command_line_names_a_record(
    head: Head, object_storage: str, world: World
) -> None:
    """It would be in Ray's logs as long as the cluster lives: refused before there is a request."""
    there = location(f"{object_storage}/named/workspace")
    train(Session(there), world.config())
    done = head.submit("jobs/unlearn.py", "--workspace", str(there), "--records", world.ids[8])
    assert done.returncode != 0
    assert "so whom it names would never be gone" in told(done).replace("\n", " "), told(done)
    with Session(there).database() as database:
        assert list(RequestRepository(database, Session(there).names()).list()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("jobs/train.py", "--workspace", "W"),
        ("jobs/sweep.py", "--study", "S", "--thresholds", "5:40:8"),
        ("jobs/recommend.py", "--study", "S"),
    ],
)
def test_a_folder_that_would_go_with_the_job(head: Head, words: tuple[str, ...]) -> None:
    done = head.submit(*words)
    assert done.returncode != 0
    assert "a folder of one node that goes with the job" in told(done).replace("\n", " "), told(
        done
    )


def test_without_the_token_no_job(head: Head, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("another-token-another-token-another")
    done = head.submit(
        "jobs/verify.py", "--workspace", "s3://nowhere/at-all", RAY_AUTH_TOKEN_PATH=str(wrong)
    )
    assert done.returncode != 0
    assert "raysubmit_" not in told(done) and "uthenticat" in told(done), told(done)


def test_a_job_that_is_stopped_goes_on_when_it_is_sent_again(
    head: Head, world: World, s3: str, object_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ray job stop` in the middle of training: nothing is published, what was trained is reused,
    and the state is the right one."""
    config = world.folder / "config.yaml"
    config.write_text(to_yaml(world.config(execution={"engine": "ray"}, learner={"epochs": 300})))
    there = location(f"{s3}/stopped/workspace")
    words = ("jobs/train.py", "--workspace", str(there), "--config", str(config))
    sent = head.submit(*words, wait=False)
    assert sent.returncode == 0, told(sent)
    trained = there / "objects" / "constituents"
    wait_until(lambda: any(trained.iterdir()), 300)
    assert head.ray("job", "stop", submission(told(sent))).returncode == 0
    assert "' was stopped" in told(head.ray("job", "status", submission(told(sent))))
    done = head.submit(*words)
    assert done.returncode == 0, told(done)
    assert verify(Session(there)).ok
    monkeypatch.delenv("LMERASER_DATABASE")
    assert held(there) == held(never_seen(world, [], learner={"epochs": 300}))
