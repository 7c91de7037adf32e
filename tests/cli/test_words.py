"""From words to arguments: one parse, fields of the configuration in their order, and every mistake
a sentence."""

import re
import subprocess
import sys

import pytest

from lmeraser_ray.cli.verb import Verb
from lmeraser_ray.cli.verbs import GROUPS, VERBS
from lmeraser_ray.cli.words import parse, parser_of
from lmeraser_ray.config.options import CHANGEABLE, FIELDS
from lmeraser_ray.errors import ConfigError


def overrides(*words: str, verb: str = "train") -> tuple[tuple[str, str], ...]:
    return parse(VERBS[verb], words).overrides


def test_fields_are_kept_in_their_order() -> None:
    assert overrides() == ()
    words = ["--learner.epochs", "1", "--seed=2", "--backbone.readout.layer", "-3", "--data.path="]
    assert overrides(*words, "--learner.epochs", "4") == (
        ("learner.epochs", "1"),
        ("seed", "2"),
        ("backbone.readout.layer", "-3"),
        ("data.path", ""),
        ("learner.epochs", "4"),
    )
    assert overrides("--data.subject_pattern", "x=y") == (("data.subject_pattern", "x=y"),)
    assert overrides("--backbone.mean", "[0.1, -0.2]") == (("backbone.mean", "[0.1, -0.2]"),)


def test_pictures_may_stand_between_fields() -> None:
    words = ["a", "--execution.retries", "1", "b", "--queue.poll=2", "--workspace", "W", "c"]
    args = parse(VERBS["predict"], words)
    assert [str(path) for path in args.images] == ["a", "b", "c"]
    assert args.overrides == (("execution.retries", "1"), ("queue.poll", "2"))
    after = parse(VERBS["predict"], ["--execution.retries", "1", "--", "--x.png", "y.png"])
    assert [str(path) for path in after.images] == ["--x.png", "y.png"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "a"], "'a' was not understood"),
        (["train", "--learner.epochs"], "--learner.epochs has no value"),
        (["train", "--learner.epochs", "--seed", "1"], "--learner.epochs has no value"),
        (["train", "--learner.epoch", "1"], "did you mean learner.epochs?"),
        (["train", "--epochs", "1"], "did you mean learner.epochs?"),
        (["train", "--worksapce", "w"], "did you mean workspace?"),
        (["train", "--learner", "1"], "--learner is no option"),
        (["train", "--=1"], "'--=1' was not understood"),
        (["train", "-a", "1"], "'-a' was not understood"),
        (["train", "--conf", "x"], "--conf is no option"),
        (["predict"], "required: PATH"),
        (["queue", "rest"], "invalid choice: 'rest'"),
        (["extend", "id", "--reason", "x", "--months", "two"], "--months: invalid int"),
        (["wait"], "required: ID"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(VERBS[words[0]], words[1:])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_a_verb_takes_all_fields_or_those_that_may_differ(verb: Verb) -> None:
    """The help shows its own options alone, and says where the fields are."""
    parser = parser_of(verb)
    text = parser.format_help()
    shown = set(re.findall(r"^  --([\w.]+)", text, re.M))
    taken = {option.lstrip("-") for option in parser._option_string_actions}
    assert {name for name in FIELDS if verb.configures or name.startswith(CHANGEABLE)} == (
        taken & set(FIELDS)
    )
    assert not shown & set(FIELDS)
    assert {verb.folder, "json", "quiet"} <= shown
    assert "lmeraser help config" in " ".join(text.split())


def test_the_groups_have_every_verb_once() -> None:
    assert sum(map(len, GROUPS.values())) == len(VERBS) == 38
    assert list(GROUPS) == ["train and predict", "serve", "erase", "prove", "study", "keep"]


def test_what_only_looks_loads_little() -> None:
    """The verbs of requests answer at once."""
    program = (
        "import sys; from lmeraser_ray.cli.main import run; run(None, sys.argv[1:]); "
        "print(*{'torch', 'ray', 'rich', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    for words in (
        ["cancel", "x", "--workspace", "nowhere"],
        ["wait", "x", "--workspace", "nowhere"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
        )
        assert (done.stdout, "no workspace" in done.stderr) == ("\n", True)
