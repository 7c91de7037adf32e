"""Shares of a whole, as people write and read them: `1%`, `0.01`.

Place in the flow: options are read, and reports written, with these.
"""

from lmeraser_ray.errors import ConfigError


def percent(share: float) -> str:
    """Return a share as a short percentage: `1%`, `0.05%`."""
    return f"{100 * share:.4g}%"


def parse_share(text: str, option: str) -> float:
    """Return the share that `1%` or `0.01` says, between 0 and 1. Errors: `ConfigError`.

    >>> parse_share("2.5%", "--budget"), parse_share("0.1", "--batch")
    (0.025, 0.1)
    """
    number, sign, rest = text.strip().partition("%")
    try:
        found = float(number) / (100 if sign else 1)
    except ValueError:
        found = 0.0
    if rest or not 0 < found < 1:
        raise ConfigError(
            f"{option} {text!r} was not understood: give a share above 0% and below 100%, such as "
            "1% or 0.01."
        )
    return found
