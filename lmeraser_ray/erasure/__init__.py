"""Erasing people: requests, the queue that works them off, proof of absence, certificates.

    requests/     an erasure request and its states, in the request database
    queue/        plans, retrains, publishes and proves; quarantine
    absence/      the scan that looks for what was erased in every place that holds data
    certificate/  what is signed, with which key, and how it is verified
    backup/       archives, and restoring without whoever was erased since

How a state is computed does not belong here: erasing is the pipeline on fewer records. Begin with
`requests/request.py`, then `queue/round.py`.
"""
