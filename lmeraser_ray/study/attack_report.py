"""What an attack writes: its results, and a table for reading.

STUDY/attack.json   the law in both settings, and each method's figures by forget set
STUDY/attack.md     the same as a table
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeraser_ray.study.attacks import Divergence, Power
from lmeraser_ray.study.comparison_table import markdown
from lmeraser_ray.study.machine import describe
from lmeraser_ray.study.study_folder import StudyFolder

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Method:
    """The results of one way to unlearn: the power of the attack, KLoM on forgotten, retained and
    test records (empty where it was left out), and the test accuracy of the shadow models."""

    power: Power
    klom: dict[str, Divergence]
    accuracy: float | None


@dataclass(frozen=True)
class Attack:
    """The law in this setting and the results of the methods, each by forget set; the files, and
    the report as text."""

    equality: dict[str, dict[str, Any]]
    sets: dict[str, dict[str, Method]]
    files: tuple[Path, ...]
    text: str

    def __repr__(self) -> str:
        aucs = (f"{row['records']}, {row['method']} {row['auc']:.3f}" for row in self.rows())
        law = "holds" if all(found["equal"] for found in self.equality.values()) else "fails"
        return f"Attack(the law {law}; AUC: {'; '.join(aucs)})"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the figures of each method on each forget set, by name."""
        for name, methods in self.sets.items():
            for method, found in methods.items():
                power = found.power
                yield {
                    "records": name,
                    "method": method,
                    **dict(zip(("auc", "low", "high"), (power.auc, *power.interval), strict=True)),
                    "tpr": power.tpr,
                    **{
                        f"klom, {part}{what}": value
                        for part, one in found.klom.items()
                        for what, value in (
                            ("", one.mean),
                            (", null", one.null),
                            (", excess", one.excess),
                        )
                    },
                    "accuracy": found.accuracy,
                }

    def to_pandas(self) -> "DataFrame":
        """Return a row a method and forget set: AUC with its interval, TPR at 1% FPR, KLoM with its
        null, test accuracy."""
        from pandas import DataFrame

        return DataFrame(list(self.rows()))

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html())


def written(
    study: StudyFolder,
    setting: Mapping[str, Any],
    about: str,
    equality: dict[str, dict[str, Any]],
    sets: dict[str, dict[str, Method]],
) -> Attack:
    """Write the results as JSON and as a table. setting: what was attacked, about: the same in a
    sentence."""
    found = {
        name: {method: asdict(result) for method, result in methods.items()}
        for name, methods in sets.items()
    }
    data = {"machine": describe(), "setting": setting, "state_equality": equality, "sets": found}
    text = f"{about}\n\n{to_markdown(equality, sets)}\n\n{READING}"
    files = (
        study.write("attack.json", json.dumps(data, indent=1).encode()),
        study.write("attack.md", (text + "\n").encode()),
    )
    return Attack(equality, sets, files, text)


READING = (
    "AUC: of telling a model that had the record, after the method, from one that never had it: "
    "0.5 is a coin. Beside\n`no-op` stand models that were not unlearned either and lack this "
    "record only; beside the others, models without the forget set.\nKLoM: KL divergence in nats "
    "of a record's margins from those of oracles, trained without the forget set; the mean over "
    "records.\nnull: the same of two equal samples, by dividing the two pooled at random; excess: "
    "what is above that, 0 where nothing is left."
)
PARTS = ("forget", "retain", "test")
HEAD = (
    *("records to forget", "method", "AUC", "95%", "TPR at 1% FPR"),
    *(f"KLoM {part}{what}" for part in PARTS for what in ("", ", null", ", excess")),
    "test accuracy",
)


def to_markdown(equality: dict[str, dict[str, Any]], sets: dict[str, dict[str, Method]]) -> str:
    """Return the table: the law, then a row for each forget set and method."""
    lines = [
        f"unlearn(train(D), U) = train(D \\ U), {name} records: {found['equal']} "
        f"({found['unlearned'][:16]}, {found['retrained'][:16]})\n"
        for name, found in equality.items()
    ]
    rows = [
        [name, method, *cells(result)]
        for name, methods in sets.items()
        for method, result in methods.items()
    ]
    return "\n".join([*lines, markdown(HEAD, rows)])


def cells(result: Method) -> list[str]:
    """Return the figures of a method."""
    found = result.power
    divergences = [
        f"{value:.2f}"
        for part in result.klom.values()
        for value in (part.mean, part.null, part.excess)
    ]
    return [
        f"{found.auc:.3f}",
        f"{found.interval[0]:.3f} to {found.interval[1]:.3f}",
        f"{found.tpr:.3f}",
        *(divergences or ["n/a"] * 3 * len(PARTS)),
        "n/a" if result.accuracy is None else f"{result.accuracy:.3f}",
    ]
