"""What a workspace says of itself to people who have no terminal: a page, a table of requests, and
the card of an exported model.

Begin with `page_facts`: what is said, gathered from `evaluate`, `cost` and the request database,
which compute it. No id of a record or a subject gets in (`shown_names` looks at what classes are
called). Nothing here changes a workspace; `operations/workspace_report.py` writes the files.
"""
