"""A study's folder: the records under study while it runs, and the results, which name no record.

STUDY/
  work/            a workspace that publishes nothing; removed when a study has ended, unless kept
  runs/NAME.json   one system under one seed, written when it is measured
  compare.json …   what the verbs make of the runs
  choice.json      keyed digests of the records that a sweep saw
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.files import disk_errors, make_folder
from lmeraser_ray.storage.foreign_json import read_bounded
from lmeraser_ray.storage.store import Store
from lmeraser_ray.storage.whole_file import write_whole

KNOWN = frozenset({"work", "runs", "figures"})


class StudyFolder:
    """The files of one study."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Errors: `ConfigError` where the folder is none, or holds what no study made."""
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"--study {self.root} is a file, expected a folder or a new name.")
        there = sorted(path.name for path in self.root.iterdir()) if self.root.exists() else []
        foreign = [name for name in there if name not in KNOWN and not (self.root / name).is_file()]
        if foreign or (there and not (self.root / "runs").is_dir()):
            raise ConfigError(
                f"--study {self.root} holds {(foreign or there)[0]!r}, which no study made: "
                "choose an empty or a new folder."
            )

    def create(self) -> None:
        """Make the folder, or accept one that is a study. Errors: as `check`."""
        self.check()
        with disk_errors(self.root):
            make_folder(self.root / "runs")

    @contextmanager
    def store(self, *, keep: bool) -> Iterator[Store]:
        """The store that the study works in, for one command at a time; removed after success
        unless it is to be kept."""
        folder = WorkspaceFolder(self.root / "work")
        held = folder.held()
        folder.create()
        try:
            with folder.locked() as workspace, workspace.emptied_on_failure(held=held):
                yield workspace.store
                if not keep:
                    self._remove()
        except BaseException:
            self._forget_nothing()
            raise

    def _forget_nothing(self) -> None:
        """Remove the folders that hold nothing: a study that failed before its first record leaves
        none."""
        for folder in (self.root / "runs", self.root):
            with suppress(OSError):
                folder.rmdir()

    def discard(self) -> None:
        """Remove the records that an earlier command kept, or left behind when it was
        interrupted."""
        if (self.root / "work").is_dir():
            with WorkspaceFolder(self.root / "work").locked():
                self._remove()

    def _remove(self) -> None:
        with disk_errors(self.root / "work"):
            shutil.rmtree(self.root / "work")

    def recall(self, name: str, made_from: Any) -> dict[str, Any] | None:
        """The result of this name, if it was made from the same settings (a JSON value)."""
        read = read_json(self.root / "runs" / f"{name}.json")
        found: dict[str, Any] | None = (
            read.get("result") if read.get("made_from") == digest_of(made_from) else None
        )
        return found

    def note(
        self, name: str, made_from: Any, result: dict[str, Any], about: dict[str, Any] | None = None
    ) -> None:
        """Keep a result, so that it need not be measured again from the same settings; `about` says
        what it is of (JSON)."""
        text = json.dumps(
            {"made_from": digest_of(made_from), "about": about or {}, "result": result}, indent=1
        ).encode()
        write_whole(self.root / "runs" / f"{name}.json", text)

    def forget(self, prefix: str) -> None:
        """Remove the results whose names begin so."""
        for path in (self.root / "runs").glob(f"{prefix}*.json"):
            with disk_errors(path):
                path.unlink(missing_ok=True)

    def noted(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Every result that is kept, in the order of names: what it is of, and the result."""
        for path in sorted((self.root / "runs").glob("*.json")):
            read = read_json(path)
            if read.get("about") and "result" in read:
                yield read["about"], read["result"]

    def write(self, name: str, data: bytes) -> Path:
        """Write one of the study's own files."""
        write_whole(self.root / name, data)
        return self.root / name

    def read(self, name: str) -> Any:
        """One of the study's JSON files. Errors: `DataError` where it is not there yet."""
        try:
            return from_json(read_bounded(self.root / name))
        except ValueError as error:
            raise DataError(
                f"The study {self.root} has a damaged {name} ({error}): remove the file, and run "
                f"`lmeraser {name.partition('.')[0]} --study {self.root}` again."
            ) from error
        except OSError as error:
            raise DataError(
                f"The study {self.root} has no {name} yet: run `lmeraser {name.partition('.')[0]} "
                f"--study {self.root}` first."
            ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    try:
        found = from_json(read_bounded(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def digest_of(made_from: Any) -> str:
    """SHA-256 over a JSON value."""
    return key_of("study/1", canonical_json(made_from))
