"""Where the queue's actor lives."""

from unittest.mock import patch

import pytest

from lmeraser_ray.distributed import actor_handle
from lmeraser_ray.distributed.actor_handle import SEAT, place


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [({"CPU": 8.0}, {}), ({"CPU": 8.0, SEAT: 1.0}, {"resources": {SEAT: 0.001}})],
)
def test_on_a_server_it_takes_the_seat_where_there_is_one(
    resources: dict[str, float], wanted: dict[str, object]
) -> None:
    assert place("postgresql", resources) == wanted


def test_with_sqlite_it_is_here_whatever_there_is() -> None:
    with patch.object(actor_handle, "here", lambda: "here"):
        assert place("sqlite", {SEAT: 1.0}) == {"scheduling_strategy": "here"}
