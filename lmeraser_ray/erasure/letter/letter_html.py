"""A letter as one HTML file: nothing is loaded from elsewhere, and it prints on A4 and Letter."""

from collections.abc import Iterator
from html import escape

from lmeraser_ray.erasure.letter.letter import Letter, LetterPart

STYLE = """
@page { margin: 22mm 20mm; }
body { font: 11pt/1.5 Georgia, "Times New Roman", serif; color: #1a1a1a; background: #fff;
       max-width: 42em; margin: 3em auto; padding: 0 1.5em; overflow-wrap: anywhere; }
h1 { font-size: 1.7em; line-height: 1.2; margin: 0 0 .8em; }
h2 { font-size: 1.1em; margin: 1.6em 0 .4em; break-after: avoid; }
dl { display: grid; grid-template-columns: 9em 1fr; margin: 0; padding: .8em 0;
     border-top: 1px solid #999; border-bottom: 1px solid #999; }
dt { font-weight: bold; } dd { margin: 0; }
p { margin: .4em 0; } ul { margin: .4em 0; padding-left: 1.4em; } li { margin: .2em 0; }
.small { font-size: .84em; color: #333; }
@media print { body { margin: 0; max-width: none; padding: 0; } }
"""


def html_of(letter: Letter) -> bytes:
    """Return a letter as HTML in UTF-8."""
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in letter.facts
    )
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(letter.title)}</title>",
        f"<style>{STYLE}</style>",
        f"<h1>{escape(letter.title)}</h1>",
        f"<dl>{facts}</dl>",
        *(line for part in letter.parts for line in lines_of(part)),
        "</html>",
    ]
    return ("\n".join(lines) + "\n").encode()


def lines_of(part: LetterPart) -> Iterator[str]:
    """Yield the lines of a part."""
    yield '<section class="small">' if part.small else "<section>"
    yield f"<h2>{escape(part.heading)}</h2>"
    yield from (f"<p>{escape(text)}</p>" for text in part.paragraphs)
    if part.points:
        yield "<ul>"
        yield from (f"<li>{escape(text)}</li>" for text in part.points)
        yield "</ul>"
    yield "</section>"
