"""Tombstones in a desk's database, written and read in one transaction each."""

from sqlalchemy import insert, select

from lmeraser_ray.storage.database import tables
from tests.support.desk import Desk

STONE = tables.tombstones


def add(desk: Desk, *hashes: str) -> None:
    with desk.open().write() as connection:
        connection.execute(insert(STONE), [{"hash": found} for found in hashes])


def held(desk: Desk) -> set[str]:
    with desk.open().read() as connection:
        return set(connection.scalars(select(STONE.c.hash)))
