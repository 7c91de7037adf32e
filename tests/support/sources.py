"""Small sources of records for tests: a folder of pictures, a Parquet file, and ways to read
them."""

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.sources.read_source import read_source
from lmeraser_ray.errors import DataError


def picture(shade: int = 0, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 5), (shade % 256, 10, 200)).save(buffer, kind)
    return buffer.getvalue()


def folder(root: Path, names: str = "cat/1.png cat/2.png dog/1.png") -> DataConfig:
    for number, name in enumerate(names.split()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(number))
    return DataConfig(source="folder", path=root)


def table(path: Path, *, rows: int = 4, **columns: object) -> DataConfig:
    given = {
        "record_id": [f"r{n}" for n in range(rows)],
        "label": [n % 2 for n in range(rows)],
        "image": [picture(n) for n in range(rows)],
        **columns,
    }
    pq.write_table(
        pa.table({name: values for name, values in given.items() if values is not None}), path
    )
    return DataConfig(source="parquet", path=path)


def read(
    config: DataConfig, *, skip: Callable[[str], bool] = lambda record_id: False, seed: int = 0
) -> list[Record]:
    return list(read_source(config, seed=seed, skip=skip))


def refusal(config: DataConfig, *, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        read(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)
