"""Random numbers from a counter: the same seed gives the same numbers for any number of threads.

A generator's whole state is one small tensor, which a draw reads and then advances in place.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import _core, arguments, other_names
from ._core import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    GraphError,
    ShapeError,
    Tensor,
    TraceError,
    asarray,
    ops,
    tensor,
)
from .checked import checked, cover, cover_constructors
from .dtypes import as_dtype, bool_, float32, int64, result_type

__all__ = ["Generator", "default_generator", "default_rng", "seed"]

Size = int | Sequence[int] | None


def _sizes(size: Size) -> tuple[int, ...]:
    if size is None:
        return ()
    if type(size) is tuple:
        return size
    if isinstance(size, Sequence):
        return tuple(operator.index(n) for n in size)
    return (operator.index(size),)


def _key(seed: Any) -> int:
    """A seed as 64 signed bits: small ints as they are, others hashed."""
    if seed is None:
        if _core._recording():
            raise TraceError(
                "default_rng: made without a seed in a compiled function, a generator would begin "
                "with the same one in every call; make it outside: its state is carried over"
            )
        return int.from_bytes(os.urandom(8), "little") >> 1
    try:
        value: Any = operator.index(seed)
    except TypeError:
        value = [operator.index(part) for part in seed]
    if isinstance(value, int) and 0 <= value < 1 << 63:
        return value
    import hashlib  # rarely needed, and slow to load

    digest = hashlib.blake2b(repr(value).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class Generator:
    """Draws random tensors; made by ``wg.random.default_rng(seed)``. Methods have NumPy's names.

    ``size`` is an int, a tuple or None (one number, shape ()). Floats are float32 unless ``dtype``
    is given. Bounds, means and scales may be tensors: they broadcast with the draw and get
    gradients through it.

    A draw in a function under ``wg.vmap`` is one draw, shared by all examples. For one an example,
    draw outside with the mapped axis in ``size`` and pass that in.

    >>> rng = wg.random.default_rng(0)
    >>> rng.normal(size=(2, 3)).shape
    (2, 3)
    """

    __slots__ = ("_one", "_state")

    def __init__(self, seed: Any = None) -> None:
        self._state = tensor([_key(seed), 0], dtype=int64)
        self._one = tensor([0, 1], dtype=int64)

    @property
    def state(self) -> Tensor:
        """The state, int64 (2,): key and counter. Draws advance it in place; it can be assigned."""
        return self._state

    @state.setter
    def state(self, value: Any) -> None:
        value = asarray(value)
        if value.shape != (2,) or value.dtype != int64:
            raise ShapeError(
                f"state: must be int64 (2,): key and counter; got {value.dtype} {value.shape}"
            )
        _core._assign(self._state, value)

    def get_state(self) -> Tensor:
        """A copy of the state, for ``set_state``."""
        return ops.copy(self._state)

    def set_state(self, state: Any) -> None:
        """Goes back to a state that ``get_state`` returned.

        >>> rng = wg.random.default_rng(0)
        >>> state = rng.get_state()
        >>> first = rng.random(3)
        >>> rng.set_state(state)
        >>> bool((rng.random(3) == first).all())
        True
        """
        self.state = state

    def _advance(self, n: int) -> None:
        _core._assign(self._state, ops.add(self._state, ops.multiply(self._one, n)))

    def random(self, size: Size = None, *, dtype: Any = float32) -> Tensor:
        """Uniform numbers in [0, 1).

        >>> wg.random.default_rng(0).random((2, 2)).shape
        (2, 2)
        """
        drawn = ops.random_uniform(self._state, _sizes(size), dtype)
        self._advance(drawn.size)
        return drawn

    def standard_normal(self, size: Size = None, *, dtype: Any = float32) -> Tensor:
        """Normal numbers with mean 0 and variance 1.

        >>> wg.random.default_rng(0).standard_normal(4).shape
        (4,)
        """
        drawn = ops.random_normal(self._state, _sizes(size), dtype)
        self._advance(drawn.size)
        return drawn

    def uniform(
        self, low: Any = 0.0, high: Any = 1.0, size: Size = None, *, dtype: Any = None
    ) -> Tensor:
        """Uniform numbers in [low, high): low + (high - low) u.

        >>> wg.random.default_rng(0).uniform(-1, 1, 5).shape
        (5,)
        """
        low, high = arguments.meant_float(low), arguments.meant_float(high)
        sizes, dtype = _like("uniform", size, dtype, low, high)
        u = self.random(sizes, dtype=dtype)
        return ops.add(ops.multiply(u, ops.subtract(high, low)), low)

    def normal(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Size = None, *, dtype: Any = None
    ) -> Tensor:
        """Normal numbers with mean ``loc`` and standard deviation ``scale``: loc + scale z.

        >>> mean = wg.zeros(3).requires_grad_()
        >>> wg.random.default_rng(0).normal(mean).sum().backward()
        >>> mean.grad
        tensor([1., 1., 1.])
        """
        scale = _not_negative("normal", "scale", scale)
        loc = arguments.meant_float(loc)
        sizes, dtype = _like("normal", size, dtype, loc, scale)
        z = self.standard_normal(sizes, dtype=dtype)
        return ops.add(ops.multiply(z, scale), loc)

    def exponential(self, scale: Any = 1.0, size: Size = None, *, dtype: Any = None) -> Tensor:
        """Numbers of the exponential distribution with mean ``scale``.

        >>> wg.random.default_rng(0).exponential(2.0, 5).shape
        (5,)
        """
        scale = _not_negative("exponential", "scale", scale)
        sizes, dtype = _like("exponential", size, dtype, scale)
        u = self.random(sizes, dtype=dtype)
        return ops.multiply(ops.negative(ops.log1p(ops.negative(u))), scale)

    def gumbel(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Size = None, *, dtype: Any = None
    ) -> Tensor:
        """Numbers of the Gumbel distribution: loc - scale log(-log(u)).

        >>> wg.random.default_rng(0).gumbel(size=5).shape
        (5,)
        """
        scale = _not_negative("gumbel", "scale", scale)
        loc = arguments.meant_float(loc)
        sizes, dtype = _like("gumbel", size, dtype, loc, scale)
        # 1 - u is never 0, and where it is 1 its logarithm is kept off 0.
        smallest = float(np.finfo(dtype).tiny)
        rate = ops.maximum(
            ops.negative(ops.log1p(ops.negative(self.random(sizes, dtype=dtype)))), smallest
        )
        return ops.subtract(loc, ops.multiply(ops.log(rate), scale))

    def lognormal(
        self, mean: Any = 0.0, sigma: Any = 1.0, size: Size = None, *, dtype: Any = None
    ) -> Tensor:
        """Numbers whose logarithm is normal with mean ``mean`` and standard deviation ``sigma``.

        >>> bool((wg.random.default_rng(0).lognormal(size=5) > 0).all())
        True
        """
        sigma = _not_negative("lognormal", "sigma", sigma)
        return ops.exp(self.normal(mean, sigma, size, dtype=dtype))

    def laplace(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Size = None, *, dtype: Any = None
    ) -> Tensor:
        """Numbers of the Laplace distribution: loc - scale sign(v) log(1 - |v|), v in [-1, 1).

        >>> wg.random.default_rng(0).laplace(size=5).shape
        (5,)
        """
        scale = _not_negative("laplace", "scale", scale)
        loc = arguments.meant_float(loc)
        sizes, dtype = _like("laplace", size, dtype, loc, scale)
        v = ops.subtract(ops.multiply(self.random(sizes, dtype=dtype), 2.0), 1.0)
        rest = ops.maximum(ops.subtract(1.0, ops.abs(v)), float(np.finfo(dtype).eps) / 2)
        unit = ops.negative(ops.multiply(ops.sign(v), ops.log(rest)))
        return ops.add(ops.multiply(unit, scale), loc)

    def logistic(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Size = None, *, dtype: Any = None
    ) -> Tensor:
        """Numbers of the logistic distribution: loc + scale log(u / (1 - u)).

        >>> wg.random.default_rng(0).logistic(size=5).shape
        (5,)
        """
        scale = _not_negative("logistic", "scale", scale)
        loc = arguments.meant_float(loc)
        sizes, dtype = _like("logistic", size, dtype, loc, scale)
        u = self.random(sizes, dtype=dtype)
        above_zero = ops.maximum(u, float(np.finfo(dtype).eps) / 4)
        unit = ops.subtract(ops.log(above_zero), ops.log1p(ops.negative(u)))
        return ops.add(ops.multiply(unit, scale), loc)

    def integers(
        self,
        low: int,
        high: int | None = None,
        size: Size = None,
        *,
        dtype: Any = int64,
        endpoint: bool = False,
    ) -> Tensor:
        """Integers in [low, high), or [low, high] with ``endpoint``; with one bound, from 0 to it.

        >>> wg.random.default_rng(0).integers(10, size=(2, 3)).dtype
        dtype('int64')
        """
        if high is None:
            low, high = 0, low
        drawn = ops.random_integers(
            self._state, _sizes(size), low, high + 1 if endpoint else high, dtype
        )
        self._advance(drawn.size)
        return drawn

    def bernoulli(self, p: Any = 0.5, size: Size = None, *, dtype: Any = bool_) -> Tensor:
        """True with probability ``p`` (a number or tensor in [0, 1], which gets no gradient).

        >>> wg.random.default_rng(0).bernoulli(0.3, 4).dtype
        dtype('bool')
        """
        p = arguments.probability("bernoulli", "p", _array("bernoulli", "p", p))
        sizes, kind = _like("bernoulli", size, None, p)
        hit = ops.less(self.random(sizes, dtype=kind), p)
        return hit if as_dtype(dtype) == bool_ else ops.astype(hit, dtype)

    def permutation(self, x: Any, *, axis: int = 0) -> Tensor:
        """The integers below x, or the slices of x along ``axis``, in random order.

        >>> sorted(wg.random.default_rng(0).permutation(5).tolist())
        [0, 1, 2, 3, 4]
        """
        if not isinstance(x, Tensor) and np.ndim(x) == 0:
            return self._permutation(operator.index(x))
        x = asarray(x)
        if not -x.ndim <= axis < x.ndim:
            raise ShapeError(f"permutation: axis {axis} is out of range for shape {x.shape}")
        return ops.take(x, self._permutation(x.shape[axis]), axis)

    def _permutation(self, n: int) -> Tensor:
        order = ops.random_permutation(self._state, n)
        self._advance(n)
        return order

    def shuffle(self, x: Tensor, *, axis: int = 0) -> None:
        """Puts the slices of x along ``axis`` in random order, in place.

        >>> x = wg.arange(5)
        >>> wg.random.default_rng(0).shuffle(x)
        >>> sorted(x.tolist())
        [0, 1, 2, 3, 4]
        """
        if not isinstance(x, Tensor):
            raise ArgumentTypeError(
                f"shuffle: changes a tensor in place; got a {type(x).__name__}. For a shuffled "
                "copy use permutation"
            )
        if x.grad_fn is not None:
            raise GraphError(
                f"shuffle: only leaves change in place; this tensor was made by "
                f"'{x.grad_fn.name}'. For a shuffled copy use permutation"
            )
        _core._assign(x, self.permutation(x, axis=axis))

    def choice(
        self, a: Any, size: Size = None, replace: bool = True, p: Any = None, *, axis: int = 0
    ) -> Tensor:
        """Random slices of ``a`` along ``axis`` (of an int: integers below it), shape (size,) in
        place of that axis. ``p`` are their probabilities, which must sum to 1 (to 1e-5).

        >>> wg.random.default_rng(0).choice(10, 3, replace=False).shape
        (3,)
        """
        number = not isinstance(a, Tensor) and np.ndim(a) == 0
        a = a if number else asarray(a)
        n = operator.index(a) if number else a.shape[axis]
        sizes = _sizes(size)
        count = int(np.prod(sizes))
        if n < 1 and count > 0:
            raise ArgumentError(f"choice: needs something to choose from; got {n} items")
        if not replace and count > n:
            raise ArgumentError(f"choice: {count} of {n} cannot be chosen without replacement")
        if p is not None:
            places = self._weighted(np.asarray(p, dtype=np.float64), n, count, replace)
        elif replace:
            places = self.integers(n, size=count)
        else:
            places = self._permutation(n)[:count]
        places = ops.reshape(places, sizes)
        return places if number else ops.take(a, places, axis)

    def _weighted(self, p: np.ndarray, n: int, count: int, replace: bool) -> Tensor:
        if p.shape != (n,) or not np.all(p >= 0) or abs(p.sum() - 1) > 1e-5:
            raise ArgumentError(f"choice: 'p' must be {n} probabilities that sum to 1; got {p}")
        if replace:
            edges = np.cumsum(p)
            u = ops.multiply(self.random(count, dtype=np.float64), edges[-1])
            if _core._recording():  # without a search, which no operation is
                return ops.count_nonzero(ops.less_equal(edges, ops.expand_dims(u, 1)), 1)
            return tensor(np.searchsorted(edges, u.numpy(), side="right"), dtype=int64)
        if np.count_nonzero(p) < count:
            raise ArgumentError(f"choice: fewer than {count} entries of 'p' are positive")
        # The smallest of exponential times with rates p are such a draw.
        times = ops.divide(self.exponential(1.0, n, dtype=np.float64), p)
        return ops.argsort(times)[:count]

    def spawn(self, n_children: int) -> list[Generator]:
        """New generators, independent of each other and of this one, which moves on.

        >>> len(wg.random.default_rng(0).spawn(3))
        3
        """
        limit = np.iinfo(np.int64)
        keys = self.integers(int(limit.min), int(limit.max), n_children)
        children = [Generator(0) for _ in range(n_children)]
        for child, key in zip(children, keys.tolist(), strict=True):
            child.state = tensor([key, 0], dtype=int64)
        return children

    def __repr__(self) -> str:
        key, counter = self._state.tolist()
        return f"Generator(key={key}, counter={counter})"

    def __reduce__(self) -> tuple:
        return _rebuild, (self._state.tolist(),)


def _rebuild(state: list[int]) -> Generator:
    generator = Generator(0)
    generator.state = tensor(state, dtype=int64)
    return generator


def _array(where: str, name: str, x: Any) -> Any:
    return arguments.to_tensor(where, name, x) if isinstance(x, (list, tuple, np.ndarray)) else x


def _not_negative(where: str, name: str, value: Any) -> Any:
    return arguments.real(where, name, _array(where, name, value), finite=False, tensor=True)


def _like(where: str, size: Size, dtype: Any, *parameters: Any) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and dtype of a draw: as asked for, or as the parameters broadcast and promote."""
    arrays = [asarray(p) for p in parameters if not isinstance(p, (int, float))]
    if dtype is None:
        dtype = result_type(float32, *arrays) if arrays else float32
    dtype = as_dtype(dtype)
    if dtype.kind != "f":
        raise DTypeError(f"{where}: dtype must be float32 or float64; got {dtype}")
    if not arrays:
        return _sizes(size), dtype
    try:
        common = np.broadcast_shapes(*(a.shape for a in arrays))
        fits = size is None or np.broadcast_shapes(common, _sizes(size)) == _sizes(size)
    except ValueError:
        common, fits = (), False
    if not fits:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ShapeError(f"{where}: parameters of shapes {shapes} do not broadcast to size {size}")
    return (common if size is None else _sizes(size)), dtype


def default_rng(seed: Any = None) -> Generator:
    """A generator: with the same ``seed`` (an int, or a sequence of ints) always the same numbers,
    without one, others each time. A Generator is returned as it is.

    >>> wg.random.default_rng(7).random() == wg.random.default_rng(7).random()
    tensor(True)
    """
    return seed if isinstance(seed, Generator) else Generator(seed)


_default = Generator(0)


def default_generator() -> Generator:
    """The generator that initialisers and dropout use unless they are given one.

    >>> wg.random.default_generator() is wg.random.default_generator()
    True
    """
    return _default


def seed(seed: Any) -> None:
    """Starts the default generator anew.

    >>> wg.random.seed(0)
    """
    _default.state = tensor([_key(seed), 0], dtype=int64)


for _name, _method in list(vars(Generator).items()):
    if callable(_method) and not _name.startswith("_"):
        setattr(Generator, _name, checked(_method))
cover_constructors([Generator])
other_names.cover(Generator, "wengert.random.Generator")
cover(globals(), ["default_generator", "default_rng", "seed"])


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        other_names.missing("wengert.random", name)
