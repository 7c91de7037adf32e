"""Figures: one file a family. Each function makes one figure from results, or says what it lacks.

Nothing here computes a result, and nothing depends on the machine: the same results give the same
bytes. Begin with `style.py` (the look) and `results.py` (what figures read).
"""
