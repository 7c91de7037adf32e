"""Studies: what systems cost and what they are worth, measured on copies of the records.

`compare.py`, `sweep.py`, `attack.py` and `diversity.py` are verbs, each beside the modules that it
is made of; results are kept by `study_folder.py`, and drawn by `figure/`. Nothing here publishes,
erases or reads a workspace's requests. Begin with `compare.py` and `measure.py`.
"""
