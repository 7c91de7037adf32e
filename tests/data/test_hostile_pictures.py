"""Pictures that are made to cost: many scans, lines on stderr, ids that take seconds."""

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from lmeraser_ray.data.ids import clean_name, read_ids
from lmeraser_ray.data.jpeg_markers import MAX_SCANS
from lmeraser_ray.data.pictures import PICTURE_BYTES, check_picture
from lmeraser_ray.data.sources.folder import read_file
from lmeraser_ray.errors import ConfigError, DataError, PictureError

SIDE = 7000
LIMIT = SIDE * SIDE


def progressive(side: int, *, more: int, thumbnail: bytes = b"") -> bytes:
    """A grey progressive JPEG whose last scan comes `more` times more."""
    sink = io.BytesIO()
    options = {"exif": b"Exif\0\0" + thumbnail} if thumbnail else {}
    Image.new("L", (side, side), 128).save(sink, "JPEG", progressive=True, **options)
    data = sink.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * more + data[-2:]


def test_a_jpeg_of_hundreds_of_scans_is_refused_unread() -> None:
    """It took 18 s for 100 scans; here it would take minutes."""
    begun = time.process_time()
    with pytest.raises(PictureError, match=f"more than {MAX_SCANS} scans"):
        check_picture(progressive(SIDE, more=1000), max_pixels=LIMIT)
    assert time.process_time() - begun < 5


def test_an_ordinary_progressive_jpeg_is_read() -> None:
    for more in (0, MAX_SCANS - 10):
        check_picture(progressive(64, more=more), max_pixels=LIMIT)


def test_scans_of_a_thumbnail_do_not_count() -> None:
    check_picture(progressive(64, more=0, thumbnail=b"\xff\xda" * 100), max_pixels=LIMIT)


def damaged_tiff(compression: str) -> bytes:
    sink = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(sink, "TIFF", compression=compression)
    data = bytearray(sink.getvalue())
    data[20:60] = b"\xff" * 40
    return bytes(data)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_a_damaged_tiff_prints_nothing(
    compression: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """libtiff printed on the process's stderr, past Python."""
    with pytest.raises(PictureError):
        check_picture(damaged_tiff(compression), max_pixels=LIMIT)
    assert capfd.readouterr() == ("", "")


def test_a_tiff_with_a_progressive_jpeg_is_refused() -> None:
    sink = io.BytesIO()
    Image.new("RGB", (64, 64)).save(sink, "TIFF", compression="jpeg")
    with pytest.raises(PictureError, match="progressive"):
        check_picture(sink.getvalue().replace(b"\xff\xc0", b"\xff\xc2"), max_pixels=LIMIT)


def test_a_file_without_an_end_is_refused() -> None:
    """Within a limit of memory that /dev/zero would exceed."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "from lmeraser_ray.data.sources.folder import read_file\n"
        "read_file('/dev/zero')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert f"DataError: /dev/zero: the file cannot be read (it has more than {PICTURE_BYTES:,}" in (
        done.stderr
    )


def test_a_missing_file_says_why() -> None:
    with pytest.raises(DataError, match="No such file"):
        read_file("/no/such/picture.png")


MARKS = "a" + "\u0316\u0300" * 100_000


def test_an_id_of_many_marks_is_refused_at_once(tmp_path: Path) -> None:
    """Unicode's normal form takes the square of their number: 100,000 took 24 s."""
    begun = time.process_time()
    with pytest.raises(DataError, match="at most"):
        clean_name(MARKS, what="record id", where="here")
    (tmp_path / "ids.txt").write_text(f"cat\n{MARKS}\n")
    with pytest.raises(ConfigError, match="one id a line"):
        read_ids(tmp_path / "ids.txt", "--file")
    assert time.process_time() - begun < 2
