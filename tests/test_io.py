"""save and load: every kind of value, files by others, files that are broken, and atomicity."""

import json
import os
import re
import stat
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import wengert as wg
from wengert import nn

DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_tensors_come_back_to_the_bit(tmp_path, dtype, shape):
    values = np.array(np.random.default_rng(0).normal(size=shape) * 100).astype(dtype)
    wg.save(tmp_path / "file", {"x": wg.tensor(values), "y": values})
    found = wg.load(tmp_path / "file")
    assert isinstance(found["x"], wg.Tensor)
    assert type(found["y"]) is np.ndarray
    for back in (found["x"].numpy(), found["y"]):
        assert back.dtype == values.dtype
        assert back.shape == shape
        assert back.tobytes() == values.tobytes()


def test_special_values(tmp_path):
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
    wg.save(tmp_path / "file", {"x": values, "nan": float("nan"), "inf": float("inf")})
    found = wg.load(tmp_path / "file")
    assert found["x"].tobytes() == values.tobytes()
    assert found["nan"] != found["nan"]
    assert found["inf"] == float("inf")


def test_structure(tmp_path):
    tree = {
        "a": {"b": wg.tensor([1.0]), "empty": {}, "none": None},
        "list": [1, 2.5, "text", True, [wg.tensor([2.0])], ()],
        "pair": (wg.tensor(3.0), "é"),
        "scalar": np.int32(7),
        "big": 2**80,
    }
    wg.save(tmp_path / "file", tree)
    found = wg.load(tmp_path / "file")
    assert list(found) == list(tree)
    assert found["a"]["b"].tolist() == [1.0]
    assert found["a"]["empty"] == {}
    assert found["a"]["none"] is None
    assert found["list"][:4] == [1, 2.5, "text", True]
    assert found["list"][3] is True
    assert found["list"][4][0].tolist() == [2.0]
    assert found["list"][5] == ()
    assert type(found["pair"]) is tuple
    assert found["pair"][0].item() == 3.0
    assert found["pair"][1] == "é"
    assert found["scalar"] == 7
    assert found["scalar"].dtype == np.int32
    assert found["big"] == 2**80


@pytest.mark.parametrize("tree", [None, 3, "text", [1, 2], {}])
def test_trees_without_tensors(tmp_path, tree):
    wg.save(tmp_path / "file", tree)
    assert wg.load(tmp_path / "file") == tree


def test_one_tensor_and_views(tmp_path):
    x = wg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    wg.save(tmp_path / "file", x.T)
    found = wg.load(tmp_path / "file")
    assert found.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert not found.requires_grad
    big_endian = np.arange(3, dtype=">i4")
    wg.save(tmp_path / "file", [big_endian, np.arange(6)[::2]])
    assert [part.tolist() for part in wg.load(tmp_path / "file")] == [[0, 1, 2], [0, 2, 4]]


def test_names_that_collide(tmp_path):
    tree = {"a.b": wg.tensor(1.0), "a": {"b": wg.tensor(2.0)}, "__metadata__": wg.tensor(3.0)}
    wg.save(tmp_path / "file", tree)
    found = wg.load(tmp_path / "file")
    assert found["a.b"].item() == 1.0
    assert found["a"]["b"].item() == 2.0
    assert found["__metadata__"].item() == 3.0


def test_other_programs_read_it_by_dotted_names(tmp_path):
    wg.save(tmp_path / "file", {"model": nn.Linear(2, 3).state_dict(), "epoch": 4})
    found = safetensors.numpy.load_file(tmp_path / "file")
    assert {name: x.shape for name, x in found.items()} == {
        "model.weight": (3, 2),
        "model.bias": (3,),
    }


def test_files_of_other_programs(tmp_path):
    arrays = {
        "layer.weight": np.ones((2, 2), np.float32),
        "half": np.array([0.5], np.float16),
        "short": np.array([-3], np.int16),
        "word": np.array([2**32 - 1], np.uint32),
    }
    safetensors.numpy.save_file(arrays, tmp_path / "file", {"made": "elsewhere"})
    found = wg.load(tmp_path / "file")
    assert found["layer.weight"].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert (found["half"].dtype, found["half"].item()) == (np.float32, 0.5)
    assert (found["short"].dtype, found["short"].item()) == (np.int32, -3)
    assert (found["word"].dtype, found["word"].item()) == (np.int64, 2**32 - 1)
    safetensors.numpy.save_file({"x": np.ones(1, np.uint64)}, tmp_path / "file")
    with pytest.raises(wg.DTypeError, match=r"'x'.*U64, which no tensor has"):
        wg.load(tmp_path / "file")
    for dtype in ("BF16", "F8_E4M3"):
        header = json.dumps({"w": {"dtype": dtype, "shape": [4], "data_offsets": [0, 8]}})
        header = header if dtype == "BF16" else header.replace("[4]", "[8]")
        content = struct.pack("<Q", len(header)) + header.encode() + bytes(8)
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(wg.DTypeError, match=f"'w'.*{dtype}, which no tensor has; convert"):
            wg.load(tmp_path / "file")


def test_model_and_optimiser_resume(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    wg.save(tmp_path / "model.safetensors", model.state_dict())
    twin = nn.Sequential(nn.Linear(3), nn.Tanh(), nn.Linear(1))
    twin.load_state_dict(wg.load(tmp_path / "model.safetensors"))
    x = wg.ones((4, 2))
    assert twin(x).tolist() == model(x).tolist()


def itself():
    tree = []
    tree.append(tree)
    return tree


@pytest.mark.parametrize(
    ("tree", "kind", "message"),
    [
        ({1: wg.tensor(1.0)}, wg.ArgumentTypeError, "keys of dicts must be strings; got 1"),
        ({"a": {"b": {1, 2}}}, wg.ArgumentTypeError, "got a value of type set at 'a.b'"),
        (nn.Linear(2, 1), wg.ArgumentTypeError, r"Linear. Save its state_dict\(\)"),
        ({"z": np.array([1j])}, wg.DTypeError, "complex128 at 'z'"),
        ({"o": np.array(["text"])}, wg.DTypeError, "at 'o'"),
        (itself(), wg.ArgumentError, "holds itself, or is nested too deep"),
    ],
)
def test_what_cannot_be_saved(tmp_path, tree, kind, message):
    with pytest.raises(kind, match=message):
        wg.save(tmp_path / "file", tree)
    assert os.listdir(tmp_path) == []


def whole_file(tmp_path):
    wg.save(tmp_path / "whole", {"x": wg.tensor(np.arange(100.0)), "n": 1})
    return (tmp_path / "whole").read_bytes()


def with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_truncated_files(tmp_path):
    data = whole_file(tmp_path)
    path = tmp_path / "cut"
    for length in (0, 1, 7, 8, 9, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(wg.FileError, match="cut' is not a whole safetensors file"):
            wg.load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04 a pickle",
        b"\xff" * 64,
        with_header(b"not json at all!"),
        with_header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 4]}}, b"1234"),
        with_header({"x": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        with_header({"x": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 4]}}, b"1234"),
        with_header({"__metadata__": {"wengert": "{]"}}),
        with_header({"__metadata__": {"wengert": '{"tensor": "missing"}'}}),
        with_header({"__metadata__": {"wengert": '{"strange": 1}'}}),
        with_header({"__metadata__": {"wengert": "[1, 2]"}}),
        with_header({"__metadata__": {"wengert": '{"list":[' * 5000 + "]}" * 5000}}),
    ],
)
def test_files_that_are_something_else(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(wg.FileError, match="file'"):
        wg.load(tmp_path / "file")


def test_paths(tmp_path):
    with pytest.raises(wg.FileError, match=r"no file .*absent"):
        wg.load(tmp_path / "absent")
    with pytest.raises(wg.FileError, match="no file 'absent', seen from the current folder"):
        wg.load("absent")
    with pytest.raises(wg.FileError, match="is a folder"):
        wg.load(tmp_path)
    with pytest.raises(wg.FileError, match=r"cannot write .*no folder '.*nowhere'; make it first"):
        wg.save(tmp_path / "nowhere" / "file", {})
    with pytest.raises(wg.ArgumentTypeError, match=r"path.* comes first, then the tree; got a d"):
        wg.save({}, tmp_path / "file")
    for call in (lambda: wg.save(tmp_path / "file"), lambda: wg.load()):
        with pytest.raises(wg.ArgumentTypeError, match=r"missing 1 required .*; it takes path"):
            call()
    with pytest.raises(wg.FileError, match="cannot write"):
        wg.save(tmp_path, {})
    assert issubclass(wg.FileError, OSError)
    assert issubclass(wg.FileError, wg.Error)
    assert os.listdir(tmp_path) == []
    os.symlink(tmp_path / "real", tmp_path / "link")
    wg.save(str(tmp_path / "link"), {"n": 1})
    assert (tmp_path / "link").is_symlink()
    assert wg.load(tmp_path / "real") == {"n": 1}


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    wg.save(path, {"version": 1})
    before = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(wg.FileError, match="No space left"):
            wg.save(path, {"version": 2})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]
    wg.save(path, {"version": 2})
    assert wg.load(path) == {"version": 2}
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    wg.save(path, {"version": 1})
    code = f"""
import resource, signal
import wengert as wg
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    wg.save({str(path)!r}, {{"x": wg.zeros(10_000)}})
except wg.FileError as error:
    print(error)
"""
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert re.match(r"save: cannot write '.*file': .*File too large", said)
    assert wg.load(path) == {"version": 1}
    assert os.listdir(tmp_path) == ["file"]


def test_data_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    wg.save(tmp_path / "file", {})
    assert calls[:2] == ["fsync", "replace"]


def test_permissions(tmp_path):
    mask = os.umask(0o027)
    try:
        wg.save(tmp_path / "file", {})
        assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o640
        os.chmod(tmp_path / "file", 0o600)
        wg.save(tmp_path / "file", {})
        assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o600
    finally:
        os.umask(mask)


def test_only_files_are_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(wg.FileError, match="no regular file"):
        wg.save(pipe, {"x": wg.ones(1)})
    assert pipe.is_fifo()
    for path in ("", f"{tmp_path}/", f"{tmp_path}/new/"):
        with pytest.raises(wg.FileError, match="names no file"):
            wg.save(path, {"x": wg.ones(1)})
    assert os.listdir(tmp_path) == ["pipe"]
    with pytest.raises(wg.ArgumentError, match="null"):
        wg.save("a\0b", {})
