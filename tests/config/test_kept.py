"""The configuration that a workspace keeps: a key that comes twice hides no other value."""

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.config.kept import decided, read_kept


@pytest.mark.parametrize("twice", ['"seed":1,"seed":2,', '"data":{},"data":{},'])
def test_a_key_that_comes_twice_is_damage(twice: str) -> None:
    data = Config().model_dump_json()
    assert read_kept(data.encode()).config == decided(Config())
    with pytest.raises(ValueError, match="twice"):
        read_kept(f"{{{twice}{data[1:]}".encode())


def test_a_key_that_comes_twice_in_a_section_is_damage() -> None:
    data = Config().model_dump_json()
    twice = data.replace('"data":{', '"data":{"exclude":"optout.txt",')
    assert twice != data
    with pytest.raises(ValueError, match="twice"):
        read_kept(twice.encode())
