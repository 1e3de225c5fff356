"""The C++ core of wengert. Made by tests/regen_stubs.py."""

import builtins
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, SupportsIndex, TypeAlias

import numpy as np
from typing_extensions import Self

from ..indexing import At
from ..tensor_methods import Hook
from . import memory as memory
from . import ops as ops

__version__: str
op_table: dict[str, dict[str, Any]]

class _SupportsArray(Protocol):
    def __array__(self) -> np.ndarray: ...

ArrayLike: TypeAlias = (
    Tensor | _SupportsArray | np.generic | float | list[Any] | tuple[Any, ...]
)

DTypeLike: TypeAlias = np.dtype[Any] | type[Any] | str | None

class Error(Exception):
    """The base of every error that wengert raises."""

class ArgumentError(Error, ValueError):
    """An argument out of its range."""

class ArgumentTypeError(Error, TypeError):
    """An argument of the wrong Python type, or a missing one."""

class BoundsError(Error, IndexError):
    """An index out of range."""

class DTypeError(Error, TypeError):
    """A dtype that the operation does not take."""

class FileError(Error, OSError):
    """A file that cannot be read or written."""

class GraphError(Error, RuntimeError):
    """A backward pass over a freed graph, over changed values, or from a tensor without history."""

class NumericError(Error, FloatingPointError):
    """An infinity or a NaN that an operation made of finite numbers, under debug_nans."""

class OutOfMemory(Error, MemoryError):
    """More memory than the machine has."""

class ShapeError(Error, ValueError):
    """Shapes or axes that do not fit the operation."""

class TraceError(Error, TypeError):
    """A traced value used as a Python bool or number."""

class Node:
    """An operation that was recorded: what made a tensor."""

    @property
    def name(self) -> str: ...
    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]: ...
    @property
    def source(self) -> str: ...

class _FastCall:
    """Calls of a recorded function that need no Python."""

    _hits: int
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class Tensor:
    """The array type."""

    @property
    def shape(self) -> tuple[builtins.int, ...]: ...
    @property
    def ndim(self) -> builtins.int: ...
    @property
    def size(self) -> builtins.int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def requires_grad(self) -> builtins.bool: ...
    @requires_grad.setter
    def requires_grad(self, value: builtins.bool) -> None: ...
    @property
    def is_leaf(self) -> builtins.bool: ...
    @property
    def _is_abstract(self) -> builtins.bool: ...
    @property
    def grad(self) -> Tensor | None: ...
    @grad.setter
    def grad(self, value: Tensor | None) -> None: ...
    @property
    def grad_fn(self) -> Node | None: ...
    @property
    def T(self) -> Tensor: ...
    @property
    def mT(self) -> Tensor: ...
    @property
    def device(self) -> str: ...
    @property
    def at(self) -> At: ...
    def __new__(cls, data: ArrayLike, dtype: DTypeLike = None, requires_grad: builtins.bool = False) -> Self: ...
    def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
    def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]
    def __hash__(self) -> builtins.int: ...
    def __bool__(self) -> builtins.bool: ...
    def __float__(self) -> builtins.float: ...
    def __int__(self) -> builtins.int: ...
    def __index__(self) -> builtins.int: ...
    def __len__(self) -> builtins.int: ...
    def __divmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]: ...
    def __rdivmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]: ...
    def __getitem__(self, key: Any) -> Tensor: ...
    def __setitem__(self, key: Any, value: ArrayLike) -> None: ...
    def item(self) -> Any: ...
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray: ...
    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any: ...
    def __add__(self, other: ArrayLike) -> Tensor: ...
    def __radd__(self, other: ArrayLike) -> Tensor: ...
    def __sub__(self, other: ArrayLike) -> Tensor: ...
    def __rsub__(self, other: ArrayLike) -> Tensor: ...
    def __mul__(self, other: ArrayLike) -> Tensor: ...
    def __rmul__(self, other: ArrayLike) -> Tensor: ...
    def __truediv__(self, other: ArrayLike) -> Tensor: ...
    def __rtruediv__(self, other: ArrayLike) -> Tensor: ...
    def __floordiv__(self, other: ArrayLike) -> Tensor: ...
    def __rfloordiv__(self, other: ArrayLike) -> Tensor: ...
    def __mod__(self, other: ArrayLike) -> Tensor: ...
    def __rmod__(self, other: ArrayLike) -> Tensor: ...
    def __pow__(self, other: ArrayLike) -> Tensor: ...
    def __rpow__(self, other: ArrayLike) -> Tensor: ...
    def __matmul__(self, other: ArrayLike) -> Tensor: ...
    def __rmatmul__(self, other: ArrayLike) -> Tensor: ...
    def __and__(self, other: ArrayLike) -> Tensor: ...
    def __rand__(self, other: ArrayLike) -> Tensor: ...
    def __or__(self, other: ArrayLike) -> Tensor: ...
    def __ror__(self, other: ArrayLike) -> Tensor: ...
    def __xor__(self, other: ArrayLike) -> Tensor: ...
    def __rxor__(self, other: ArrayLike) -> Tensor: ...
    def __lshift__(self, other: ArrayLike) -> Tensor: ...
    def __rlshift__(self, other: ArrayLike) -> Tensor: ...
    def __rshift__(self, other: ArrayLike) -> Tensor: ...
    def __rrshift__(self, other: ArrayLike) -> Tensor: ...
    def __iadd__(self, other: ArrayLike) -> Tensor: ...
    def __isub__(self, other: ArrayLike) -> Tensor: ...
    def __imul__(self, other: ArrayLike) -> Tensor: ...
    def __itruediv__(self, other: ArrayLike) -> Tensor: ...
    def __lt__(self, other: ArrayLike) -> Tensor: ...
    def __le__(self, other: ArrayLike) -> Tensor: ...
    def __gt__(self, other: ArrayLike) -> Tensor: ...
    def __ge__(self, other: ArrayLike) -> Tensor: ...
    def __neg__(self) -> Tensor: ...
    def __pos__(self) -> Tensor: ...
    def __abs__(self) -> Tensor: ...
    def __invert__(self) -> Tensor: ...
    def __array_namespace__(self, *, api_version: str | None = None) -> Any: ...
    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any
    ) -> Any: ...
    def __ceil__(self) -> Tensor: ...
    def __contains__(self, value: Any) -> Any: ...
    def __copy__(self) -> Tensor: ...
    def __deepcopy__(self, memo: dict) -> Tensor: ...
    def __dir__(self) -> list[str]: ...
    def __dlpack__(self, *, copy: Any = None, **options: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple: ...
    def __floor__(self) -> Tensor: ...
    def __format__(self, spec: str) -> str: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __reduce_ex__(self, protocol: Any) -> tuple: ...
    def __repr__(self) -> str: ...
    def __round__(self, digits: Any = None) -> Tensor: ...
    def __trunc__(self) -> Tensor: ...
    def abs(self) -> Tensor:
        """The absolute value"""
    def all(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """Whether every element of x is nonzero (NaN is), over axis."""
    def any(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """Whether some element of x is nonzero (NaN is), over axis."""
    def argmax(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """The place of the largest element of x along axis, int64: the first one, and NaN before
        all others."""
    def argmin(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """The place of the smallest element of x along axis, int64: the first one, and NaN before
        all others."""
    def assign(self, value: Any) -> Tensor:
        """Writes ``value`` (which broadcasts) into the tensor's memory"""
    def astype(self, dtype: Any, copy: builtins.bool = True) -> Tensor:
        """The tensor converted to ``dtype``"""
    def backward(
        self,
        gradient: Any = None,
        retain_graph: builtins.bool = False,
        create_graph: builtins.bool = False,
    ) -> None:
        """Adds the derivatives of this tensor to ``grad`` of the leaves it depends on."""
    def bool(self) -> Tensor:
        """The tensor as bool, without a copy where it is that."""
    def ceil(self) -> Tensor:
        """The least integer not below x"""
    def clamp(self, min: Any = None, max: Any = None, out: None = None) -> Tensor:
        """The tensor limited to [min, max], either of which may be None."""
    def clip(self, min: Any = None, max: Any = None, out: None = None) -> Tensor:
        """The tensor limited to [min, max], either of which may be None."""
    def clone(self) -> Tensor:
        """The same numbers in memory of their own"""
    def copy(self) -> Tensor:
        """The same numbers in memory of their own"""
    def cos(self) -> Tensor:
        """The cosine of x in radians"""
    def count_nonzero(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """How many elements of x are nonzero (NaN is), over axis"""
    def cpu(self) -> Tensor:
        """The tensor as it is: everything is on the CPU."""
    def cumprod(self, axis: Any = None, dtype: Any = None, out: None = None) -> Tensor:
        """Products up to each place along ``axis``, of the flattened array where it is None."""
    def cumsum(self, axis: Any = None, dtype: Any = None, out: None = None) -> Tensor:
        """Sums up to each place along ``axis``, of the flattened array where it is None."""
    def cumulative_sum(
        self,
        axis: SupportsIndex | None = None,
        dtype: DTypeLike = None,
        reverse: builtins.bool = False,
    ) -> Tensor:
        """Running sums of x along axis (which may be left out for one dimension)"""
    def detach(self) -> Tensor:
        """The same memory without history: a constant."""
    def diagonal(self, offset: Any = 0, axis1: Any = 0, axis2: Any = 1) -> Tensor:
        """The elements [i, i + offset] of two axes, as a new last axis."""
    def dot(self, other: Any) -> Tensor:
        """numpy.dot with ``other``."""
    def double(self) -> Tensor:
        """The tensor as float64, without a copy where it is that."""
    def exp(self) -> Tensor:
        """e**x, elementwise, in floats."""
    def expand(self, *shape: Any) -> Tensor:
        """The tensor broadcast to a shape"""
    def expand_dims(self, axis: SupportsIndex | Sequence[SupportsIndex] = (0,)) -> Tensor:
        """A new axis of size 1 at position `axis` of the result (an int or several)."""
    def expm1(self) -> Tensor:
        """e**x - 1, accurate for small x."""
    def flatten(self, start_dim: builtins.int = 0, end_dim: builtins.int = -1) -> Tensor:
        """The axes from ``start_dim`` to ``end_dim`` as one."""
    def float(self) -> Tensor:
        """The tensor as float32, without a copy where it is that."""
    def floor(self) -> Tensor:
        """The largest integer not above x"""
    def int(self) -> Tensor:
        """The tensor as int32, without a copy where it is that."""
    def log(self) -> Tensor:
        """The natural logarithm"""
    def log1p(self) -> Tensor:
        """log(1 + x), accurate for small x"""
    def log_softmax(self, axis: SupportsIndex = -1) -> Tensor:
        """x - logsumexp(x) along axis, without overflow"""
    def logsumexp(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """log(sum(exp(x))) over axis without overflow: -inf (with derivative 0) where all x are
        -inf or there are none, inf where one is."""
    def long(self) -> Tensor:
        """The tensor as int64, without a copy where it is that."""
    def masked_fill(self, mask: Any, value: Any) -> Tensor:
        """A new tensor that is ``value`` where ``mask`` is True."""
    def matmul(self, x2: ArrayLike) -> Tensor:
        """Matrix product of x1 (..., n, k) and x2 (..., k, m), whose leading axes broadcast."""
    def max(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """The largest element of x over axis"""
    def mean(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """The mean of x over axis"""
    def min(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """The smallest element of x over axis"""
    def nelement(self) -> Any:
        """The number of elements."""
    def nonzero(self) -> tuple[Tensor, ...]:
        """The places of the elements that are not 0: one int64 tensor an axis."""
    def numpy(self) -> np.ndarray:
        """A NumPy array over the same memory"""
    def permute(self, *axes: Any) -> Tensor:
        """Axis i of the result is axis axes[i]"""
    def pow(self, x2: ArrayLike) -> Tensor:
        """x1 to the power x2."""
    def prod(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        dtype: DTypeLike = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """The product of x over axis"""
    def ravel(self, start_dim: builtins.int = 0, end_dim: builtins.int = -1) -> Tensor:
        """The axes from ``start_dim`` to ``end_dim`` as one."""
    def reciprocal(self) -> Tensor:
        """1 / x, elementwise, in floats."""
    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Hook:
        """Calls ``hook(gradient)`` whenever a backward pass has the gradient of this tensor"""
    def relu(self) -> Tensor:
        """max(x, 0)"""
    def repeat(self, repeats: Any, axis: Any = None) -> Tensor:
        """Each element ``repeats`` times in a row along ``axis`` (of the flattened array: None)."""
    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Sets ``requires_grad`` and returns the tensor."""
    def reshape(self, *shape: Any) -> Tensor:
        """The elements in C order with another shape, given as ints or as one sequence."""
    def retain_grad(self) -> None:
        """Lets a tensor that is no leaf keep its gradient too."""
    def round(self) -> Tensor:
        """The nearest integer, halves to the even one"""
    def rsqrt(self) -> Tensor:
        """1 / sqrt(x)"""
    def sigmoid(self) -> Tensor:
        """1 / (1 + e**-x)."""
    def sign(self) -> Tensor:
        """-1, 0 or 1 as x is negative, zero or positive"""
    def sin(self) -> Tensor:
        """The sine of x in radians"""
    def softmax(self, axis: SupportsIndex = -1) -> Tensor:
        """exp(x) / sum(exp(x)) along axis, computed as exp(x - max(x))"""
    def split(self, indices_or_sections: Any, axis: Any = 0) -> list[Tensor]:
        """Parts along ``axis``, as ``wg.split``."""
    def sqrt(self) -> Tensor:
        """The square root"""
    def square(self) -> Tensor:
        """x * x, elementwise"""
    def squeeze(self, axis: SupportsIndex | Sequence[SupportsIndex] | None = None) -> Tensor:
        """x without the axes `axis`, which must have size 1"""
    def std(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        correction: builtins.float = 0,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """The square root of var(x) over axis."""
    def stop_gradient(self) -> Tensor:
        """x, taken as a constant: no derivative of any order passes."""
    def sum(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        dtype: DTypeLike = None,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """The sum of x over axis (an int, several, or None for all)."""
    def swapaxes(self, axis1: Any, axis2: Any) -> Tensor:
        """Two axes exchanged."""
    def take(self, indices: ArrayLike, axis: SupportsIndex | None = None) -> Tensor:
        """The elements of x at `indices` (integers of any shape, which takes the axis's place)
        along `axis`"""
    def tan(self) -> Tensor:
        """The tangent of x in radians"""
    def tanh(self) -> Tensor:
        """The hyperbolic tangent."""
    def to(
        self, *target: Any, dtype: Any = None, device: Any = None, copy: builtins.bool = False
    ) -> Tensor:
        """The tensor as another dtype, without a copy where it has it unless ``copy``."""
    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers"""
    def trace(self, offset: Any = 0, axis1: Any = 0, axis2: Any = 1) -> Tensor:
        """The sum of a diagonal of two axes."""
    def transpose(self, *axes: Any) -> Tensor:
        """NumPy's: the axes in the order given, or reversed."""
    def tril(self, k: SupportsIndex = 0) -> Tensor:
        """x at and below the k-th diagonal of the last two axes, zero above it."""
    def triu(self, k: SupportsIndex = 0) -> Tensor:
        """x at and above the k-th diagonal of the last two axes, zero below it."""
    def unsqueeze(self, axis: SupportsIndex | Sequence[SupportsIndex] = (0,)) -> Tensor:
        """A new axis of size 1 at position `axis` of the result (an int or several)."""
    def var(
        self,
        axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
        correction: builtins.float = 0,
        keepdims: builtins.bool = False,
    ) -> Tensor:
        """sum((x - mean(x))**2) / (n - correction) over axis, n elements each"""
    def view(self, *shape: Any) -> Tensor:
        """The elements in C order with another shape, given as ints or as one sequence."""

def _adam_step(
    arg0: list[Any],
    arg1: list[Any],
    arg2: list[Any],
    arg3: list[Any],
    arg4: Tensor,
    arg5: float,
    arg6: float,
    arg7: float,
    arg8: float,
    arg9: float,
    arg10: bool,
    arg11: bool,
) -> None: ...
def _add_recording(
    arg0: Any,
    arg1: tuple,
    arg2: dict,
    arg3: Any,
    arg4: Any,
    arg5: Any,
    arg6: Any,
    arg7: Any,
    arg8: str,
    arg9: SupportsIndex,
) -> None: ...
def _advance(arg0: Tensor) -> None: ...
def _alias(arg0: Tensor) -> Tensor: ...
def _apply_rules(arg0: Any, arg1: Sequence[Tensor]) -> list: ...
def _arange(arg0: Any, arg1: Any, arg2: Any, arg3: Any) -> Tensor: ...
def _as_number(arg0: Tensor) -> Tensor: ...
def _assign(arg0: Tensor, arg1: Any) -> None: ...
def _backward(arg0: Any, arg1: Any, arg2: Any, arg3: Any) -> None: ...
def _batch(
    arg0: Callable[..., Any],
    arg1: Sequence[Tensor],
    arg2: Sequence[bool],
    arg3: SupportsIndex,
    arg4: Callable[..., Any],
) -> tuple[Any, ...]: ...
def _call_abstract(arg0: Callable[..., Any], arg1: list[Any]) -> Any: ...
def _call_followed(arg0: Callable[..., Any], arg1: list[Any]) -> Any: ...
def _can_take(arg0: Tensor, arg1: Tensor) -> bool: ...
def _chain_schedule(
    arg0: Sequence[tuple[float, float, SupportsIndex, SupportsIndex, SupportsIndex]],
    arg1: Sequence[SupportsIndex],
    arg2: Sequence[SupportsIndex],
    arg3: SupportsIndex,
    arg4: SupportsIndex,
) -> Any: ...
def _changed_options(from_to: SupportsIndex = 0) -> None: ...
def _checkpoint(arg0: Any, arg1: tuple, arg2: dict, arg3: Any, arg4: Callable[..., Any]) -> Any: ...
def _clear_recordings(arg0: Any) -> None: ...
def _clip_grad_norm(arg0: list[Any], arg1: float) -> float: ...
def _cond(
    arg0: Tensor,
    arg1: Callable[..., Any],
    arg2: Callable[..., Any],
    arg3: Sequence[Tensor],
    arg4: Callable[..., Any],
    arg5: Callable[..., Any],
) -> tuple[Any, ...]: ...
def _counts_of(arg0: Sequence[tuple[Tensor, SupportsIndex] | None]) -> Tensor: ...
def _detach(arg0: Tensor) -> Tensor: ...
def _dtypes() -> dict[str, Any]: ...
def _empty(shape: Any, dtype: Any = None) -> Tensor: ...
def _end_leaves(arg0: Sequence[Tensor]) -> None: ...
def _eye(arg0: Any, arg1: Any, arg2: Any, arg3: Any) -> Tensor: ...
def _flagged() -> list[tuple[Tensor, bool]]: ...
def _forward(
    arg0: Callable[..., Any],
    arg1: Sequence[Tensor],
    arg2: Sequence[Tensor | None],
    arg3: Callable[..., Any],
) -> tuple[Any, ...]: ...
def _full(shape: Any, value: Any, dtype: Any = None, where: str = "full") -> Tensor: ...
def _has_open_history(arg0: Tensor) -> bool: ...
def _index_update(arg0: Tensor, arg1: Any, arg2: Any, arg3: bool) -> Tensor: ...
def _is_assigned(arg0: Tensor) -> bool: ...
def _is_constant(arg0: Tensor) -> bool: ...
def _is_differentiated(arg0: Tensor) -> bool: ...
def _is_followed(arg0: Tensor) -> bool: ...
def _is_number(arg0: Tensor) -> bool: ...
def _is_of_followed_history(arg0: str) -> bool: ...
def _is_outer(arg0: Sequence[Tensor], arg1: Sequence[Tensor]) -> bool: ...
def _is_traced(arg0: Tensor) -> bool: ...
def _is_unseen(arg0: Tensor) -> bool: ...
def _is_within(arg0: Tensor) -> bool: ...
def _least_advances(arg0: SupportsIndex, arg1: SupportsIndex) -> int: ...
def _left_behind(arg0: SupportsIndex) -> list: ...
def _linspace(arg0: Any, arg1: Any, arg2: Any, arg3: Any, arg4: Any) -> Tensor: ...
def _made_by(arg0: Tensor) -> str: ...
def _make_state(arg0: Tensor) -> Tensor: ...
def _may_hold(arg0: Tensor, arg1: SupportsIndex) -> bool: ...
def _measure_spill(arg0: str, arg1: SupportsIndex) -> list[float]: ...
def _next_stored(arg0: SupportsIndex, arg1: SupportsIndex) -> int: ...
def _nonzero(arg0: Tensor) -> tuple[Any, ...]: ...
def _number(arg0: Any) -> Tensor: ...
def _numbers_of(arg0: Tensor) -> Any: ...
def _numpy(arg0: Tensor) -> Any: ...
def _options_changes() -> int: ...
def _options_epoch() -> int: ...
def _place_for(arg0: Tensor) -> Tensor: ...
def _present(arg0: Tensor) -> Tensor: ...
def _rebind(arg0: Sequence[Tensor], arg1: Sequence[Tensor]) -> None: ...
def _record(
    arg0: Callable[..., Any],
    arg1: Sequence[Tensor],
    arg2: Sequence[bool],
    arg3: Callable[..., Any],
    arg4: tuple[SupportsIndex,
    float,
    float,
    tuple[str, SupportsIndex, float, float, float] | None] | None,
    arg5: bool,
) -> tuple[Any, ...]: ...
def _recording() -> bool: ...
def _recording_id() -> int: ...
def _recording_progress() -> int: ...
def _register_hook(arg0: Tensor, arg1: Any) -> int: ...
def _release(arg0: Tensor) -> Tensor: ...
def _remove_hook(arg0: Tensor, arg1: SupportsIndex) -> None: ...
def _retain_grad(arg0: Tensor) -> None: ...
def _reverse(
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    targets: Sequence[Tensor],
    retain_graph: bool,
    recorded: bool | None = None,
) -> tuple[Any, ...]: ...
def _rmsprop_step(
    arg0: list[Any],
    arg1: list[Any],
    arg2: list[Any],
    arg3: list[Any],
    arg4: Tensor,
    arg5: float,
    arg6: float,
    arg7: float,
    arg8: float,
    arg9: float,
    arg10: bool,
) -> None: ...
def _scan(
    arg0: Callable[..., Any],
    arg1: Sequence[Tensor],
    arg2: Sequence[Tensor],
    arg3: SupportsIndex,
    arg4: Callable[..., Any],
    arg5: Callable[..., Any],
    arg6: Any,
) -> tuple[Any, ...]: ...
def _separate(arg0: Sequence[Tensor]) -> list[Tensor]: ...
def _set_grad_enabled(arg0: SupportsIndex) -> int: ...
def _set_isa(arg0: str) -> None: ...
def _set_package_folder(arg0: str) -> None: ...
def _set_peak(arg0: SupportsIndex) -> None: ...
def _set_statics(arg0: Any, arg1: Sequence[SupportsIndex]) -> None: ...
def _set_watch(arg0: bool) -> bool: ...
def _sgd_step(
    arg0: list[Any],
    arg1: list[Any],
    arg2: Tensor,
    arg3: float,
    arg4: float,
    arg5: float,
    arg6: float,
    arg7: bool,
    arg8: bool,
) -> None: ...
def _source_here() -> str: ...
def _spill_times() -> list[float]: ...
def _strays() -> bool: ...
def _sweep_may_matter() -> bool: ...
def _trace(
    arg0: Callable[..., Any], arg1: Sequence[Tensor], arg2: Callable[..., Any]
) -> tuple[Any, ...]: ...
def _two_level_cost(
    arg0: SupportsIndex,
    arg1: SupportsIndex,
    arg2: SupportsIndex,
    arg3: float,
    arg4: float,
    arg5: bool,
) -> float: ...
def _watching() -> bool: ...
def _while(
    arg0: Callable[..., Any],
    arg1: Callable[..., Any],
    arg2: Sequence[Tensor],
    arg3: Callable[..., Any],
    arg4: Callable[..., Any],
    arg5: Callable[..., Any],
    arg6: Any,
) -> list[Tensor]: ...
def _within_transform() -> bool: ...
def asarray(
    obj: ArrayLike, *, dtype: DTypeLike = None, copy: bool | None = None, device: str | None = None
) -> Tensor: ...
def config() -> dict[str, Any]: ...
def get_num_threads() -> int: ...
def is_grad_enabled() -> bool: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def tensor(data: ArrayLike, *, dtype: DTypeLike = None, requires_grad: bool = False) -> Tensor: ...
