"""Files of weights as people have them: wrapped by trainers, and what is no file of weights is told
as what it is."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from lmeraser_ray.errors import ConfigError
from tests.support.backbones import tiny

Tree = dict[str, torch.Tensor]


def weights(seed: int = 5) -> Tree:
    return {name: one.contiguous() for name, one in tiny(seed=seed).module.state_dict().items()}


def under(prefix: str, tree: Tree) -> Tree:
    return {prefix + name: one for name, one in tree.items()}


def saved(tree: object) -> bytes:
    sink = io.BytesIO()
    torch.save(tree, sink)
    return sink.getvalue()


OTHER = weights(9)
WRAPPED = {
    "module.": under("module.", weights()),
    "_orig_mod.": under("_orig_mod.", weights()),
    "module._orig_mod.": under("module._orig_mod.", weights()),
    "_orig_mod.module.": under("_orig_mod.module.", weights()),
    "lightning": {
        "state_dict": {**under("model.", weights()), "criterion.weight": torch.ones(3)},
        "epoch": 3,
        "pytorch-lightning_version": "2.5",
    },
    "lightning compiled": {"state_dict": under("model._orig_mod.", weights())},
    "state_dict_ema": {"state_dict": OTHER, "state_dict_ema": under("module.", weights())},
    "model_ema": {"model": OTHER, "model_ema": weights(), "optimizer": {}},
    "no ema": {"state_dict": weights(), "state_dict_ema": None},
    "module of deepspeed": {"module": weights()},
    "a classifier": under("module.", {**weights(), "classifier.weight": torch.ones(10, 16)}),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_wrapped_weights(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(saved(WRAPPED[how]))
    assert tiny(weights=str(path)).identity == tiny(seed=5).identity
    assert f"note: backbone.weights {path}: the weights under " in capsys.readouterr().err


def test_bare_weights_are_taken_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.pth").write_bytes(saved(weights()))
    assert tiny(weights=str(tmp_path / "w.pth")).identity == tiny(seed=5).identity
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "data"),
    [("w.bin", save(weights())), ("w.safetensors", saved(weights())), ("w", save(weights()))],
    ids=["safetensors named bin", "pickle named safetensors", "safetensors without a suffix"],
)
def test_the_content_decides_and_not_the_name(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert tiny(weights=str(tmp_path / name)).identity == tiny(seed=5).identity


def zipped(**files: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def scripted() -> bytes:
    sink = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), sink)
    return sink.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n"
FILES = {
    "a pointer of Git LFS": POINTER,
    "a web page": b"\n<!DOCTYPE html><html>not found</html>",
    "is empty": b"",
    "JSON": b'{"weight_map": {}}',
    "holds pickled objects": saved(nn.Linear(2, 2)),
    "holds pickled objects, *": saved({"model": nn.Linear(2, 2)}),
    "holds pickled objects *": pickle.dumps(nn.Linear(2, 2), protocol=2),
    "a zip archive of other files": zipped(weights=b"1"),
    "a zip archive that is cut off": saved(weights())[:-300],
    "a safetensors file that is cut off": save(weights())[:-10],
    "a safetensors file that was cut off in its head": struct.pack("<Q", 900) + b'{"a":',
    "a pickle that is cut off": b"\x80\x02}q\x00(X\x05",
    "a gzip archive": b"\x1f\x8b\x08rest",
    "an HDF5 file": b"\x89HDF\r\n\x1a\nrest",
    "a TorchScript program": scripted(),
    "holds a list": saved([1, 2]),
    "is no file of weights": b"nonsense" * 90,
}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.bin"])
@pytest.mark.parametrize("what", FILES)
def test_what_is_no_file_of_weights(what: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[what])
    with pytest.raises(ConfigError) as found:
        tiny(weights=str(path))
    said = str(found.value)
    assert what.rstrip(", *") in said
    assert str(path) in said
    assert said.isprintable()
    assert "weights_only" not in said
    assert len(said) < 500
