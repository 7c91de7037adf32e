"""Until when trials go on: by the clock, and by how long a kind of learner took for a pass."""

from lmeraser_ray.study.deadline import TIME_OVER, Deadline


def test_a_trial_is_too_late_when_its_pace_says_so() -> None:
    now = [100.0]
    deadline = Deadline(60, lambda: now[0])
    assert deadline.too_late("prompt_head", 10**9) is None, "nobody knows how long that takes"
    deadline.heard("prompt_head", 1000, 20.0)
    now[0] += 20
    assert deadline.too_late("prompt_head", 2000) is None
    assert deadline.too_late("prompt_head", 2001) == "about 40 s of training"
    assert deadline.too_late("whole_model", 5000) == "about 100 s of training", "at the like pace"
    assert deadline.too_late("ridge", 0) is None, "what does not descend takes no time"
    deadline.heard("whole_model", 10, 10.0)
    assert deadline.too_late("whole_model", 50) == "about 50 s of training"
    assert deadline.too_late("prompt_head", 2000) is None, "each kind has its own"
    now[0] += 40
    assert deadline.passed
    assert deadline.too_late("ridge", 0) == TIME_OVER


def test_without_an_end_nothing_is_too_late() -> None:
    deadline = Deadline()
    deadline.heard("prompt_head", 1, 1e9)
    assert deadline.too_late("prompt_head", 10**9) is None
    assert not deadline.passed
