"""What a workspace keeps, and where: files, immutable objects by key, locks, the request database.

Nothing here knows of records, models or erasure: bytes, keys and rows only. Two kinds of storage, a
disk and a bucket, have one protocol (`filesystem.py`); all others call `files.py`. Begin with
`store.py`, then `files.py`. `digests.py` has the keys and seeds, `paths.py` the URLs;
`object_storage/` and `database/` are folders of their own.
"""
