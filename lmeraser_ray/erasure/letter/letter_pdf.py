"""A letter as a PDF file on A4, with its fonts (DejaVu, which Matplotlib brings) inside it."""

from pathlib import Path

import matplotlib as mpl
from fpdf import FPDF, XPos, YPos

from lmeraser_ray.erasure.letter.letter import Letter, LetterPart

FAMILY = "DejaVu"
FONTS = {"": "DejaVuSerif.ttf", "B": "DejaVuSerif-Bold.ttf"}
MARGIN, FACTS = 22.0, 36.0
"""Millimetres: around the page, and of the names of facts."""
POINTS, SMALL = 10.5, 8.5
"""Sizes of letters, in points."""
LINE = 0.55
"""Millimetres of a line for each point of its letters."""


def pdf_of(letter: Letter) -> bytes:
    """Return a letter as PDF; the same letter gives the same bytes."""
    pages = FPDF(format="A4")
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for style, name in FONTS.items():
        pages.add_font(FAMILY, style, folder / name)
    pages.set_creation_date(letter.moment)
    pages.set_title(letter.title)
    pages.set_lang("en")
    pages.set_margin(MARGIN)
    pages.set_auto_page_break(True, MARGIN)
    pages.add_page()
    write(pages, letter.title, 17, bold=True)
    pages.ln(4)
    for name, text in letter.facts:
        pages.set_font(FAMILY, "B", POINTS)
        pages.cell(FACTS, LINE * POINTS, name)
        write(pages, text, POINTS)
    for part in letter.parts:
        draw(pages, part)
    return bytes(pages.output())


def draw(pages: FPDF, part: LetterPart) -> None:
    """Draw a part below what is there."""
    size = SMALL if part.small else POINTS
    pages.ln(5)
    if pages.will_page_break(3 * LINE * POINTS):  # a heading stays with what follows
        pages.add_page()
    write(pages, part.heading, size + 1, bold=True)
    pages.ln(1)
    for text in part.paragraphs:
        write(pages, text, size)
        pages.ln(1)
    for text in part.points:
        write(pages, f"\u2022 {text}", size)
        pages.ln(0.6)


def write(pages: FPDF, text: str, size: float, *, bold: bool = False) -> None:
    """Write a text from where the last one ended to the right margin, in lines that are broken
    between words, and begin the next line."""
    pages.set_font(FAMILY, "B" if bold else "", size)
    pages.multi_cell(0, LINE * size, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
