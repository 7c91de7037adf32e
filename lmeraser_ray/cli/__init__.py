"""The command line: words → options → report.

A group of verbs is a module that lists them as `VERBS`; each verb declares its options, calls one
function of `operations` or `study`, and returns a `Report`. Nothing is computed here, and nothing
outside imports this folder except the entries of the package. Begin with `main.py` (what a command
does from first word to exit code), then `verb.py` and any group, for instance `train.py`.

Every command imports all of these modules to know its words, so they import at their top only what
words need (the configuration, paths). What works is imported by the function that runs a verb:
`lmeraser status` must not wait for torch. `tests/cli/test_light_verbs.py` holds the list.
"""
