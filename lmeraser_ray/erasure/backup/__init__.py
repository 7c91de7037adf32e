"""Backups: the archive, the list of erasures that is kept apart from it, and what a restore needs
to bring both together with a workspace.

Begin with `operations/backup.py` and `operations/restore.py`, the verbs; `reconcile.py` holds the
rule that no erasure is lost. Nothing here trains, publishes or purges.
"""
