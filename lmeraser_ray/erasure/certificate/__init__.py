"""Certificates: the statement of an erasure, its signature, and the audit of all of them.

Begin with `statement.py`, which declares every field. `dsse.py` is the envelope, `keystore.py` the
folder of signing keys, `signer.py` signs what the queue froze; `verifier.py` needs public keys
only; `cross_checks.py` and `ledger_head.py` are what an audit compares; `limitations.py` says what
an erasure cannot reach. Nothing here decides whether an erasure is done: the queue does.
"""
