"""The figure of an attack: what is drawn is what the results say."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray.errors import DataError
from lmeraser_ray.study.attack_report import Attack, Method
from lmeraser_ray.study.attacks import Divergence, Power
from lmeraser_ray.study.figure.attack import power_of_an_attack, rows_of
from lmeraser_ray.study.figures import study_figures, verb_figure
from tests.support.studies import drawn, results, texts


def method(auc: float, klom: float | None = None) -> dict[str, Any]:
    parts = {"mean": klom, "p95": klom, "null": 0.5, "excess": (klom or 0) - 0.5, "records": 40}
    return {
        "power": {
            "auc": auc,
            "interval": [auc - 0.05, auc + 0.04],
            "tpr": 0.1,
            "tpr_interval": [0.0, 0.2],
            "records": 40,
        },
        "klom": {} if klom is None else dict.fromkeys(("forget", "retain", "test"), parts),
        "accuracy": 0.9,
    }


SETS = {
    "memorised": {
        "exact": method(0.51, 0.4),
        "no-op": method(0.9, 2.5),
        "fine-tuning": method(0.7, 1.0),
    },
    "random": {
        "exact": method(0.49, 0.6),
        "no-op": method(0.6, 0.7),
        "fine-tuning": method(0.55, 0.5),
    },
}
DATA: dict[str, Any] = {
    "machine": {"cpu": "Some CPU", "cores": 2, "gpu": None, "torch": "2.0"},
    "setting": {
        "system": "lmeraser",
        "data": "digits",
        "backbone": "tiny",
        "identity": {"seed": 3},
        "shadows": 64,
        "forget": 40,
        "models": 200,
    },
    "sets": SETS,
}


def test_every_method_of_every_set_has_its_row() -> None:
    """AUC with its interval beside the coin; KLoM beside its null, the excess in numbers."""
    figure = drawn(power_of_an_attack(DATA))
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == [
        "exact",
        "no-op (control)",
        "fine-tuning",
    ] * 2
    places = [row.place for row in rows_of(SETS)]
    assert places == sorted(places) and places[3] - places[2] > 2, "the sets stand apart"
    points = [line for line in left.lines if line.get_marker() == "o"]
    shown = [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in points]
    found = [one["power"]["auc"] for methods in SETS.values() for one in methods.values()]
    assert shown == list(zip(found, places, strict=True))
    ends = [bar.get_segments()[0][:, 0].tolist() for bar in left.collections]
    assert ends == [[auc - 0.05, auc + 0.04] for auc in found]
    assert {"0.510", "0.900", "memorised records", "random records"} <= set(texts(left))
    assert {"−0.10", "2.00"} <= set(texts(right))
    assert left.get_ylim()[0] > left.get_ylim()[1], "the first row is on top"
    assert left.get_xlim()[0] < 0.44 and left.get_xlim()[1] == 1
    assert right.get_xlim() == (0, pytest.approx(2.75))
    foot = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert "64 shadow models, 200 a side of KLoM, 40 records a set; seed 3; Some CPU" in foot


def test_without_klom_there_is_one_panel() -> None:
    data = deepcopy(DATA)
    for methods in data["sets"].values():
        for one in methods.values():
            one["klom"] = {}
    data["setting"]["models"] = 0
    figure = drawn(power_of_an_attack(data))
    assert len(figure.axes) == 1
    assert "KLoM" not in " ".join(text.get_text() for text in figure.texts)


def test_a_study_shows_all_that_it_holds(tmp_path: Path) -> None:
    """Whatever verb found it; results of another version are named and leave the others."""
    study = tmp_path / "study"
    (study / "runs").mkdir(parents=True)
    with pytest.raises(DataError, match=r"has no compare\.json yet"):
        study_figures(study, tmp_path / "none")
    (study / "attack.json").write_text(json.dumps(DATA))
    one = study_figures(study, tmp_path / "one")
    assert [path.name for path in one.files] == ["attack.png", "attack.svg"]
    assert verb_figure(study, "attack")[0].read_bytes() == one.files[0].read_bytes()
    (study / "compare.json").write_text(json.dumps(results({"lmeraser": ("lmeraser", {})})))
    (study / "sweep.json").write_text("{}")
    everything = study_figures(study, tmp_path / "all")
    assert {"frontier", "attack"} <= {path.stem for path in everything.files}
    assert "not what this version's `lmeraser sweep` writes" in everything.skipped["sweep"]
    (study / "attack.json").write_text("{")
    with pytest.raises(DataError, match=r"damaged attack\.json"):
        study_figures(study, tmp_path / "damaged")


def test_an_attack_as_a_table() -> None:
    of = Power(0.51, (0.46, 0.55), 0.1, (0.0, 0.2), 40)
    klom = {"forget": Divergence(0.4, 0.9, 0.5, -0.1, 40)}
    sets = {"memorised": {"exact": Method(of, klom, 0.9), "no-op": Method(of, {}, None)}}
    found = Attack({"memorised": {"equal": True}}, sets, (), "text")
    frame = found.to_pandas()
    assert frame.method.tolist() == ["exact", "no-op"]
    assert frame[["auc", "low", "high"]].iloc[0].tolist() == [0.51, 0.46, 0.55]
    assert frame["klom, forget, excess"].tolist()[0] == -0.1
    assert repr(found) == (
        "Attack(the law holds; AUC: memorised, exact 0.510; memorised, no-op 0.510)"
    )
    assert "<table" in found._repr_html_()
