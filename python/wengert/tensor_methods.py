"""The methods of Tensor that are written in Python; importing this module adds them to the type."""

# mypy: disable-error-code="misc"
# (self of the methods below is a Tensor, of another class than the one they stand in)
from __future__ import annotations

import copy as _copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import _core, composites, indexing, manipulation, other_names, products
from ._core import ArgumentError, ArgumentTypeError, GraphError, ShapeError, Tensor, ops
from .checked import checked
from .ufuncs import apply_ufunc

_DOC = """The array type: numbers of one dtype in a shape, able to record what is computed with it.

Made by ``wg.tensor`` (copies), ``wg.asarray`` (shares) and the array functions. A tensor with
``requires_grad=True`` is a leaf; results computed from it are recorded and have a ``grad_fn``.
``y.backward()`` sweeps what was recorded in reverse and adds dy/dx to ``x.grad`` of every leaf x
that y depends on: gradients accumulate over calls until ``x.grad = None`` resets them. A sweep
frees what was recorded unless it is called with ``retain_graph=True``. Only leaves keep their
gradient; ``retain_grad()`` makes another tensor keep its own. Inside ``wg.no_grad()`` nothing is
recorded and leaves may change in place.

>>> x = wg.tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4.])
"""


_DEVICES = ("cpu", "cuda", "gpu", "mps", "tpu", "xpu")


class Hook:
    """What ``register_hook`` returns; ``remove()`` takes the hook off."""

    __slots__ = ("_id", "_tensor")

    def __init__(self, tensor: Tensor, number: int) -> None:
        self._tensor: Tensor | None = tensor
        self._id = number

    def remove(self) -> None:
        """Takes the hook off; a second call does nothing."""
        if self._tensor is not None:
            _core._remove_hook(self._tensor, self._id)
        self._tensor = None


def _one_or_many(given: tuple[Any, ...]) -> Any:
    """f(2, 3) and f((2, 3)) mean the same."""
    return given[0] if len(given) == 1 and not isinstance(given[0], int) else given


class _Methods:
    """Each function here becomes a method of Tensor."""

    def backward(
        self: Tensor, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False
    ) -> None:
        """Adds the derivatives of this tensor to ``grad`` of the leaves it depends on.

        ``gradient`` is the cotangent, like the tensor; one element needs none. With
        ``create_graph=True`` the sweep is recorded, so that gradients can be differentiated.

        >>> x = wg.tensor(3.0, requires_grad=True)
        >>> (x**2).backward()
        >>> x.grad
        tensor(6.)
        """
        _core._backward(self, gradient, retain_graph, create_graph)

    def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
        """Sets ``requires_grad`` and returns the tensor.

        >>> wg.zeros(2).requires_grad_()
        tensor([0., 0.], requires_grad=True)
        """
        self.requires_grad = requires_grad
        return self

    def retain_grad(self: Tensor) -> None:
        """Lets a tensor that is no leaf keep its gradient too."""
        _core._retain_grad(self)

    def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> Hook:
        """Calls ``hook(gradient)`` whenever a backward pass has the gradient of this tensor; what
        it returns (unless None) takes the gradient's place.

        >>> x = wg.tensor(1.0, requires_grad=True)
        >>> handle = x.register_hook(lambda g: g * 10)
        >>> (x * 2).backward()
        >>> x.grad
        tensor(20.)
        """
        return Hook(self, _core._register_hook(self, hook))

    def detach(self: Tensor) -> Tensor:
        """The same memory without history: a constant."""
        return _core._detach(self)

    def assign(self: Tensor, value: Any) -> Tensor:
        """Writes ``value`` (which broadcasts) into the tensor's memory; returns the tensor.

        >>> x = wg.zeros(2)
        >>> x.assign([1.0, 2.0])
        tensor([1., 2.])
        """
        _core._assign(self, value)
        return self

    def numpy(self: Tensor) -> np.ndarray:
        """A NumPy array over the same memory; read-only where the tensor requires a gradient."""
        return _core._numbers_of(self)

    def tolist(self: Tensor) -> Any:
        """The elements as nested lists of Python numbers; a number for shape ()."""
        return _core._numpy(self).tolist()

    def copy(self: Tensor) -> Tensor:
        """The same numbers in memory of their own; gradients pass through."""
        return ops.copy(self)

    def astype(self: Tensor, dtype: Any, copy: bool = True) -> Tensor:
        """The tensor converted to ``dtype``; ``copy=False`` returns it as it is where it has it.

        >>> wg.tensor([1.9]).astype(wg.int64)
        tensor([1])
        """
        return composites.astype(self, dtype, copy=copy)

    def to(
        self: Tensor, *target: Any, dtype: Any = None, device: Any = None, copy: bool = False
    ) -> Tensor:
        """The tensor as another dtype, without a copy where it has it unless ``copy``. ``target``
        is the dtype, a tensor that has it, or a device, of which there is "cpu".

        >>> wg.ones(2).to("cpu").to(wg.float64).dtype
        dtype('float64')
        """
        for given in (*target, *([] if device is None else [device])):
            if isinstance(given, str) and given.partition(":")[0] in _DEVICES:
                if given.partition(":")[0] != "cpu":
                    raise ArgumentError(
                        f"to: everything is on the CPU; got {given!r}. Leave it out"
                    )
            elif given is device:
                raise ArgumentError(f"to: the only device is 'cpu'; got {device!r}")
            else:
                dtype = given.dtype if isinstance(given, Tensor) else given
        return composites.astype(self, self.dtype if dtype is None else dtype, copy=copy)

    def cpu(self: Tensor) -> Tensor:
        """The tensor as it is: everything is on the CPU."""
        return self

    def reshape(self: Tensor, *shape: Any) -> Tensor:
        """The elements in C order with another shape, given as ints or as one sequence.

        >>> wg.arange(6).reshape(2, -1).shape
        (2, 3)
        """
        return ops.reshape(self, _one_or_many(shape))

    def permute(self: Tensor, *axes: Any) -> Tensor:
        """Axis i of the result is axis axes[i]; the axes are ints or one sequence. A view."""
        return ops.permute_dims(self, _one_or_many(axes))

    def transpose(self: Tensor, *axes: Any) -> Tensor:
        """NumPy's: the axes in the order given, or reversed. A view."""
        if len(axes) == 2 and self.ndim > 2:
            raise ShapeError(
                f"transpose: takes all axes of {self.shape} in their new order, as NumPy; got "
                f"{axes}. To exchange two use x.swapaxes{axes}"
            )
        given = _one_or_many(axes)
        return ops.permute_dims(self, None if given == () else given)

    def flatten(self: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The axes from ``start_dim`` to ``end_dim`` as one.

        >>> wg.ones((2, 3, 4)).flatten(1).shape
        (2, 12)
        """
        if self.ndim == 0:
            return ops.reshape(self, (1,))
        for axis in (start_dim, end_dim):
            if not -self.ndim <= axis < self.ndim:
                raise ShapeError(f"flatten: axis {axis} is out of range for shape {self.shape}")
        start, end = start_dim % self.ndim, end_dim % self.ndim
        if start > end:
            raise ShapeError(f"flatten: start_dim {start_dim} lies behind end_dim {end_dim}")
        shape = self.shape
        return ops.reshape(
            self, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
        )

    def expand(self: Tensor, *shape: Any) -> Tensor:
        """The tensor broadcast to a shape; -1 keeps a size. A view."""
        wanted = tuple(_one_or_many(shape))
        missing = len(wanted) - self.ndim
        if missing < 0:
            raise ShapeError(f"expand: {wanted} has fewer axes than {self.shape}")
        sizes = [1] * missing + list(self.shape)
        return ops.broadcast_to(
            self, [n if w == -1 else w for w, n in zip(wanted, sizes, strict=True)]
        )

    def repeat(self: Tensor, repeats: Any, axis: Any = None) -> Tensor:
        """Each element ``repeats`` times in a row along ``axis`` (of the flattened array: None)."""
        return ops.repeat(self, repeats, axis)

    def cumsum(self: Tensor, axis: Any = None, dtype: Any = None, out: None = None) -> Tensor:
        """Sums up to each place along ``axis``, of the flattened array where it is None."""
        _refuse_out("cumsum", out)
        return composites.cumsum(self, axis, dtype)

    def cumprod(self: Tensor, axis: Any = None, dtype: Any = None, out: None = None) -> Tensor:
        """Products up to each place along ``axis``, of the flattened array where it is None."""
        _refuse_out("cumprod", out)
        return composites.cumprod(self, axis, dtype)

    def clip(self: Tensor, min: Any = None, max: Any = None, out: None = None) -> Tensor:
        """The tensor limited to [min, max], either of which may be None."""
        _refuse_out("clip", out)
        return composites.clip(self, min, max)

    def masked_fill(self: Tensor, mask: Any, value: Any) -> Tensor:
        """A new tensor that is ``value`` where ``mask`` is True."""
        return ops.where(mask, value, self)

    def nonzero(self: Tensor) -> tuple[Tensor, ...]:
        """The places of the elements that are not 0: one int64 tensor an axis."""
        return composites.nonzero(self)

    def dot(self: Tensor, other: Any) -> Tensor:
        """numpy.dot with ``other``."""
        return products.dot(self, other)

    def diagonal(self: Tensor, offset: Any = 0, axis1: Any = 0, axis2: Any = 1) -> Tensor:
        """The elements [i, i + offset] of two axes, as a new last axis. A view."""
        return manipulation.diagonal(self, offset, axis1, axis2)

    def trace(self: Tensor, offset: Any = 0, axis1: Any = 0, axis2: Any = 1) -> Tensor:
        """The sum of a diagonal of two axes."""
        return composites.trace(self, offset, axis1, axis2)

    def swapaxes(self: Tensor, axis1: Any, axis2: Any) -> Tensor:
        """Two axes exchanged. A view."""
        return manipulation.swapaxes(self, axis1, axis2)

    def split(self: Tensor, indices_or_sections: Any, axis: Any = 0) -> list[Tensor]:
        """Parts along ``axis``, as ``wg.split``. Views."""
        return manipulation.split(self, indices_or_sections, axis)

    def nelement(self: Tensor) -> Any:
        """The number of elements."""
        return self.size

    def __iter__(self: Tensor) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise ArgumentTypeError("iter: a 0-d tensor has no elements to go through; use .item()")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self: Tensor, value: Any) -> Any:
        return (self == value).any().item()

    def __dlpack__(self: Tensor, *, copy: Any = None, **options: Any) -> Any:
        array = _core._numpy(self)
        # DLPack has no way to say read-only that all consumers know.
        if copy or (not array.flags.writeable and copy is None):
            array = array.copy()
        options.pop("dl_device", None)
        return array.__dlpack__(
            **{key: value for key, value in options.items() if value is not None}
        )

    def __dlpack_device__(self: Tensor) -> tuple:
        return (1, 0)

    def __array_namespace__(self: Tensor, *, api_version: str | None = None) -> Any:
        import wengert

        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise ArgumentError(
                f"__array_namespace__: the array API version {api_version!r} is not known"
            )
        return wengert

    def __round__(self: Tensor, digits: Any = None) -> Tensor:
        if not digits:
            return ops.round(self)
        scale = 10.0**digits
        return ops.divide(ops.round(ops.multiply(self, scale)), scale)

    def __floor__(self: Tensor) -> Tensor:
        return ops.floor(self)

    def __ceil__(self: Tensor) -> Tensor:
        return ops.ceil(self)

    def __trunc__(self: Tensor) -> Tensor:
        return ops.trunc(self)

    def __format__(self: Tensor, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self: Tensor) -> str:
        notes = []
        if self._is_abstract:
            body = f"{self.dtype} {self.shape}"
            notes.append("traced")
        else:
            body = np.array2string(_core._numpy(self.detach()), separator=", ", prefix="tensor(")
            if self.size == 0:
                body = "[]"
                notes.append(f"shape={self.shape}")
            if self.dtype.name not in ("float32", "int64", "bool") or self.size == 0:
                notes.append(f"dtype={self.dtype.name}")
        if self.grad_fn is not None:
            notes.append(f"grad_fn=<{self.grad_fn.name.strip('<>')}>")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join([body, *notes])})"

    def __copy__(self: Tensor) -> Tensor:
        return _like(self, _core._numpy(_core._detach(self)))

    def __deepcopy__(self: Tensor, memo: dict) -> Tensor:
        _refuse_history("deepcopy", self)
        made = _like(self, _core._numpy(ops.copy(_core._detach(self))))
        memo[id(self)] = made
        if hasattr(self, "__dict__"):
            made.__dict__.update(_copy.deepcopy(self.__dict__, memo))
        if self.grad is not None:
            made.grad = ops.copy(self.grad.detach())
        return made

    def __reduce_ex__(self: Tensor, protocol: Any) -> tuple:
        array = _core._numpy(_core._detach(self))
        wants = self.requires_grad and self.is_leaf
        return (
            _rebuild,
            (type(self), np.ascontiguousarray(array).reshape(array.shape), wants),
            getattr(self, "__dict__", None) or None,
        )


def _refuse_out(where: str, out: Any) -> None:
    if out is not None:  # NumPy's functions pass it on
        raise ArgumentError(
            f"{where}: 'out' can only be None; a tensor is a result; got {out!r:.60}"
        )


def _refuse_history(where: str, x: Tensor) -> None:
    if x.grad_fn is not None:
        raise GraphError(
            f"{where}: only leaves can be copied with their state; this tensor was made by "
            f"'{x.grad_fn.name}'. Use .copy() to stay in the graph, or .detach() first"
        )


def _rebuild(kind: type, array: np.ndarray, requires_grad: bool) -> Tensor:
    if not array.flags.writeable:
        array = array.copy()
    return Tensor.__new__(kind, array, requires_grad=requires_grad)


def _like(x: Tensor, array: np.ndarray) -> Tensor:
    """A tensor of the kind of x over the memory of an array."""
    return Tensor.__new__(type(x), array, requires_grad=x.requires_grad)


def _converter(name: str, dtype: str) -> Callable[[Tensor], Tensor]:
    def convert(self: Tensor) -> Tensor:
        return composites.astype(self, dtype, copy=False)

    convert.__name__, convert.__qualname__ = name, f"Tensor.{name}"
    convert.__doc__ = f"The tensor as {dtype}, without a copy where it is that."
    return convert


def _transposed(x: Tensor) -> Tensor:
    """The axes in reverse order. A view."""
    return ops.permute_dims(x)


# Rows that are methods as they are.
_ROWS = """
    abs all any argmax argmin ceil cos count_nonzero cumulative_sum exp expm1 expand_dims
    floor log log1p logsumexp log_softmax matmul max mean min prod reciprocal relu round rsqrt
    sigmoid sign sin softmax sqrt square squeeze std sum take tan tanh tril triu var
""".split()  # noqa: SIM905


def _public(method: Callable) -> Callable:
    # Of the special methods Python itself expects certain errors; hooks raise their own.
    own = method.__name__.startswith("__") or method.__name__ == "backward"
    return method if own else checked(method)


def _install() -> None:
    for name, method in vars(_Methods).items():
        if callable(method):
            method.__qualname__ = f"Tensor.{name}"
            setattr(Tensor, name, _public(method))
    for name in _ROWS:
        setattr(Tensor, name, getattr(ops, name))
    for name, row in {
        "pow": "power",
        "unsqueeze": "expand_dims",
        "stop_gradient": "stop_gradient",
    }.items():
        setattr(Tensor, name, getattr(ops, row))
    for alias, name in {
        "clone": "copy",
        "view": "reshape",
        "clamp": "clip",
        "ravel": "flatten",
    }.items():
        setattr(Tensor, alias, getattr(Tensor, name))
    for name, dtype in {
        "float": "float32",
        "double": "float64",
        "int": "int32",
        "long": "int64",
        "bool": "bool",
    }.items():
        setattr(Tensor, name, _converter(name, dtype))
    for name, value in {
        "T": property(_transposed, doc=_transposed.__doc__),
        "mT": property(ops.matrix_transpose, doc="The last two axes exchanged. A view."),
        "at": property(indexing.at, doc=indexing.at.__doc__),
        "device": property(lambda x: "cpu", doc='Where the numbers are: always "cpu".'),
        "__array_ufunc__": apply_ufunc,
        "__array_priority__": 1000.0,
    }.items():
        setattr(Tensor, name, value)
    other_names.cover(Tensor, "wengert.Tensor")
    Tensor.__module__ = "wengert"
    Tensor.__doc__ = _DOC


_install()
