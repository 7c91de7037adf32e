"""Workspaces in a bucket of S3, GCS or Azure: paths, reads, conditional writes and removals.

Only this folder knows obstore. How a workspace uses its storage is not here: `storage/files.py` and
`storage/store.py` are the same for disks and buckets. Begin with `path.py`; `bucket.py` puts it
behind the protocol of `storage/filesystem.py`; `client.py` has the connection and its errors.
"""
