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

from lmeraser_ray.cli.verb import Report
from lmeraser_ray.config.options import load_config
from lmeraser_ray.data.sources.digits import digit_entries
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.engines import cluster
from lmeraser_ray.pipeline.progress import Progress

OWN = ("digit.png", "workspace")
WRITERS = (("data.subject_pattern", r"digit-(?P<subject>\d{3})\d"),)
"""The digits come without their writers: for the demonstration, ten in a row are said to be one
person's."""


def demo(root: Path, overrides: tuple[tuple[str, str], ...], progress: Progress) -> Report:
    """Tell the story in `root`, a new folder or an earlier demonstration's, which is removed
    first."""
    prepare(root)
    config = load_config(None, (*WRITERS, *overrides))
    with cluster(config.execution):  # one for all steps
        return tell(Story(root, (*WRITERS, *overrides), progress.quiet))


def prepare(root: Path) -> None:
    """Make the folder and the picture that is predicted. Errors: `ConfigError` where the folder
    holds something else."""
    there = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    foreign = [
        name for name in there if name not in OWN or OWN[0] not in there
    ]  # a lone `workspace` is somebody's own
    if foreign or (root.exists() and not root.is_dir()):
        what = foreign[0] if foreign else "a file"
        raise ConfigError(
            f"--workspace {root} holds {what!r}, which no demonstration made: choose a new folder."
        )
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / "digit.png").write_bytes(next(iter(digit_entries())).read())


@dataclass
class Story:
    """The steps so far: what each said, and its seconds."""

    root: Path
    overrides: tuple[tuple[str, str], ...]
    quiet: bool
    rows: list[tuple[str, str, float]] = field(default_factory=list)

    def step(self, verb: str, *words: str) -> dict[str, Any]:
        """Run one command as its user would see it, and return its JSON."""
        from lmeraser_ray.cli.main import parse
        from lmeraser_ray.cli.verbs import VERBS

        options = [
            part
            for name, value in self.overrides
            if verb == "train"
            for part in (f"--{name}", value)
        ]
        line = [*words, "--workspace", str(self.root / "workspace"), *options]
        print(f"\n$ lmeraser {verb} {shlex.join(line)}", flush=True)
        start = time.perf_counter()
        report = VERBS[verb].run(parse(VERBS[verb], line), Progress(quiet=self.quiet))
        print(report.text, flush=True)
        return {
            **(report.data or {}),
            "took": time.perf_counter() - start,
            "exit_code": report.exit_code,
        }

    def note(self, what: str, found: str, seconds: float) -> None:
        """A row of the table at the end."""
        self.rows.append((what, found, seconds))


def tell(story: Story) -> Report:
    """All steps and the table."""
    trained = story.step("train")
    story.note(
        "train",
        f"{trained['training_records']:,} records, {trained['shards']} shards",
        trained["took"],
    )
    story.note("accuracy before", f"{trained['accuracy']['test']:.2%}", 0)
    predicted = story.step("predict", str(story.root / "digit.png"))
    story.note(
        "predict a picture",
        f"{predicted['predictions'][0]['label']} "
        f"({predicted['predictions'][0]['probability']:.1%})",
        predicted["took"],
    )
    cost = story.step("cost")
    story.note(
        "expected cost of one deletion",
        f"{cost['expected_share']:.1%} of a full training",
        cost["took"],
    )
    for what, words in (
        ("record", ("--records", "digit-0775")),
        ("subject", ("--subjects", "123")),
    ):
        done = story.step("unlearn", *words)
        found = (
            f"{done['removed']} removed, {done['retrained']} of {done['constituents']} shards "
            "trained again"
        )
        story.note(f"unlearn a {what}", found, done["took"])
    certified = story.step("certificate", done["request"])
    met = "in time" if certified["deadline"]["met"] else "LATE"
    story.note("its certificate", f"signed by {certified['key'][:12]}…, {met}", certified["took"])
    scored = story.step("evaluate")
    story.note("accuracy after", f"{scored['accuracy']['test']:.2%}", scored["took"])
    verified = story.step("verify", "--rebuild")
    story.note(
        "verify by rebuilding",
        f"{verified['checked']} checks, fingerprints {'equal' if verified['ok'] else 'DIFFER'}",
        verified["took"],
    )
    audited = story.step("audit")
    story.note(
        "audit",
        "ledger and certificates agree" if audited["ok"] else "DIFFERENCES",
        audited["took"],
    )
    accuracy = {"before": trained["accuracy"]["test"], "after": scored["accuracy"]["test"]}
    data = {
        "accuracy": accuracy,
        "ok": verified["ok"] and audited["ok"],
        "fingerprint": verified["fingerprint"],
    }
    return Report(table(story.rows), data, exit_code=verified["exit_code"] or audited["exit_code"])


def table(rows: list[tuple[str, str, float]]) -> str:
    """The table of what happened."""
    wide = max(len(found) for _, found, _ in rows)
    lines = [
        f"{what:<30} {found:<{wide}} {f'{seconds:6.1f} s' if seconds else ''}".rstrip()
        for what, found, seconds in rows
    ]
    return "\n".join(
        ["", "what happened".ljust(31 + wide) + "  seconds", "-" * (40 + wide), *lines]
    )
