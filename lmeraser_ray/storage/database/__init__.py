"""The request database of a workspace, in SQLite or PostgreSQL: transactions, tables, the ledger.

Begin with `database.py`; `sqlite.py` and `postgresql.py` are its two dialects, `tables.py` the
schema. `ledger.py` is the hash chain of what happened, `tombstones.py` who must not come back,
`pseudonyms.py` the keyed hashes, `keyring.py` the versions of their secret, `secret_place.py` where
the secret lies, `secret_change.py` how it is changed, `secret_versions.py` what the database knows
of it, `database_location.py` the file that says which database it is,
`workspace_lock.py` the lock of commands that write. What a request means is not known here.
"""
