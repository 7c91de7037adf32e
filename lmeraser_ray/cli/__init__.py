"""The command line: words → options → report.

A group of verbs is a module that lists them as `VERBS`; each verb declares its options, calls one
function of `operations` or `study`, and returns a `Report`. Nothing is computed here, and nothing
outside imports this folder except the entries of the package. Begin with `main.py` (what a command
does from first word to exit code), then `verb.py` and any group, for instance `train.py`.
"""
