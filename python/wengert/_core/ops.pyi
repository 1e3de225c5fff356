"""Every operation of the table. Made by tests/regen_stubs.py."""

from collections.abc import Sequence
from typing import SupportsIndex

from . import ArrayLike, DTypeLike, Tensor

def add(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 + x2, elementwise"""
def subtract(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 - x2, elementwise"""
def multiply(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 * x2, elementwise"""
def divide(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 / x2, elementwise, in floats: integers are converted to float32 first."""
def chain_multiply(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 * x2, the product of a cotangent and a slope: exactly 0 where either is 0, also where the
    other is infinite or NaN (what is not asked for contributes nothing)."""
def chain_divide(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 / x2, but exactly 0 where x1 is 0 or x2 infinite: chain_multiply with the slope 1 / x2."""
def divide_or_zero(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 / x2, and 0 where x2 is 0: the slope of a norm."""
def floor_divide(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """The largest integer not above x1 / x2, as Python's //."""
def remainder(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 - floor(x1 / x2) * x2, as Python's %: it has the sign of x2."""
def negative(x: ArrayLike) -> Tensor:
    """-x, elementwise"""
def reciprocal(x: ArrayLike) -> Tensor:
    """1 / x, elementwise, in floats."""
def square(x: ArrayLike) -> Tensor:
    """x * x, elementwise"""
def power(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 to the power x2."""
def power_grad(g: ArrayLike, a: ArrayLike, b: ArrayLike) -> Tensor:
    """g * b * a**(b - 1), and 0 where g or b is 0: the derivative of power in a."""
def base_log(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """log(x1), and 0 where x1**x2 log(x1) has the limit 0: at x1 = 0 with x2 >= 0, at x1 = inf with
    x2 < 0."""
def sqrt(x: ArrayLike) -> Tensor:
    """The square root"""
def rsqrt(x: ArrayLike) -> Tensor:
    """1 / sqrt(x)"""
def abs(x: ArrayLike) -> Tensor:
    """The absolute value"""
def sign(x: ArrayLike) -> Tensor:
    """-1, 0 or 1 as x is negative, zero or positive"""
def copysign(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """|x1| with the sign of x2."""
def floor(x: ArrayLike) -> Tensor:
    """The largest integer not above x"""
def ceil(x: ArrayLike) -> Tensor:
    """The least integer not below x"""
def trunc(x: ArrayLike) -> Tensor:
    """x rounded towards 0"""
def round(x: ArrayLike) -> Tensor:
    """The nearest integer, halves to the even one"""
def maximum(x1: ArrayLike, x2: ArrayLike, constant: SupportsIndex = 0) -> Tensor:
    """The larger of x1 and x2"""
def minimum(x1: ArrayLike, x2: ArrayLike, constant: SupportsIndex = 0) -> Tensor:
    """The smaller of x1 and x2"""
def where(condition: ArrayLike, x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 where condition is true, x2 elsewhere"""
def clip(x: ArrayLike, min: ArrayLike, max: ArrayLike) -> Tensor:
    """min(max(x, min), max): x limited to [min, max]"""
def keep_greater(g: ArrayLike, a: ArrayLike, b: ArrayLike) -> Tensor:
    """g where a > b, elsewhere 0: what a selected branch passes on."""
def share_greater(g: ArrayLike, a: ArrayLike, b: ArrayLike) -> Tensor:
    """g where a > b, half of it where a == b, elsewhere 0."""
def exp(x: ArrayLike) -> Tensor:
    """e**x, elementwise, in floats."""
def expm1(x: ArrayLike) -> Tensor:
    """e**x - 1, accurate for small x."""
def log(x: ArrayLike) -> Tensor:
    """The natural logarithm"""
def log1p(x: ArrayLike) -> Tensor:
    """log(1 + x), accurate for small x"""
def log2(x: ArrayLike) -> Tensor:
    """The logarithm to base 2, exact for powers of 2"""
def log10(x: ArrayLike) -> Tensor:
    """The logarithm to base 10, exact for powers of 10"""
def logaddexp(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """log(e**x1 + e**x2) without overflow."""
def logaddexp_share(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """1 / (1 + e**(x2 - x1)), the share of x1 in logaddexp: 1/2 where x1 equals x2, but 0 where
    both are -inf."""
def erf(x: ArrayLike) -> Tensor:
    """The error function 2/sqrt(pi) times the integral of e**-t**2 from 0 to x."""
def erfc(x: ArrayLike) -> Tensor:
    """1 - erf(x), accurate for large x."""
def sin(x: ArrayLike) -> Tensor:
    """The sine of x in radians"""
def cos(x: ArrayLike) -> Tensor:
    """The cosine of x in radians"""
def tan(x: ArrayLike) -> Tensor:
    """The tangent of x in radians"""
def asin(x: ArrayLike) -> Tensor:
    """The arc sine, in [-pi/2, pi/2]"""
def acos(x: ArrayLike) -> Tensor:
    """The arc cosine, in [0, pi]"""
def atan(x: ArrayLike) -> Tensor:
    """The arc tangent, in [-pi/2, pi/2]."""
def atan2(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """The angle of the point (x2, x1), in [-pi, pi], signed zeros and infinities as in C."""
def hypot(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """sqrt(x1**2 + x2**2) without overflow"""
def sinh(x: ArrayLike) -> Tensor:
    """The hyperbolic sine."""
def cosh(x: ArrayLike) -> Tensor:
    """The hyperbolic cosine."""
def tanh(x: ArrayLike) -> Tensor:
    """The hyperbolic tangent."""
def tanh_grad(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 * (1 - x2**2): the derivative of tanh by its value x2, applied to x1."""
def asinh(x: ArrayLike) -> Tensor:
    """The inverse hyperbolic sine."""
def acosh(x: ArrayLike) -> Tensor:
    """The inverse hyperbolic cosine"""
def atanh(x: ArrayLike) -> Tensor:
    """The inverse hyperbolic tangent"""
def relu(x: ArrayLike) -> Tensor:
    """max(x, 0)"""
def relu_grad(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 where x2 > 0, elsewhere 0: the derivative of relu by its value x2, applied to x1."""
def leaky_relu(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 where x1 > 0, elsewhere x2 * x1, for a slope x2."""
def elu(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 where x1 > 0, elsewhere x2 * (e**x1 - 1), for a scale x2."""
def sigmoid(x: ArrayLike) -> Tensor:
    """1 / (1 + e**-x)."""
def sigmoid_grad(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 * x2 * (1 - x2): the derivative of sigmoid by its value x2, applied to x1."""
def softplus(x: ArrayLike) -> Tensor:
    """log(1 + e**x) without overflow."""
def log_sigmoid(x: ArrayLike) -> Tensor:
    """log(1 / (1 + e**-x)) without overflow."""
def silu(x: ArrayLike) -> Tensor:
    """x * sigmoid(x), also called swish"""
def silu_grad(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 times the derivative of silu at x2."""
def gelu(x: ArrayLike) -> Tensor:
    """x * Phi(x), where Phi(x) = (1 + erf(x / sqrt(2))) / 2 is the normal distribution"""
def gelu_grad(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 times the derivative of gelu at x2."""
def gelu_tanh(x: ArrayLike) -> Tensor:
    """x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2, which approximates gelu"""
def gelu_tanh_grad(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 times the derivative of gelu_tanh at x2."""
def equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 == x2, elementwise, as bool."""
def not_equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 != x2, elementwise, as bool."""
def less(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 < x2, elementwise, as bool"""
def less_equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 <= x2, elementwise, as bool"""
def greater(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 > x2, elementwise, as bool"""
def greater_equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 >= x2, elementwise, as bool"""
def logical_and(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Whether x1 and x2 are both true."""
def logical_or(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Whether x1 or x2 is true."""
def logical_xor(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Whether exactly one of x1 and x2 is true."""
def logical_not(x: ArrayLike) -> Tensor:
    """Whether x is 0 (or False)."""
def isnan(x: ArrayLike) -> Tensor:
    """Whether x is NaN"""
def isinf(x: ArrayLike) -> Tensor:
    """Whether x is inf or -inf"""
def isfinite(x: ArrayLike) -> Tensor:
    """Whether x is neither infinite nor NaN"""
def signbit(x: ArrayLike) -> Tensor:
    """Whether the sign bit of x is set: True for -0.0 and negative numbers."""
def bitwise_and(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """The bits set in both x1 and x2, for integers and bool."""
def bitwise_or(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """The bits set in x1 or x2, for integers and bool."""
def bitwise_xor(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """The bits set in exactly one of x1 and x2, for integers and bool."""
def bitwise_invert(x: ArrayLike) -> Tensor:
    """Every bit of x inverted, for integers and bool."""
def bitwise_left_shift(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 with its bits moved left by x2, for integers"""
def bitwise_right_shift(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """x1 with its bits moved right by x2, for integers, keeping the sign"""
def sum(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    dtype: DTypeLike = None,
    keepdims: bool = False,
) -> Tensor:
    """The sum of x over axis (an int, several, or None for all)."""
def prod(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    dtype: DTypeLike = None,
    keepdims: bool = False,
) -> Tensor:
    """The product of x over axis"""
def max(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """The largest element of x over axis"""
def min(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """The smallest element of x over axis"""
def argmax(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """The place of the largest element of x along axis, int64: the first one, and NaN before all
    others."""
def argmin(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """The place of the smallest element of x along axis, int64: the first one, and NaN before all
    others."""
def all(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """Whether every element of x is nonzero (NaN is), over axis."""
def any(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """Whether some element of x is nonzero (NaN is), over axis."""
def count_nonzero(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """How many elements of x are nonzero (NaN is), over axis"""
def mean(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """The mean of x over axis"""
def var(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    correction: float = 0,
    keepdims: bool = False,
) -> Tensor:
    """sum((x - mean(x))**2) / (n - correction) over axis, n elements each"""
def std(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    correction: float = 0,
    keepdims: bool = False,
) -> Tensor:
    """The square root of var(x) over axis."""
def logsumexp(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """log(sum(exp(x))) over axis without overflow: -inf (with derivative 0) where all x are -inf or
    there are none, inf where one is."""
def exp_difference(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """exp(x1 - x2), the weight of x1 in a logsumexp x2: 0 where x2 is -inf, 1 where both are
    inf."""
def vector_norm(
    x: ArrayLike,
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """The Euclidean norm of x over axis."""
def cumulative_sum(
    x: ArrayLike, axis: SupportsIndex | None = None, dtype: DTypeLike = None, reverse: bool = False
) -> Tensor:
    """Running sums of x along axis (which may be left out for one dimension)"""
def cumulative_prod(
    x: ArrayLike, axis: SupportsIndex | None = None, dtype: DTypeLike = None, reverse: bool = False
) -> Tensor:
    """Running products of x along axis (which may be left out for one dimension)"""
def linear_recurrence(
    a: ArrayLike, b: ArrayLike, axis: SupportsIndex = -1, reverse: bool = False
) -> Tensor:
    """y[0] = b[0], y[i] = a[i] y[i - 1] + b[i] along axis"""
def reshape(x: ArrayLike, shape: SupportsIndex | Sequence[SupportsIndex]) -> Tensor:
    """The elements of x in C order with another `shape`"""
def permute_dims(
    x: ArrayLike, axes: SupportsIndex | Sequence[SupportsIndex] | None = None
) -> Tensor:
    """Axis i of the result is axis axes[i] of x"""
def matrix_transpose(x: ArrayLike) -> Tensor:
    """The last two axes exchanged."""
def broadcast_to(x: ArrayLike, shape: SupportsIndex | Sequence[SupportsIndex]) -> Tensor:
    """x repeated along new leading axes and along axes of size 1 until it has `shape`."""
def expand_dims(x: ArrayLike, axis: SupportsIndex | Sequence[SupportsIndex] = (0,)) -> Tensor:
    """A new axis of size 1 at position `axis` of the result (an int or several)."""
def squeeze(x: ArrayLike, axis: SupportsIndex | Sequence[SupportsIndex] | None = None) -> Tensor:
    """x without the axes `axis`, which must have size 1"""
def flip(x: ArrayLike, axis: SupportsIndex | Sequence[SupportsIndex] | None = None) -> Tensor:
    """The elements in reverse order along `axis` (an int, several, or None for all)."""
def diagonal(x: ArrayLike, offset: SupportsIndex = 0) -> Tensor:
    """The elements [..., i, i + offset] of the last two axes."""
def slice(
    x: ArrayLike,
    starts: SupportsIndex | Sequence[SupportsIndex],
    sizes: SupportsIndex | Sequence[SupportsIndex],
    steps: SupportsIndex | Sequence[SupportsIndex] | None = None,
) -> Tensor:
    """The elements starts + i * steps with 0 <= i < sizes of every axis"""
def unslice(
    x: ArrayLike,
    shape: SupportsIndex | Sequence[SupportsIndex],
    starts: SupportsIndex | Sequence[SupportsIndex],
    steps: SupportsIndex | Sequence[SupportsIndex] | None = None,
) -> Tensor:
    """The array of `shape` that is zero but for x at starts + i * steps: the transpose of slice."""
def unslice_add(
    base: ArrayLike,
    x: ArrayLike,
    starts: SupportsIndex | Sequence[SupportsIndex],
    steps: SupportsIndex | Sequence[SupportsIndex] | None = None,
) -> Tensor:
    """base with x added at starts + i * steps: the adjoint of an array that several slices look
    at."""
def slice_assign(
    x: ArrayLike,
    values: ArrayLike,
    starts: SupportsIndex | Sequence[SupportsIndex],
    steps: SupportsIndex | Sequence[SupportsIndex] | None = None,
) -> Tensor:
    """x with `values` in the place of its elements at starts + i * steps (see slice)."""
def pad(
    x: ArrayLike, pad_width: SupportsIndex | Sequence[SupportsIndex], constant: float = 0
) -> Tensor:
    """x with pad_width = (before_0, after_0, before_1, ...) places of `constant` round each axis"""
def concat(*arrays: ArrayLike | Sequence[ArrayLike], axis: SupportsIndex = 0) -> Tensor:
    """Arrays one after the other along `axis`"""
def stack(*arrays: ArrayLike | Sequence[ArrayLike], axis: SupportsIndex = 0) -> Tensor:
    """Arrays of one shape joined along a new axis at position `axis` of the result."""
def roll(
    x: ArrayLike,
    shift: SupportsIndex | Sequence[SupportsIndex],
    axis: SupportsIndex | Sequence[SupportsIndex] | None = None,
) -> Tensor:
    """Elements moved by `shift` places along `axis`"""
def tril(x: ArrayLike, k: SupportsIndex = 0) -> Tensor:
    """x at and below the k-th diagonal of the last two axes, zero above it."""
def triu(x: ArrayLike, k: SupportsIndex = 0) -> Tensor:
    """x at and above the k-th diagonal of the last two axes, zero below it."""
def repeat(x: ArrayLike, repeats: SupportsIndex, axis: SupportsIndex | None = None) -> Tensor:
    """Each element `repeats` times in a row along `axis`"""
def tile(x: ArrayLike, repetitions: SupportsIndex | Sequence[SupportsIndex]) -> Tensor:
    """The whole of x repeated repetitions[i] times along axis i"""
def take(x: ArrayLike, indices: ArrayLike, axis: SupportsIndex | None = None) -> Tensor:
    """The elements of x at `indices` (integers of any shape, which takes the axis's place) along
    `axis`"""
def gather(
    x: ArrayLike, *indices: ArrayLike, axes: SupportsIndex | Sequence[SupportsIndex]
) -> Tensor:
    """Integer-array indexing of adjacent `axes`, one index array each: they broadcast, and their
    shape takes the place of those axes."""
def scatter_add(
    updates: ArrayLike,
    *indices: ArrayLike,
    shape: SupportsIndex | Sequence[SupportsIndex],
    axes: SupportsIndex | Sequence[SupportsIndex],
) -> Tensor:
    """The array of `shape` that is zero but for `updates` added at the indices (as in gather, whose
    transpose it is)"""
def index_put(
    x: ArrayLike,
    values: ArrayLike,
    *indices: ArrayLike,
    axes: SupportsIndex | Sequence[SupportsIndex],
    accumulate: bool = False,
    starts: SupportsIndex | Sequence[SupportsIndex] | None = None,
    sizes: SupportsIndex | Sequence[SupportsIndex] | None = None,
    steps: SupportsIndex | Sequence[SupportsIndex] | None = None,
) -> Tensor:
    """x with `values` at the indices (as in gather): of several for one place the last one counts,
    or, with `accumulate`, all are added to what is there."""
def hold_indices(
    indices: ArrayLike, size: SupportsIndex, axis: SupportsIndex = 0, reader: str = 'hold_indices'
) -> Tensor:
    """The indices, if all are places of an axis of `size`, counted from either end"""
def take_along_axis(x: ArrayLike, indices: ArrayLike, axis: SupportsIndex = -1) -> Tensor:
    """y[..., i, ...] = x[..., indices[..., i, ...], ...] along `axis`"""
def scatter_add_along_axis(
    updates: ArrayLike, indices: ArrayLike, size: SupportsIndex, axis: SupportsIndex = -1
) -> Tensor:
    """Zeros of `size` along `axis`, with updates[..., i, ...] added at indices[..., i, ...]: the
    transpose of take_along_axis."""
def one_hot(indices: ArrayLike, num_classes: SupportsIndex, dtype: DTypeLike = ...) -> Tensor:
    """y[..., c] = 1 where indices[...] == c, else 0, for 0 <= c < num_classes."""
def sort(
    x: ArrayLike, axis: SupportsIndex = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """x in ascending (or descending) order along `axis`."""
def argsort(
    x: ArrayLike, axis: SupportsIndex = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """The int64 indices that sort x along `axis`: take_along_axis(x, argsort(x)) is sort(x)."""
def matmul(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Matrix product of x1 (..., n, k) and x2 (..., k, m), whose leading axes broadcast."""
def chain_matmul(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """matmul(x1, x2) in which a product with a zero is 0, also where the other factor is infinite
    or NaN: what is not asked for contributes nothing."""
def linear(x: ArrayLike, weight: ArrayLike, *bias: ArrayLike) -> Tensor:
    """x @ weight.T + bias for x (..., in), weight (out, in) and, if given, bias (out,)."""
def linear_relu(x: ArrayLike, weight: ArrayLike, *bias: ArrayLike) -> Tensor:
    """relu(linear(x, weight, bias))."""
def linear_add(x: ArrayLike, weight: ArrayLike, y: ArrayLike, *bias: ArrayLike) -> Tensor:
    """linear(x, weight, bias) + y."""
def slope_product(x1: ArrayLike, x2: ArrayLike, slope: ArrayLike) -> Tensor:
    """chain_multiply(chain_matmul(x1, x2), slope) for x1 (..., n, k) and x2 (k, m), and its sum
    over all axes but the last."""
def softmax(x: ArrayLike, axis: SupportsIndex = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along axis, computed as exp(x - max(x))"""
def softmax_grad(g: ArrayLike, y: ArrayLike, axis: SupportsIndex = -1) -> Tensor:
    """y (g - sum(g y)) along axis: the adjoint of softmax with output y."""
def log_softmax(x: ArrayLike, axis: SupportsIndex = -1) -> Tensor:
    """x - logsumexp(x) along axis, without overflow"""
def log_softmax_grad(g: ArrayLike, y: ArrayLike, axis: SupportsIndex = -1) -> Tensor:
    """g - exp(y) sum(g) along axis, 0 where y is -inf throughout: the adjoint of log_softmax with
    output y."""
def cross_entropy_logits(
    x: ArrayLike, target: ArrayLike, label_smoothing: float = 0, ignore_index: SupportsIndex = -100
) -> Tensor:
    """The loss (N,) of each row of the logits x (N, C) with class index target (N,): -sum(q
    log_softmax(x)), where q is 1 - label_smoothing at the target plus label_smoothing / C
    everywhere."""
def cross_entropy_grad(
    g: ArrayLike,
    x: ArrayLike,
    target: ArrayLike,
    label_smoothing: float = 0,
    ignore_index: SupportsIndex = -100,
) -> Tensor:
    """(softmax(x) - q) g[:, None], 0 for rows without a loss: the adjoint of
    cross_entropy_logits."""
def layer_norm(
    x: ArrayLike, *affine: ArrayLike, normalized_ndim: SupportsIndex = 1, eps: float = 1e-05
) -> Tensor:
    """xhat * weight + bias with xhat = (x - mean) / sqrt(var + eps), over the last normalized_ndim
    axes of x"""
def rms_norm(
    x: ArrayLike, *weight: ArrayLike, normalized_ndim: SupportsIndex = 1, eps: float = 1e-05
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last normalized_ndim axes of x"""
def norm_grad(
    g: ArrayLike,
    x: ArrayLike,
    *weight: ArrayLike,
    normalized_ndim: SupportsIndex = 1,
    eps: float = 1e-05,
    centred: bool = True,
) -> Tensor:
    """The cotangent of x where g is that of layer_norm(x, weight), or of rms_norm without
    `centred`."""
def norm_weight_grad(
    g: ArrayLike,
    x: ArrayLike,
    normalized_ndim: SupportsIndex = 1,
    eps: float = 1e-05,
    centred: bool = True,
) -> Tensor:
    """sum(g xhat) over the leading axes: the cotangent of weight in layer_norm(x, weight), or in
    rms_norm without `centred`."""
def norm_grads(
    g: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    normalized_ndim: SupportsIndex = 1,
    eps: float = 1e-05,
    centred: bool = True,
    bias: bool = True,
) -> Tensor:
    """The cotangents of x, weight and, with `bias`, of bias where g is that of layer_norm(x,
    weight, bias), or of rms_norm without `centred`."""
def norm_grads_add(
    g: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    more: ArrayLike,
    normalized_ndim: SupportsIndex = 1,
    eps: float = 1e-05,
    centred: bool = True,
    bias: bool = True,
) -> Tensor:
    """norm_grads(g, x, weight) with more, of the shape of x, added to the first."""
def attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, scale: float = 1, is_causal: bool = False
) -> Tensor:
    """Attention of q (..., L, H, E) on k (..., S, H, E) and v (..., S, H, D), of H heads each for
    itself"""
def attention_grad(
    g: ArrayLike,
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    out: ArrayLike,
    lse: ArrayLike,
    *g_lse: ArrayLike,
    scale: float = 1,
    is_causal: bool = False,
) -> Tensor:
    """The cotangents of q, k and v where g is that of the first result of attention and g_lse, if
    given, that of the second."""
def random_uniform(
    state: ArrayLike, shape: SupportsIndex | Sequence[SupportsIndex], dtype: DTypeLike = ...
) -> Tensor:
    """Uniform numbers in [0, 1): multiples of 2**-24 (float32) or 2**-53 (float64)."""
def random_normal(
    state: ArrayLike, shape: SupportsIndex | Sequence[SupportsIndex], dtype: DTypeLike = ...
) -> Tensor:
    """Numbers of the normal distribution with mean 0 and variance 1 (Box-Muller)."""
def random_integers(
    state: ArrayLike,
    shape: SupportsIndex | Sequence[SupportsIndex],
    low: SupportsIndex,
    high: SupportsIndex,
    dtype: DTypeLike = ...,
) -> Tensor:
    """Integers in [low, high): low + floor(u (high - low) / 2**64) for 64 random bits u, so that no
    probability is off by more than (high - low) / 2**64 of itself."""
def random_permutation(state: ArrayLike, n: SupportsIndex) -> Tensor:
    """The integers 0 ..."""
def sgd_update(
    lr: ArrayLike,
    counts: ArrayLike,
    *tensors: ArrayLike,
    momentum: float = 0,
    dampening: float = 0,
    weight_decay: float = 0,
    nesterov: bool = False,
    maximize: bool = False,
    which: SupportsIndex | Sequence[SupportsIndex],
    states: SupportsIndex = 0,
) -> Tensor:
    """A step of gradient descent, as optim.SGD takes it: p - lr d with d = g + weight_decay p"""
def adam_update(
    lr: ArrayLike,
    counts: ArrayLike,
    *tensors: ArrayLike,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    weight_decay: float = 0,
    decoupled: bool = False,
    maximize: bool = False,
    which: SupportsIndex | Sequence[SupportsIndex],
    states: SupportsIndex = 2,
) -> Tensor:
    """A step of Adam, or with decoupled of AdamW, as optim.Adam takes it"""
def rmsprop_update(
    lr: ArrayLike,
    counts: ArrayLike,
    *tensors: ArrayLike,
    alpha: float = 0.99,
    eps: float = 1e-08,
    weight_decay: float = 0,
    momentum: float = 0,
    centered: bool = False,
    maximize: bool = False,
    which: SupportsIndex | Sequence[SupportsIndex],
    states: SupportsIndex = 1,
) -> Tensor:
    """A step of optim.RMSProp"""
def global_norm(*tensors: ArrayLike | Sequence[ArrayLike]) -> Tensor:
    """The Euclidean norm of all elements of the tensors together, float64 ()."""
def alias(x: ArrayLike) -> Tensor:
    """x itself as a new value: the leaf of a function transform."""
def checkpoint_name(x: ArrayLike, name: str) -> Tensor:
    """x itself under a `name`, by which a policy of wg.checkpoint can choose to keep it."""
def copy(x: ArrayLike) -> Tensor:
    """x in memory of its own, contiguous."""
def stop_gradient(x: ArrayLike) -> Tensor:
    """x, taken as a constant: no derivative of any order passes."""
def astype(x: ArrayLike, dtype: DTypeLike) -> Tensor:
    """x converted to dtype."""
def from_number(
    x: ArrayLike, dtype: DTypeLike, where: str = 'from_number', exponent: bool = False
) -> Tensor:
    """x, a Python number, converted to dtype: fails as the operation `where` if it is an integer
    dtype that does not hold x, fractions aside, or for an `exponent` below 0."""
def of_integers(x1: ArrayLike, x2: ArrayLike, name: str) -> Tensor:
    """What the operation `name` makes of Python integers x1 and x2 (of x1, where it takes one): an
    error where int64 does not hold it."""
def straight_through(value: ArrayLike, carrier: ArrayLike, anchor: ArrayLike) -> Tensor:
    """value + (carrier - anchor), and value to the bit where carrier and anchor are the same,
    infinite or NaN included."""
