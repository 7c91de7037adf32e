"""`demo`: the whole story in one folder, each step the command that a person would type, and a
table of what happened.

train → predict → cost → unlearn a record → unlearn a subject → its certificate → evaluate → verify
--rebuild → audit
"""

import shlex
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmeraser_ray.cli import ask, erase, evidence, train
from lmeraser_ray.cli.table import table
from lmeraser_ray.cli.verb import Arguments, Report, Verb
from lmeraser_ray.cli.words import parse
from lmeraser_ray.config.options import load_config
from lmeraser_ray.config.quickstart import NAME as QUICKSTART
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.files import make_folder
from lmeraser_ray.storage.paths import require_disk
from lmeraser_ray.storage.whole_file import write_whole

OWN = ("digit.png", "workspace")
WRITERS = (("data.subject_pattern", r"digit-(?P<subject>\d{3})\d"),)
"""The digits come without their writers: the demonstration takes ten in a row for one person's."""
STEPS = {verb.name: verb for verb in (*train.VERBS, *ask.VERBS, *erase.VERBS, *evidence.VERBS)}
"""The verbs that the story may run."""


def run_demo(args: Arguments, progress: Progress) -> Report:
    """Show the whole story on handwritten digits: train, predict, unlearn, verify."""
    return demo(require_disk(args.workspace), args.overrides, progress)


def demo(root: Path, overrides: tuple[tuple[str, str], ...], progress: Progress) -> Report:
    """Run the story in `root`, a new folder or that of an earlier demonstration, which is removed
    first."""
    from lmeraser_ray.pipeline.engines import cluster

    prepare(root)
    config = load_config(Path(QUICKSTART), (*WRITERS, *overrides))
    with cluster(config.execution):  # one for all steps
        return tell(Story(root, (*WRITERS, *overrides), progress.quiet))


def prepare(root: Path) -> None:
    """Make the folder and the picture to predict. Errors: `ConfigError` where the folder holds
    something that no demonstration made."""
    there = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    foreign = [
        name for name in there if name not in OWN or OWN[0] not in there
    ]  # a lone `workspace` is somebody's own
    if foreign or (root.exists() and not root.is_dir()):
        what = foreign[0] if foreign else "a file"
        raise ConfigError(
            f"--workspace {root} holds {what!r}, which no demonstration made: choose a new folder."
        )
    from lmeraser_ray.data.sources.digits import digit_entries

    shutil.rmtree(root, ignore_errors=True)
    make_folder(root)
    write_whole(root / "digit.png", next(iter(digit_entries())).read())


@dataclass
class Story:
    """The steps so far: a row of the table at the end for each thing that happened."""

    root: Path
    overrides: tuple[tuple[str, str], ...]
    quiet: bool
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def step(self, verb: str, *words: str) -> "DemoStep":
        """Run one command as its user would type and see it."""
        options = self.overrides if verb == "train" else ()
        line = [
            *words,
            "--workspace",
            str(self.root / "workspace"),
            *(part for name, value in options for part in (f"--{name}", value)),
        ]
        print(f"\n$ lmeraser {verb} {shlex.join(line)}", flush=True)
        start = time.perf_counter()
        args = parse(STEPS[verb], line)
        args.json = True  # the table at the end is made of the data
        report = STEPS[verb].run(args, Progress(quiet=self.quiet))
        print(report.text, flush=True)
        return DemoStep(report, f"{time.perf_counter() - start:.1f}")

    def note(self, what: str, found: str, seconds: str = "") -> None:
        """Add a row to the table."""
        self.rows.append((what, found, seconds))


@dataclass(frozen=True)
class DemoStep:
    """One command that was run: its report and its seconds as text."""

    report: Report
    seconds: str

    def __getitem__(self, name: str) -> Any:
        return (self.report.data or {})[name]


def tell(story: Story) -> Report:
    """Run all steps, and return the table of what happened."""
    trained = train_and_ask(story)
    request = forget(story)
    certified = story.step("certificate", request)
    met = "in time" if certified["deadline"]["met"] else "LATE"
    story.note("its certificate", f"signed by {certified['key'][:12]}…, {met}", certified.seconds)
    scored = story.step("evaluate")
    story.note("accuracy after", f"{scored['accuracy']['test']:.2%}", scored.seconds)
    verified = story.step("verify", "--rebuild")
    equal = "equal" if verified["ok"] else "DIFFER"
    checks = f"{verified['checked']} checks, fingerprints {equal}"
    story.note("verify by rebuilding", checks, verified.seconds)
    audited = story.step("audit")
    agree = "ledger and certificates agree" if audited["ok"] else "DIFFERENCES"
    story.note("audit", agree, audited.seconds)
    data = {
        "accuracy": {"before": trained["accuracy"]["test"], "after": scored["accuracy"]["test"]},
        "ok": verified["ok"] and audited["ok"],
        "fingerprint": verified["fingerprint"],
    }
    text = table(["what happened", "", "seconds"], story.rows, left=2)
    return Report(
        f"\n{text}", data, exit_code=verified.report.exit_code or audited.report.exit_code
    )


def train_and_ask(story: Story) -> DemoStep:
    """Train, predict a picture, and ask what a deletion would cost. Returns the training."""
    trained = story.step("train", "--config", QUICKSTART)
    size = f"{trained['training_records']:,} records, {trained['shards']} shards"
    story.note("train", size, trained.seconds)
    story.note("accuracy before", f"{trained['accuracy']['test']:.2%}")
    predicted = story.step("predict", str(story.root / "digit.png"))
    [first] = predicted["predictions"]
    story.note(
        "predict a picture", f"{first['label']} ({first['probability']:.1%})", predicted.seconds
    )
    cost = story.step("cost")
    expected = f"{cost['record']['mean_share']:.1%} of a full training's work"
    story.note("expected cost of one deletion", expected, cost.seconds)
    return trained


def forget(story: Story) -> str:
    """Erase a record, then a person. Returns the id of the last request."""
    for what, words in (
        ("record", ("--records", "digit-0775")),
        ("subject", ("--subjects", "123")),
    ):
        done = story.step("unlearn", *words)
        found = (
            f"{done['removed']} removed, {done['retrained']} of {done['constituents']} shards "
            "trained again"
        )
        story.note(f"unlearn a {what}", found, done.seconds)
    return str(done["request"])


VERBS = (Verb("demo", run_demo, configures=True),)
