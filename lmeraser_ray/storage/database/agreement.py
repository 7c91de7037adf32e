"""Whether requests and ledger are of one moment: what a transaction that was rolled back only in part would leave apart."""

from sqlalchemy import Connection, func, select

from lmeraser_ray.storage.database.tables import ledger, requests


def disagreements(connection: Connection) -> list[str]:
    """A sentence for each kind of disagreement; reads both tables. Every change of state writes a ledger entry of that name with it."""
    found: list[str] = []
    entries = select(ledger.c.seq).where(ledger.c.request_id == requests.c.id, ledger.c.kind == requests.c.state)
    silent = connection.scalar(select(func.count()).select_from(requests).where(~entries.exists()))
    if silent:
        found.append(f"{silent} requests are in a state that the ledger knows nothing of")
    known = select(requests.c.id).where(requests.c.id == ledger.c.request_id)
    unknown = select(func.count()).select_from(ledger).where(ledger.c.request_id.is_not(None), ~known.exists())
    lost = connection.scalar(unknown)
    if lost:
        found.append(f"{lost} ledger entries tell of requests that are not there")
    count, last = connection.execute(select(func.count(), func.coalesce(func.max(ledger.c.seq), 0)).select_from(ledger)).one()
    if count != last:
        found.append(f"the ledger has {count} entries, its last number is {last}")
    return found
