"""The pipeline: from records to a published state. Training and erasing are the same function.

    flow.py     buckets → features → partition → shards → plan → constituents → manifest
    plan.py     which constituents there must be, and which of them exist already
    engine.py   who carries the work out; jobs.py: the work itself
    workspace_folder.py, publication.py   the files of a workspace, and how a state is published
    session.py  what every command shares
    answering.py  who answers a query; queries.py: the jobs; prepared.py: each is decoded once

No erasure requests, no options of the command line, no Ray (`engines.py` is the one door to it).
Begin with `flow.py`.
"""
