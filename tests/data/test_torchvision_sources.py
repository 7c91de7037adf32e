"""CIFAR, SVHN and GTSRB: small archives in the genuine formats, so that torchvision's own reader
runs; only its checksums are patched."""

import contextlib
import functools
import hashlib
import pickle
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from torchvision import datasets

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.pictures import decode_picture
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.sources import torchvision
from lmeraser_ray.data.sources.png import stored_png
from lmeraser_ray.data.sources.read_source import WINDOW, read_source
from lmeraser_ray.errors import DataError

Pixels = NDArray[np.uint8]
CLASSES = {
    "cifar10": [f"class_{n}" for n in range(10)],
    "cifar100": [f"fine_{n}" for n in range(100)],
}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def pickled(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol=2))


def made_of(seed: int, n: int, *shape: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def cifar(
    root: Path, name: str, patch: pytest.MonkeyPatch, *, rows: int = 3
) -> dict[str, tuple[Pixels, list[str]]]:
    """Pickled batches: rows of 1,024 reds, greens, blues. Returns pixels [n, 32, 32, 3] and labels
    of each split."""
    kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    folder, key = root / kind.base_folder, "labels" if name == "cifar10" else "fine_labels"
    names = CLASSES[name]
    written: dict[str, tuple[Pixels, list[str]]] = {}
    for split, files in (("train", kind.train_list), ("test", kind.test_list)):
        pixels = made_of(len(split), rows * len(files), 32, 32, 3)
        targets = [(7 * n) % len(names) for n in range(len(pixels))]
        for i, (file, _) in enumerate(files):
            some = slice(i * rows, (i + 1) * rows)
            pickled(
                folder / file,
                {
                    "data": pixels[some].transpose(0, 3, 1, 2).reshape(rows, -1),
                    key: targets[some],
                    "batch_label": file,
                },
            )
        patch.setattr(kind, f"{split}_list", [[file, md5(folder / file)] for file, _ in files])
        written[split] = (pixels, [names[target] for target in targets])
    meta = folder / kind.meta["filename"]
    pickled(meta, {kind.meta["key"]: names, "num_vis": 3072})
    patch.setattr(kind, "meta", {**kind.meta, "md5": md5(meta)})
    return written


def svhn(
    root: Path, patch: pytest.MonkeyPatch, *, rows: int = 12
) -> dict[str, tuple[Pixels, list[str]]]:
    """MATLAB files: X [32, 32, 3, n] uint8 and y [n, 1], where 10 stands for the digit 0."""
    written = {}
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        url, file, _ = datasets.SVHN.split_list[split]
        pixels, digits = made_of(len(split), rows, 32, 32, 3), [n % 10 for n in range(rows)]
        marks = np.array([[digit or 10] for digit in digits], np.uint8)
        scipy.io.savemat(
            root / file, {"X": pixels.transpose(1, 2, 3, 0), "y": marks}, do_compression=True
        )
        patch.setitem(datasets.SVHN.split_list, split, [url, file, md5(root / file)])
        written[split] = (pixels, [str(digit) for digit in digits])
    return written


def ppm(path: Path, pixels: Pixels) -> Pixels:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PPM")
    return pixels


def gtsrb(root: Path, patch: pytest.MonkeyPatch) -> dict[str, tuple[list[Pixels], list[str]]]:
    """43 folders of two .ppm files with a CSV each, and test pictures whose classes a CSV file
    holds; 15 x 15 to 250 x 250 pixels."""
    base = root / "gtsrb"
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"
    pictures: dict[str, list[Pixels]] = {"train": [], "test": []}
    labels: dict[str, list[str]] = {"train": [], "test": []}
    for number in range(43):
        folder, rows = base / f"GTSRB/Training/{number:05d}", header
        for file, side in (("00000_00000.ppm", 15 + number), ("00000_00001.ppm", 250 - number)):
            pictures["train"].append(ppm(folder / file, made_of(number, side, side + 3, 3)))
            labels["train"].append(f"{number:02d}")
            rows += f"{file};{side + 3};{side};5;5;9;9;{number}\n"
        (folder / f"GT-{number:05d}.csv").write_text(rows)
    rows = header
    for place in range(43):
        number = (16 + 5 * place) % 43
        pictures["test"].append(
            ppm(base / f"GTSRB/Final_Test/Images/{place:05d}.ppm", made_of(50 + place, 53, 54, 3))
        )
        labels["test"].append(f"{number:02d}")
        rows += f"{place:05d}.ppm;54;53;6;5;48;49;{number}\n"
    (base / "GT-final_test.csv").write_text(rows)
    patch.setattr(torchvision, "GTSRB_PICTURES", {"train": 86, "test": 43})
    return {split: (pictures[split], labels[split]) for split in pictures}


def write(
    source: str, root: Path, patch: pytest.MonkeyPatch
) -> dict[str, tuple[Pixels | list[Pixels], list[str]]]:
    if source.startswith("cifar"):
        return dict(cifar(root, source, patch))
    return dict(svhn(root, patch)) if source == "svhn" else dict(gtsrb(root, patch))


def read(
    source: str,
    root: Path,
    *,
    download: bool = False,
    skip: Callable[[str], bool] = lambda record_id: False,
) -> list[Record]:
    return list(
        read_source(DataConfig(source=source, path=root, download=download), seed=0, skip=skip)
    )  # type: ignore[arg-type]


def refusal(source: str, root: Path, *, download: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        read(source, root, download=download)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize("source", ["cifar10", "cifar100", "svhn", "gtsrb"])
def test_ids_labels_splits_and_pixels(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write(source, tmp_path, monkeypatch)
    records = read(source, tmp_path)
    expected = [
        (f"{split}/{n:06d}", label, split == "test")
        for split in ("train", "test")
        for n, label in enumerate(written[split][1])
    ]
    assert [(r.record_id, r.label, r.test) for r in records] == expected
    assert all(r.subject_id == r.record_id for r in records)
    pixels = [*written["train"][0], *written["test"][0]]
    for record, wanted in zip(records, pixels, strict=True):
        assert np.array_equal(np.asarray(decode_picture(record.image, max_pixels=10**6)), wanted)
        assert record.image[:2] == (b"P6" if source == "gtsrb" else b"\x89P")
        if source != "gtsrb":
            assert record.image == stored_png(np.ascontiguousarray(wanted))


def test_labels_are_those_of_the_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    svhn(tmp_path, monkeypatch)
    assert read("svhn", tmp_path)[0].label == "0", "10 in the file"
    gtsrb(tmp_path, monkeypatch)
    assert sorted({r.label for r in read("gtsrb", tmp_path)}) == [f"{n:02d}" for n in range(43)]


def test_gtsrb_gives_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gtsrb(tmp_path, monkeypatch)
    records = {r.record_id: r for r in read("gtsrb", tmp_path)}
    assert (
        records["train/000003"].image
        == (tmp_path / "gtsrb/GTSRB/Training/00001/00000_00001.ppm").read_bytes()
    )
    assert (
        records["test/000002"].image
        == (tmp_path / "gtsrb/GTSRB/Final_Test/Images/00002.ppm").read_bytes()
    )


def test_an_erased_record_moves_no_other_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar(tmp_path, "cifar10", monkeypatch)
    erased = {"train/000004", "test/000001"}
    kept = read("cifar10", tmp_path, skip=erased.__contains__)
    assert kept == [
        record for record in read("cifar10", tmp_path) if record.record_id not in erased
    ]


def test_pictures_are_encoded_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar(tmp_path, "cifar10", monkeypatch, rows=40)
    encoded = []
    monkeypatch.setattr(
        torchvision, "stored_png", lambda pixels: encoded.append(1) or stored_png(pixels)
    )
    for seen, _ in enumerate(
        read_source(DataConfig(source="cifar10", path=tmp_path), seed=0, skip=lambda i: False)
    ):
        assert len(encoded) <= seen + WINDOW
    assert len(encoded) == 240


@pytest.mark.parametrize("source", ["cifar10", "cifar100", "svhn", "gtsrb"])
def test_a_missing_root_says_how_to_get_it(source: str, tmp_path: Path) -> None:
    message = refusal(source, tmp_path / "nowhere")
    assert message.startswith(f"{tmp_path}/nowhere ({source}, train): ")
    assert "set data.download true" in message


@pytest.mark.parametrize("source", ["cifar10", "cifar100", "svhn"])
def test_a_damaged_archive_is_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source, tmp_path, monkeypatch)
    for file in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert "corrupted" in refusal(source, tmp_path), file
        file.write_bytes(whole)
    assert read(source, tmp_path)


def test_nothing_is_unpickled_before_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle runs code."""
    cifar(tmp_path, "cifar10", monkeypatch)
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled"))
    for file in ("data_batch_3", "test_batch"):
        (tmp_path / "cifar-10-batches-py" / file).write_bytes(b"other")
        refusal("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (
            "GTSRB/Training/00007",
            "train): 84 pictures of 42 classes, expected 86 of 43: remove the folder gtsrb",
        ),
        ("GTSRB/Training/00007/00000_00001.ppm", "train): 85 pictures of 43 classes"),
        ("GTSRB/Final_Test", "test): torchvision could not read the files (Dataset not found)"),
        (
            "GT-final_test.csv",
            "test): torchvision could not read the files ([Errno 2] No such file",
        ),
        (
            "GTSRB/Final_Test/Images/00001.ppm",
            "Images/00001.ppm: the file cannot be read (No such file or directory)",
        ),
    ],
)
def test_a_gtsrb_that_is_not_whole_is_refused(
    missing: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every later record would have another's name."""
    gtsrb(tmp_path, monkeypatch)
    (tmp_path / "gtsrb" / missing).rename(tmp_path / "taken")
    assert words in refusal("gtsrb", tmp_path)


def test_gtsrb_classes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision numbers the folders that are there: one too many, and later classes are
    another's."""
    gtsrb(tmp_path, monkeypatch)
    training = tmp_path / "gtsrb/GTSRB/Training"
    (training / "00000a").mkdir()
    (training / "00003/00000_00000.ppm").rename(training / "00000a/00000_00000.ppm")
    assert "86 pictures of 44 classes, expected 86 of 43" in refusal("gtsrb", tmp_path)


@pytest.mark.parametrize("row", ["00003.ppm;54;53;6;5;48;49;x\n", "00003.ppm;54\n", "\xff;\n"])
def test_a_damaged_csv_is_refused(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gtsrb(tmp_path, monkeypatch)
    table = tmp_path / "gtsrb/GT-final_test.csv"
    table.write_bytes(table.read_bytes() + row.encode("latin-1"))
    assert "(gtsrb, test): torchvision could not read the files" in refusal("gtsrb", tmp_path)


@pytest.mark.parametrize("source", ["cifar10", "cifar100", "svhn", "gtsrb"])
def test_no_network(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    message = refusal(source, tmp_path / "data", download=True)
    assert (
        f"{tmp_path}/data ({source}, train): torchvision could not fetch or read the files"
        in message
    )
    assert "Temporary failure in name resolution" in message
    assert "check the network" in message


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server of the folder's files."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's own downloader, from a server on this machine; a download that is not what it
    should be is refused."""
    cifar(tmp_path / "made", "cifar10", monkeypatch)
    archive = tmp_path / "served" / "cifar.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    with serving(archive.parent) as address:
        monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}/{archive.name}")
        assert "(File not found or corrupted)" in refusal(
            "cifar10", tmp_path / "root", download=True
        )
        monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
        assert read("cifar10", tmp_path / "root", download=True) == read(
            "cifar10", tmp_path / "made"
        )
    assert len(read("cifar10", tmp_path / "root", download=True)) == 18, (
        "what is there is not fetched again"
    )


def test_the_configuration() -> None:
    with pytest.raises(
        ValidationError, match=r"data\.path goes with every data\.source but digits"
    ):
        DataConfig(source="svhn")
    with pytest.raises(ValidationError, match="svhn has its own split"):
        DataConfig(source="svhn", path=Path("x"), test_path=Path("y"))
    there = DataConfig(source="svhn", path=Path("x"), download=True)
    assert there.identity() == DataConfig().identity(), "where the data comes from is no identity"


def test_a_subject_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    svhn(tmp_path, monkeypatch)
    config = DataConfig(source="svhn", path=tmp_path, subject_pattern=r"\d+$")
    with pytest.raises(
        DataError,
        match=r"\(svhn, test\), picture 0: the subject '000000' has records in the training and",
    ):
        list(read_source(config, seed=0, skip=lambda i: False))
