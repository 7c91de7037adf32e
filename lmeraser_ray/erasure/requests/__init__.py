"""Erasure requests: what a person asks to be erased, and every transition of a request's life.

Begin with `request.py`: its page has the states, the rules and a transcript. `repository.py` is
what people call, `submission.py` what it inserts, `transitions.py` what the queue calls,
`retention.py` how long it is known who was erased, `targets.py` reads ids from the command
line and from files, `events.py` turns the ledger into log lines and alerts. Nothing here trains or
reads the store; that is `erasure/queue`.
"""
