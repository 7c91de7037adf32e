"""How long a command took, in words."""

import pytest

from lmeraser_ray.cli.verb import spoken, timed
from lmeraser_ray.pipeline.progress import Progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (0.04, "0.0 s"),
        (59.4, "59.4 s"),
        (59.96, "1 min 0 s"),
        (125.4, "2 min 5 s"),
        (3599.7, "1 h 0 min"),
        (3600.0, "1 h 0 min"),
        (90000.0, "25 h 0 min"),
    ],
)
def test_a_span_in_words(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_the_total_comes_first_and_what_took_no_time_is_left_out() -> None:
    progress = Progress(quiet=True)
    progress.seconds.update({"ingest": 1.25, "plan": 0.001, "training": 130.0})
    assert timed(progress) == "took 2 min 11 s: ingest 1.2 s, training 2 min 10 s"
    assert progress.rounded() == {
        "ingest": 1.25,
        "plan": 0.001,
        "training": 130.0,
        "total": 131.251,
    }
    assert timed(Progress(quiet=True)) == "took 0.0 s"
