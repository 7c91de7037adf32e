"""The verbs: one file each, plain functions on a session, without words of a command line.

A verb opens the workspace, calls `pipeline/` and `erasure/`, and returns a frozen result that the
command line prints and a library user reads. What verbs share is below, in `pipeline/`. Begin with
`workspace.py` (all verbs in one object), then `train.py` and `unlearn.py`.
"""
