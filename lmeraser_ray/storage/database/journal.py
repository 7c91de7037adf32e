"""Whether SQLite's rollback journal is whole. SQLite itself stops at the first record that is not, and calls what it has then rolled back.

The format (https://www.sqlite.org/fileformat2.html#the_rollback_journal): a header in a sector of its own (magic, number of records, nonce,
…, sector size, page size), then so many records of page number, page and checksum; then perhaps another header. SQLite syncs the records,
then writes their number and syncs that, and only then touches the database. So a header that counts records which are not there was cut
after that: the database cannot be brought back.
"""

import struct
from pathlib import Path

from lmeraser_ray.storage.files import disk_errors

MAGIC = bytes.fromhex("d9d505f920a163d7")
HEADER = struct.Struct(">8sIIIII")
STEP = 200
"""Every so many bytes of a page, from its end, enter its checksum."""


def torn_journal(path: Path) -> str | None:
    """What is wrong with the journal at `path`, None where SQLite can roll back all of it (or nothing was begun)."""
    with disk_errors(path):
        if not path.exists():
            return None
        data = path.read_bytes()
    at = 0
    while at + HEADER.size <= len(data) and data[at : at + 8] == MAGIC:
        _, count, nonce, _, sector, page = HEADER.unpack_from(data, at)
        if at == 0:
            first_sector, first_page = sector, page
        sector, page = first_sector, first_page  # only the first header's count
        if not 32 <= sector <= 65536 or not 512 <= page <= 65536:
            return "the journal of the transaction that was under way has a damaged header"
        start = at + sector
        for number in range(count):
            record = data[start + number * (page + 8) : start + (number + 1) * (page + 8)]
            if len(record) < page + 8 or checksum(record[4:-4], nonce) != int.from_bytes(record[-4:], "big"):
                return "the journal of the transaction that was under way is cut or changed, so it cannot be rolled back"
        end = start + count * (page + 8)
        at = -(-end // sector) * sector
        if count == 0:
            break
    return None


def checksum(page: bytes, nonce: int) -> int:
    """SQLite's checksum of a page."""
    return (nonce + sum(page[i] for i in range(len(page) - STEP, 0, -STEP))) & 0xFFFFFFFF
