"""Rows of the request database as `ErasureRequest`s."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from lmeraser_ray.erasure.requests.request import ErasureRequest, State, Target
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.times import from_text


def request_of(row: Mapping[str, Any], found: tuple[Target, ...]) -> ErasureRequest:
    """A request from its columns (those that are missing are null) and its targets."""

    def moment(column: str) -> datetime | None:
        return from_text(row[column]) if row.get(column) else None

    plain = {field.name: row.get(field.name) for field in fields(ErasureRequest)}
    moments = {column: moment(column) for column in plain if column.endswith("_at")}
    return ErasureRequest(**{**plain, **moments, "state": State(row["state"]), "targets": found})  # type: ignore[arg-type]


def read_requests(connection: Connection, asked: Select[Any]) -> list[ErasureRequest]:
    """The requests that a selection of the table `requests` finds, in its order, with their targets: two queries, however many."""
    rows = connection.execute(asked).mappings().all()
    if not rows:
        return []
    columns = tables.targets.c
    wanted = asked.with_only_columns(tables.requests.c.id).subquery()
    named = select(tables.targets).where(columns.request_id.in_(select(wanted.c.id))).order_by(columns.what, columns.hash)
    found: defaultdict[str, list[Target]] = defaultdict(list)
    for target in connection.execute(named):
        found[target.request_id].append(Target(target.what, target.name, target.hash, target.outcome))
    return [request_of(dict(row), tuple(found[row["id"]])) for row in rows]
