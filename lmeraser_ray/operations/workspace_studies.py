"""What is measured of a workspace and what is written to be passed on: what `cost`, `report`,
`export`, `compare`, `sweep`, `attack`, `diversity` and `figures` do, as methods of `Workspace`.

Place in the flow: above `study`, which is above this folder; each method imports its study when it
is called. Invariant: without a configuration, a study is one of the workspace's own.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeraser_ray.config.from_python import Given, text_of, tree_of
from lmeraser_ray.config.several import several
from lmeraser_ray.errors import ConfigError

if TYPE_CHECKING:
    from lmeraser_ray.operations.cost import Costing
    from lmeraser_ray.operations.export import Exported
    from lmeraser_ray.operations.workspace_report import WorkspaceReport
    from lmeraser_ray.pipeline.session import Session
    from lmeraser_ray.study.attack_report import Attack
    from lmeraser_ray.study.compare import Comparison
    from lmeraser_ray.study.diversity import Diversity, Metric
    from lmeraser_ray.study.figures import Figures
    from lmeraser_ray.study.ingested_flow import On
    from lmeraser_ray.study.sweep_report import Written

Values = Mapping[str, Iterable[object]]
"""Fields, each with the values that it takes."""


class WorkspaceStudies:
    """The methods that measure and draw. study: a folder, which keeps what was measured, so that
    an interrupted study goes on."""

    session: "Session"

    def cost(
        self,
        records: Iterable[str] = (),
        *,
        subjects: Iterable[str] = (),
        each: bool = False,
        person: bool = False,
        batches: Iterable[float] = (),
        additions: Iterable[float] = (),
    ) -> "Costing":
        """Compute the work of one erasure of all these records and subjects, and each record's by
        itself if asked; of each person; of random batches and of additions, by their shares of the
        training records. Without anything: of the deletion of each training record."""
        from lmeraser_ray.operations.cost import cost, question_of

        shares = (batches, additions)
        return cost(self.session, question_of(records, subjects, each, person, *shares))

    def report(
        self, path: str | Path, *, requests_csv: str | Path | None = None
    ) -> "WorkspaceReport":
        """Write one HTML page about the published state and its erasures, to be passed on: it names
        no record and no person. requests_csv: a file for the requests as a table."""
        from lmeraser_ray.operations.workspace_report import report

        return report(
            self.session, Path(path), None if requests_csv is None else Path(requests_csv)
        )

    def export(
        self, folder: str | Path, *, with_features: bool = False, license_id: str = "other"
    ) -> "Exported":
        """Write the published model, with a model card, to a new folder: `ExportedModel.load` reads
        it without this workspace. No erasure reaches what was exported. with_features: also where
        features of single records are part of the model; license_id: what the card says."""
        from lmeraser_ray.operations.export import export

        return export(
            self.session, Path(folder), with_features=with_features, license_id=license_id
        )

    def compare(
        self,
        study: str | Path,
        *,
        config: Given = None,
        systems: Iterable[str] = ("all",),
        seeds: Iterable[int] = (0, 1, 2),
        vary: Values | None = None,
        deletions: int = 3,
        together: int = 10,
        forget: Iterable[float] = (),
        curves: bool = False,
        keep: bool = False,
        on: "On" = "test",
    ) -> "Comparison":
        """Compare systems on the data and the backbone of `config`: accuracy against the price of
        forgetting. vary: fields with the values that each system is measured with; on: the records
        to judge by."""
        from lmeraser_ray.study.compare import CompareRequest, compare
        from lmeraser_ray.study.measure import Extent
        from lmeraser_ray.study.variants import variants

        axes = [axis(name, values) for name, values in (vary or {}).items()]
        names, numbers = several(systems, "systems", str), several(seeds, "seeds", int)
        extent = Extent(deletions, together, several(forget, "forget", float, int))
        found = variants(self._base(config), names, [], axes)
        request = CompareRequest(found, numbers, extent, curves=curves, keep=keep, on=on)
        return compare(self._of(study), request)

    def sweep(
        self,
        study: str | Path,
        *,
        values: Values | None = None,
        thresholds: tuple[float, float, int] | None = None,
        config: Given = None,
        system: str | None = None,
        person: bool = False,
        batch: float | None = None,
        budget: float | None = None,
        seconds: float | None = None,
        keep: bool = False,
    ) -> "Written":
        """Find which values to train with, by accuracy and cost of a deletion, without whom this
        workspace erased. thresholds: first, last and number of values of `partition.threshold`;
        the others as of `recommend`."""
        from lmeraser_ray.study.recommendation import question
        from lmeraser_ray.study.sweep import SweepRequest, sweep
        from lmeraser_ray.study.variants import parse_range, parse_swept, sweep_variants

        axes = [parse_swept(axis(name, each)) for name, each in (values or {}).items()]
        if thresholds is not None:
            ends = ":".join(map(str, several(thresholds, "thresholds", float, int)))
            axes.insert(0, ("partition.threshold", parse_range(ends)))
        if not axes:
            raise ConfigError("Nothing to sweep was named: give thresholds or values.")
        found = sweep_variants(self._base(config, system), [], axes)
        erased = self.session.root if self.session.folder.current() else None
        asked = question(person=person, batch=words(batch), budget=words(budget))
        request = SweepRequest(found, erased, keep=keep, question=asked, seconds=seconds)
        return sweep(self._of(study), request)

    def recommend(
        self,
        study: str | Path,
        *,
        config: Given = None,
        systems: Iterable[str] = ("all",),
        person: bool = False,
        batch: float | None = None,
        budget: float | None = None,
        seconds: float | None = 170.0,
        keep: bool = False,
    ) -> "Written":
        """Find which system suits the data, by accuracy on people held out and the work of a
        deletion, without whom this workspace erased.

        person, batch: the work of deleting a person, or a random batch of this share, instead of
        one record; budget: the most that the mean work may be, as a share of a full training;
        seconds: after which nothing more is tried, None for no end.
        """
        from lmeraser_ray.study.candidates import candidates, suiting
        from lmeraser_ray.study.recommendation import question
        from lmeraser_ray.study.sweep import SweepRequest, sweep

        names = several(systems, "systems", str)
        base = self._base(config)
        found, unsuited = candidates(base, [], names)
        request = SweepRequest(
            found,
            self.session.root if self.session.folder.current() else None,
            keep=keep,
            question=question(person=person, batch=words(batch), budget=words(budget)),
            seconds=seconds,
            verb="recommend",
            unsuited=unsuited,
            suits=suiting(base, []),
        )
        return sweep(self._of(study), request)

    def attack(
        self,
        study: str | Path,
        *,
        config: Given = None,
        system: str | None = None,
        shadows: int = 64,
        forget: int = 40,
        share: float = 0.2,
        models: int = 200,
        keep: bool = False,
    ) -> "Attack":
        """Measure whether unlearning removes what it says: the law, then membership attacks. The
        numbers are those of `study.attack.AttackRequest`."""
        from lmeraser_ray.config.options import with_overrides
        from lmeraser_ray.study.attack import AttackRequest, attack

        found = with_overrides(self._base(config, system), [], source="the configuration")
        request = AttackRequest(
            system or "workspace",
            found,
            shadows=shadows,
            forget=forget,
            share=share,
            models=models,
            keep=keep,
        )
        return attack(self._of(study), request)

    def diversity(self, *, metric: "Metric" = "features", pairs: int = 2000) -> "Diversity":
        """Measure how different the training pictures are, and how much less within a shard."""
        from lmeraser_ray.study.diversity import diversity

        return diversity(self.session, metric=metric, pairs=pairs)

    def figures(self, out: str | Path, *, study: str | Path | None = None) -> "Figures":
        """Draw the workspace's shards and prompts, which show private records, or with `study` that
        study's results."""
        from lmeraser_ray.study.figures import study_figures, workspace_figures

        if study is None:
            return workspace_figures(self.session, Path(out))
        return study_figures(Path(study), Path(out), self.session.progress)

    def _base(self, config: Given, system: str | None = None) -> dict[str, Any]:
        """Return what a study is of: the configuration that is given, on a system, else the
        workspace's, with a system in the place of its own."""
        from lmeraser_ray.config.presets import with_system
        from lmeraser_ray.study.variants import on_another_system

        tree = tree_of(self.session.config().undecided() if config is None else config)
        if system is None:
            return tree
        return (on_another_system if config is None else with_system)(tree, system)

    def _of(self, study: str | Path) -> "Session":
        """Return the session of a study's folder."""
        from lmeraser_ray.pipeline.session import Session

        return Session(Path(study), self.session.progress)


def words(share: float | None) -> str | None:
    """Return a share as an option has it."""
    return None if share is None else text_of(share)


def axis(name: str, values: Iterable[object]) -> str:
    """Return a field and its values as an option has them. Errors: `TypeError` for one text."""
    return f"{name}={','.join(map(text_of, several(values, name, str, int, float, type(None))))}"
