"""A blend in a configuration: its systems, their weights, its mistakes; what is printed can be read
again."""

from pathlib import Path

import pytest

from lmeraser_ray.config import AllConfig, Config, NearestConfig
from lmeraser_ray.config.kept import decided
from lmeraser_ray.config.options import load_config, override, print_config, to_yaml
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.partition.shard_count import with_kept_cut

RIDGE = (
    "{partition: {kind: random, shards: 1}, learner: {kind: ridge}, aggregation: {kind: all}, "
    "weight: 3}"
)
BLEND = [("aggregation.kind", "blend"), ("aggregation.others", f"[{RIDGE}]")]


def test_each_system_is_a_configuration_of_its_own() -> None:
    config = load_config(None, [*BLEND, ("aggregation.shards", "5"), ("seed", "4")])
    first, second = config.members
    assert first == load_config(None, [("aggregation.shards", "5"), ("seed", "4")])
    assert second == load_config(
        None,
        [
            ("partition.kind", "random"),
            ("partition.shards", "1"),
            ("learner.kind", "ridge"),
            ("aggregation.kind", "all"),
            ("seed", "4"),
        ],
    )
    assert config.weights == (1.0, 3.0)
    assert first.aggregation == NearestConfig(shards=5)
    assert second.aggregation == AllConfig()


def test_a_configuration_of_one_system_has_one_member() -> None:
    assert Config().members == (Config(),)
    assert Config().weights == (1.0,)


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    config = load_config(None, BLEND)
    path = tmp_path / "printed.yaml"
    for text in (print_config(None, BLEND), to_yaml(config)):
        path.write_text(text)
        assert load_config(path, []) == config
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert override(config, [("aggregation.weight", "2")]).weights == (2.0, 3.0)


def test_a_file_replaces_the_other_systems_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"aggregation: {{weight: 2, others: [{RIDGE}, {RIDGE}]}}")
    config = load_config(path, [], system="blend")
    assert config.weights == (2.0, 3.0, 3.0)
    assert config.members[0].aggregation == AllConfig()


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ("[]", "aggregation.others is missing"),
        ("3", "aggregation.others is '3' in the options, expected a list of values"),
        ("[{partition: {kind: rndom}}]", "others.0.partition.kind is 'rndom' .* mean random?"),
        ("[{partition: {shards: -1}}]", "others.0.partition.shards is -1 .* more than 0"),
        ("[{aggregation: {kind: blend}}]", "expected one of nearest, all, hash"),
        ("[{partition: {shards: 2000000}}]", "shards is 2000000, expected at most 1048576"),
        ("[{partition: {kind: random}}]", "random partition has no prototypes"),
        ("[{learner: {kind: ridge, epochs: 3}}]", "others.0.learner.epochs .* is no field"),
        ("[{learner: {kind: shared_head, slices: 3}}]", "with a shared head set it to 1"),
        ("[{weight: 0}]", "others.0.weight is 0 in the options, expected more than 0"),
        ("[{wait: 1}]", "others.0.wait .* is no field"),
    ],
)
def test_mistakes_are_named(others: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(None, [BLEND[0], ("aggregation.others", others)])


def test_each_system_keeps_the_cut_that_a_workspace_chose() -> None:
    """Where the configuration sets none: of the systems with the same kind of partition."""
    others = "[{partition: {kind: random}, aggregation: {kind: all}}]"
    config = load_config(None, [BLEND[0], ("aggregation.others", others)])
    kept = config.with_partitions(
        [
            member.partition.model_copy(update={"shards": shards})
            for member, shards in zip(config.members, (5, 2), strict=True)
        ]
    )
    assert with_kept_cut(config.with_fold(kept=False), kept.identity()) == decided(kept)
    assert with_kept_cut(config, None) == config
    assert with_kept_cut(config, Config().identity()).identity() == config.identity()
