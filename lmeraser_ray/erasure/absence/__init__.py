"""The absence scan: after the purge, every place of the data inventory is searched for traces of
what was erased, and a finding stops the certificate.

Begin with `inventory.py` (where private data rests) and `scan.py` (the pass over all of it).
Nothing here deletes or repairs anything: the scan reads and reports.
"""
