"""The letter: a checked certificate in words that a person understands, as HTML or PDF.

Begin with `letter.py`, which says what a letter says; the other two files draw it.
"""
