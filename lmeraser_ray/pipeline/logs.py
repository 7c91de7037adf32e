"""Lines of a log: facts as `name=value`, each value a word or JSON.

    >>> line({"event": "shard-ended", "shard": 3, "seconds": 1.2, "of": "two words", "error": None})
    'event=shard-ended shard=3 seconds=1.2 of="two words"'

No line holds an id of a record or a subject: requests are named by their ids, constituents by their
keys.
"""

import json
from collections.abc import Mapping


def line(facts: Mapping[str, object]) -> str:
    """The facts that are not None, `name=value` each."""
    return " ".join(f"{name}={shown(value)}" for name, value in facts.items() if value is not None)


def shown(value: object) -> str:
    """A value in a line: as it is where it is one word, else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    plain = (
        isinstance(value, str | int | float)
        and text
        and text.isprintable()
        and not set(text) & set(' "=')
    )
    return text if plain else json.dumps(value)
