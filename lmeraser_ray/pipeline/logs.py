"""One line of a log: `time=2026-01-31T12:00:00.000000Z event=train-ended shard=… seconds=1.2`, a
word or JSON each. Never an id of a record or a subject: requests are named by their ids,
constituents by their keys."""

import json
from collections.abc import Mapping


def line(facts: Mapping[str, object]) -> str:
    """The facts that are there, `name=value` each."""
    return " ".join(f"{name}={shown(value)}" for name, value in facts.items() if value is not None)


def shown(value: object) -> str:
    """A value in a line: as it is where that is one word, else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    plain = (
        isinstance(value, str | int | float)
        and text
        and text.isprintable()
        and not set(text) & set(' "=')
    )
    return text if plain else json.dumps(value)
