"""Mutations of a seed for Hypothesis: flips, cuts, repeats, values that parsers stumble over."""

from hypothesis import strategies as st

TOKENS = (
    *(b"", b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN", b'"\\ud800"', b"9" * 5000),
    *(b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"[" * 3000, b"\x1b[2J", b"\n"),
)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds with up to six mutations."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.sampled_from((0, 1, 2, 4, 8, 64, 1 << 20))))
        piece = draw(
            st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8), st.just(data[at:to]))
        )
        again = data[at:to] if draw(st.booleans()) else b""
        data = data[:at] + piece + again + data[to:]
    return data
