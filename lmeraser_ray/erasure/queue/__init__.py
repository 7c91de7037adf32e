"""The queue: the one process at a time that works off a workspace's erasure requests.

    loop.py       claims the lease, and runs one round after the other
    round.py      one round: intake.py → scheduler.py → retrains.py → publisher.py → proof.py
    lease.py      who the queue is; quarantine.py: what must not answer meanwhile
    overview.py   how the queue stands, for whoever watches

Nothing here imports Ray, and nothing that a crash would lose is kept in memory. Begin with
`round.py`; `scheduler.py` has the rules by which retrains start.
"""
