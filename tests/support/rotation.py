"""Rotations of a desk's secret."""

from lmeraser_ray.operations.secret import retiring, rotated
from lmeraser_ray.storage.database.secret_change import change
from lmeraser_ray.storage.database.secret_versions import needed
from tests.support.desk import Desk


def rotate(desk: Desk) -> Desk:
    """The desk as the next command finds it after a rotation."""
    change(desk.root, desk.root / "objects" / "tmp", rotated, None)
    return Desk(desk.root, desk.url)


def retire(desk: Desk) -> Desk:
    """The same, after unneeded versions were retired."""
    with desk.open().read() as connection:
        used = needed(connection)
    change(desk.root, desk.root / "objects" / "tmp", retiring(used), None)
    return Desk(desk.root, desk.url)
