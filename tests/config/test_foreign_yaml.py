"""YAML from others: what is nested, repeated or tagged beyond reason is refused in one sentence."""

import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from lmeraser_ray.config import Config
from lmeraser_ray.config.foreign_yaml import MAX_NODES, read_yaml_text, write_yaml_text
from lmeraser_ray.config.options import load_config, read_yaml, to_yaml, value_of
from lmeraser_ray.config.presets.catalogue import checked
from lmeraser_ray.errors import ConfigError

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)
)
HOSTILE = {
    "deep lists": "[" * 5000,
    "deep mappings": "{a: " * 500 + "}" * 500,
    "deep blocks": "".join(" " * n + "- \n" for n in range(500)),
    "billion laughs": LAUGHS,
    "billion merges": MERGES,
    "an anchor in itself": "a: &a [*a]",
    "a merge of itself": "a: &a {<<: *a}",
    "too many values": f"[{'1,' * (MAX_NODES + 1)}]",
    "too many characters": "#" * (2 << 20),
    "an empty number": '!!int ""',
    "an empty float": '!!float ""',
    "a truth that is none": "!!bool maybe",
    "a day that is none": "!!timestamp x",
    "a number of digits": "9" * 5000,
    "an object": "!!python/object/apply:os.system [ls]",
    "a list as a name": "? [a]\n: b",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    begun = time.process_time()
    for read in (
        lambda: read_yaml(path),
        lambda: checked("hostile.yaml", text),
        lambda: value_of("backbone.mean", f"[\n{text}\n]" if text[0] not in "[{" else text),
    ):
        with pytest.raises(ConfigError) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000
    assert time.process_time() - begun < 30


def test_anchors_and_merges_stay_of_use() -> None:
    text = "a: &a {b: 1}\nc: *a\nd: {<<: *a, e: [2.5, null]}"
    assert read_yaml_text(text) == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": [2.5, None]}}


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than"):
        read_yaml(Path("/dev/zero"))


TWICE = {
    "at the top": ("data: {source: folder, path: a, exclude: optout.txt}\ndata: {path: a}", 1, 2),
    "below a section": ("learner:\n  epochs: 3\n  lr: 1\n  epochs: 4", 2, 4),
    "in braces": ("learner: {epochs: 3, epochs: 4}", 1, 1),
    "in braces on two lines": ("learner: {epochs: 3,\n  epochs: 4}", 1, 2),
    "in quotes": ("seed: 1\n\n'seed': 2", 1, 3),
    "in other quotes": ("\"seed\": 1\n'seed': 2", 1, 2),
    "by an escape": ('seed: 1\n"s\\x65ed": 2', 1, 2),
    "of the same value": ("seed: 1\nseed: 1", 1, 2),
    "of no value": ("seed:\nseed: 1", 1, 2),
    "in a list": ("a:\n- b: 1\n  c: 2\n  b: 3", 2, 4),
    "by an alias": ("x: &x k\n*x : 1\nk: 2", 2, 3),
    "by question marks": ("? seed\n: 1\n? seed\n: 2", 1, 3),
    "two merges": ("a: &a {b: 1}\nd:\n  <<: *a\n  <<: *a", 3, 4),
    "within what is merged": ("a: &a\n  b: 1\n  b: 2\nd:\n  <<: *a", 2, 3),
    "one number in two forms": ("1: a\n0x1: b", 1, 2),
    "one number in two types": ("1: a\n1.0: b", 1, 2),
    "a truth and its number": ("1: a\ntrue: b", 1, 2),
    "two nulls": ("~: a\nnull: b", 1, 2),
    "far apart": ("data: {}" + "\n" * 300 + "data: {}", 1, 301),
}


@pytest.mark.parametrize(("text", "first", "second"), TWICE.values(), ids=TWICE)
def test_a_key_that_comes_twice_is_refused_with_both_lines(
    text: str, first: int, second: int, tmp_path: Path
) -> None:
    """Whichever of the two was meant: the other would be lost in silence."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    said = f"on line {first} and again on line {second}: "
    for read in (lambda: read_yaml(path), lambda: checked("mine.yaml", text)):
        with pytest.raises(ConfigError, match=said):
            read()


def test_who_opted_out_is_not_trained_on_by_a_second_section(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: {source: folder, path: p, exclude: optout.txt}\ndata: {path: p}\n")
    with pytest.raises(ConfigError, match="the key 'data' stands on line 1 and again on line 2"):
        load_config(path, [])


def test_keys_that_are_equal_in_other_mappings_are_no_second_ones() -> None:
    text = "a: &a {b: 1, c: {b: 2}}\nl: [{b: 1}, {b: 2}]\nd: {<<: *a, b: 3}\ne: {<<: [*a, *a]}"
    read = {"b": 1, "c": {"b": 2}}
    assert read_yaml_text(text) == {
        "a": read,
        "l": [{"b": 1}, {"b": 2}],
        "d": {"b": 3, "c": {"b": 2}},
        "e": read,
    }


PLAIN = {
    "0o17": 15, "0x1F": 31, "007": 7, "08": 8, "0": 0, "-0": 0, "+1": 1, "-12": -12,
    "1e-3": 0.001, "1E3": 1000.0, ".5": 0.5, "-.5": -0.5, "5.": 5.0, "1.5e+2": 150.0, "01.5": 1.5,
    "true": True, "True": True, "FALSE": False, "null": None, "Null": None, "~": None, "": None,
} | {text: text for text in (
    "yes", "no", "on", "off", "y", "n", "Yes", "NO", "tRue", "nULL", "none", "None", "1:30",
    "190:20:30.15", "1:30.5", "1_000", "1_0.5", "0b11", "0o8", "+0o7", "-0x1", "2026-01-01",
    "2026-01-01T12:00:00Z", "=", "e3", ".", ".e3", "1e", "12,5", "0x",
)}  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_scalar_is_what_yaml_1_2_says(text: str) -> None:
    found = read_yaml_text(f"a: {text}")
    assert found == {"a": PLAIN[text]}
    assert isinstance(found, dict) and type(found["a"]) is type(PLAIN[text])


@pytest.mark.parametrize("text", ["012", "-012", "+0777", "0010", "!!int 012", "!!int '012'"])
@pytest.mark.parametrize("place", ["seed: {}", "learner: {{epochs: {}}}", "a: [1, {}]", "{}: a"])
def test_a_number_that_two_versions_read_differently_is_refused(text: str, place: str) -> None:
    with pytest.raises(ValueError, match=r"on line 1 is .* in YAML 1.1 and .* in YAML 1.2"):
        read_yaml_text(place.format(text))


@pytest.mark.parametrize(
    "text",
    ["!!bool yes", "!!int 1:30", "!!float 1:30", "!!null x", "!!timestamp 2026-01-01",
     "!!binary aGk=", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!mine x"],
)  # fmt: skip
def test_a_tag_brings_no_older_version_back(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        read_yaml_text(f"a: {text}")


@pytest.mark.parametrize("field", ["1:30", "yes", "1.5", "2026-01-01", "0b11"])
def test_a_seed_that_is_no_number_is_refused(field: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"seed: {field}\n")
    with pytest.raises(ConfigError, match="seed is"):
        load_config(path, [])


TEXTS = [*PLAIN, "012", "<<", "é", "'", "a: b", "# a", "[a-z]", "{a}", "*a", "- a", "true ", "\n"]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_is_read_again_by_either_version(text: str) -> None:
    value = {"a": text, text or "-": [1e-5, 1e22, True, None, 12]}
    written = write_yaml_text(value)
    assert read_yaml_text(written) == value
    assert yaml.safe_load(written) == value


def test_a_configuration_with_texts_that_look_like_numbers_is_read_again(tmp_path: Path) -> None:
    names = ("1e3", "0o17", "no")
    config = Config.model_validate(
        {"data": dict(zip(("id_column", "label_column", "subject_column"), names, strict=True))}
    )
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert load_config(path, []) == config


def test_every_yaml_of_the_repository_reads_as_before() -> None:
    """The values of what is kept do not move with the version of YAML."""
    root = Path(__file__).parents[2]
    found = Counter(
        (read_yaml_text(path.read_text()) == yaml.safe_load(path.read_text()))
        for folder in ("configs", "lmeraser_ray/config/presets")
        for path in (root / folder).rglob("*.yaml")
    )
    assert found.keys() == {True}
