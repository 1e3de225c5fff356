"""Trees of tensors in safetensors files, written so that a reader sees the old file or the new one,
whole. The structure is JSON in the file's metadata; files by others load as a flat dict."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import Any

import numpy as np

from . import _core
from ._core import ArgumentError, ArgumentTypeError, DTypeError, Error, FileError, Tensor

_METADATA_KEY = "wengert"
# Dtypes of other writers, and the wengert dtype that holds all their values.
_WIDENED = {
    "float16": "float32",
    "int8": "int32",
    "int16": "int32",
    "uint16": "int32",
    "uint32": "int64",
}


def _describe(tree: Any, path: tuple[str, ...], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The structure of a tree as JSON; its arrays are collected under dotted names."""
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return {"value": tree}
    where = ".".join(path)
    if isinstance(tree, dict):
        for key in tree:
            if not isinstance(key, str):
                raise ArgumentTypeError(
                    f"save: keys must be strings; got {key!r} in {where or 'the dict'}"
                )
        return {"dict": {key: _describe(x, (*path, key), arrays) for key, x in tree.items()}}
    if type(tree) in (list, tuple):
        items = [_describe(x, (*path, str(i)), arrays) for i, x in enumerate(tree)]
        return {type(tree).__name__: items}
    if isinstance(tree, Tensor):
        kind, array = "tensor", _core._numpy(tree)
    elif isinstance(tree, (np.ndarray, np.generic)):
        kind, array = "array" if isinstance(tree, np.ndarray) else "scalar", np.asarray(tree)
    else:
        remedy = ". Save model.state_dict()" if hasattr(tree, "state_dict") else ""
        raise ArgumentTypeError(
            f"save: cannot save a {type(tree).__name__}"
            f"{' at ' + repr(where) if where else ''}; takes dicts, lists and tuples of tensors, "
            f"arrays, numbers, strings and None{remedy}"
        )
    if array.dtype.kind not in "biuf" or array.dtype.name == "float128":
        raise DTypeError(
            f"save: cannot save dtype {array.dtype}{' at ' + repr(where) if where else ''}"
        )
    name = where or "value"
    while name in arrays or name == "__metadata__":  # "a.b" beside {"a": {"b": ...}}
        name += "'"
    arrays[name] = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    if array.ndim == 0:
        arrays[name] = arrays[name].reshape(())
    return {kind: name}


def _rebuild(node: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    ((kind, content),) = node.items()
    if kind == "value":
        return content
    if kind == "dict":
        return {key: _rebuild(child, arrays) for key, child in content.items()}
    if kind == "list":
        return [_rebuild(child, arrays) for child in content]
    if kind == "tuple":
        return tuple(_rebuild(child, arrays) for child in content)
    if kind == "tensor":
        return _core.tensor(arrays[content])
    if kind == "array":
        return arrays[content]
    if kind == "scalar":
        return arrays[content][()]
    raise ValueError(f"unknown kind {kind!r}")


def _flush_folder(folder: str) -> None:
    """Makes a rename last; folders cannot be opened everywhere."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def save(path: str | os.PathLike[str], tree: Any) -> None:
    """Writes a tree (dicts with string keys, lists and tuples) of tensors, NumPy arrays, numbers,
    strings and None to a safetensors file. The tensors are named by their keys, joined with ".".

    The file at ``path`` is replaced when the new one is complete, and stays as it is if anything
    fails. Raises ``wg.FileError`` where the file cannot be written.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> wg.save(path, {"weight": wg.tensor([1.0, 2.0]), "epoch": 3})
    >>> wg.load(path)["epoch"]
    3
    """
    from safetensors.numpy import save as serialise

    arrays: dict[str, np.ndarray] = {}
    structure = _describe(tree, (), arrays)
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"save: the path, a str or PathLike, comes first; got a {type(path).__name__}"
        )
    if "\0" in os.fsdecode(path):
        raise ArgumentError(f"save: a path has no null characters; got {path!r}")
    if not os.path.basename(os.fsdecode(path)):
        raise FileError(f"save: cannot write '{os.fspath(path)}': it names no file")
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.exists(target) and not os.path.isfile(target):
        raise FileError(f"save: cannot write '{os.fspath(path)}': it is no regular file")
    temporary = None
    try:
        data = serialise(arrays, {_METADATA_KEY: json.dumps(structure)})
        descriptor, temporary = tempfile.mkstemp(".partial", os.path.basename(target), folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode_of(target))
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise FileError(f"save: cannot write '{os.fspath(path)}': {error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    _flush_folder(folder)


def _mode_of(path: str) -> int:
    """The permissions of the file that is replaced, or those of a new one."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def load(path: str | os.PathLike[str]) -> Any:
    """The tree that ``wg.save`` wrote; a safetensors file by another program gives a flat dict of
    tensors. Raises ``wg.FileError`` where the file is missing, cut short or something else.
    """
    from safetensors import SafetensorError, safe_open

    if not isinstance(path, (str, os.PathLike)) or isinstance(name := os.fspath(path), bytes):
        raise ArgumentTypeError(f"load: takes a path; got {path!r:.60}")
    if os.path.isdir(name):
        raise FileError(f"load: '{name}' is a folder; give a file")
    if not os.path.exists(name):
        raise FileError(f"load: there is no file '{name}'")
    try:
        with safe_open(name, "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise FileError(f"load: '{name}' is not a whole safetensors file: {error}") from error
    if _METADATA_KEY not in metadata:
        return {key: _tensor(name, key, array) for key, array in arrays.items()}
    try:
        return _rebuild(json.loads(metadata[_METADATA_KEY]), arrays)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise FileError(f"load: '{name}' does not describe its tensors: {error!r}") from error


def _tensor(path: str, name: str, array: np.ndarray) -> Tensor:
    kind = array.dtype.name
    try:
        return _core.tensor(array.astype(_WIDENED.get(kind, kind), copy=False))
    except Error:
        raise DTypeError(f"load: '{name}' in '{path}' has dtype {kind}") from None
