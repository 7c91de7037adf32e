"""What is left when the power goes, and not only the process: whatever was not synced may be lost,
torn, or there in another order (`tests/support/volatile_disk.py`).

The operations are those of real processes, recorded by strace. So nothing here knows how the
package writes, and SQLite's journal is among them. The limits: one process at a time; a sync is
taken at its word, as POSIX has it; what a shared mapping writes would be noticed (the replay would
differ from the files), but not replayed.
"""
