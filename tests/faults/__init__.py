"""The fault matrix: real processes, real kill -9, a real full disk; the rows and where each is shown.

 1, 2    dies before, after COMMIT       unit/test_submitting.py, faults/test_submitting.py
 3       killed mid-train                faults/test_killed.py
 4, 5    queue actor, worker killed      distributed/test_queue.py
 8       split brain                     faults/test_split_brain.py
10, 11   disk full                       faults/test_disk.py
12, 13   torn artifact, torn journal     faults/test_damage.py, unit/test_journal.py
14       crash around publishing         faults/test_killed.py, faults/test_machine.py
15       crash mid-purge, undeletable    faults/test_purging.py
16       crash around signing            unit/test_certify.py
17, 18   duplicates, clock moves         unit/test_submitting.py, unit/test_requests.py, unit/test_deadline.py
19       an old backup restored          unit/test_backup.py

Not there: 6, 7, 9 (node lost, raylet killed, head node dead, over `ray.cluster_utils`).
"""
