"""What bytes are that are no picture of a kind that is read: the name for an error message.

Place in the flow: where Pillow does not know a picture. Invariant: only the first bytes are looked
at."""

from typing import Final

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "GIF", "TIFF")
"""What is read. Pillow knows more formats, whose decoders see far fewer hostile files."""
_OF_PICTURES = (
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF", "WEBP"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    *((b"P%d" % kind, "PPM") for kind in range(1, 7)),
)
_OF_OTHERS = (
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\x00\x00\x01\x00", "an ICO icon"),
    (b"8BPS", "a Photoshop file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PAR1", "a Parquet file"),
    (b"version https://git-lfs", "a Git LFS pointer (fetch the file by `git lfs pull`)"),
    (b"<svg", "an SVG drawing"),
    (b"<html", "an HTML page"),
    (b"<!doctype html", "an HTML page"),
)
HEIC = "a HEIC picture"
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "an AVIF picture"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIC),
    b"crx ": "a camera's raw file",
    **dict.fromkeys((b"qt  ", b"isom", b"mp41", b"mp42", b"M4V "), "a video"),
}


def foreign_kind(image: bytes) -> str | None:
    """What the bytes are, by how they begin, as an error message says it; None where unknown."""
    if image[4:8] == b"ftyp":
        # What the file is first of all, then what else it may be read as (ISO/IEC 14496-12, 4.3).
        size = min(int.from_bytes(image[:4], "big"), 64)
        brands = [image[8:12], *(image[at : at + 4] for at in range(16, size, 4))]
        if brands[0] == b"mif1" and b"avif" in brands:
            brands[0] = b"avif"
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
    if image[128:132] == b"DICM":
        return "a DICOM file"
    start = image[:64].lstrip().lower()
    for signature, name in _OF_OTHERS:
        if image.startswith(signature) or start.startswith(signature.lower()):
            return name
    return None


def unidentified(image: bytes) -> str:
    """Why Pillow did not open a picture."""
    if kind := foreign_kind(image):
        more = "; HEIC is read where the package pillow-heif is installed" * (kind == HEIC)
        return (
            f"it is {kind} and is not a picture that is read here; expected {', '.join(FORMATS)}: "
            f"convert it or remove it{more}."
        )
    for signature, name in _OF_PICTURES:
        if image.startswith(signature):
            return (
                f"the picture begins like {name} but its header is truncated, corrupt or of zero "
                "size: replace it or leave it out."
            )
    return (
        f"it begins with {image[:8]!r} and is not a picture; expected {', '.join(FORMATS)}: "
        "convert it or remove it."
    )
