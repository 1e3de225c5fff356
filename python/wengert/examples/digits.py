"""Handwritten digits: trains a multilayer perceptron, times its training step (compiled, eager, and
that of the plain-Python reference), and draws what it learnt.

    python -m wengert.examples.digits --help
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np

import wengert as wg
from wengert import nn

from .options import picture_path, positive

SIZES = (64, 64, 64, 10)
BATCH = 32
NOISE = 0.3  # standard deviation, added to pixels in [0, 1] so that no picture is seen twice


def make_model() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def make_step(
    model: nn.Module, optimizer: wg.optim.Optimizer, eager: bool
) -> Callable[[wg.Tensor, wg.Tensor], wg.Tensor]:
    def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step if eager else wg.compile(step)


def train(model: nn.Module, x: wg.Tensor, y: wg.Tensor, epochs: int, eager: bool) -> np.ndarray:
    """Trains the model in place; returns the loss of every step, (epochs, steps an epoch)."""
    from tqdm import tqdm

    rng = wg.random.default_generator()  # the one that initialised the model
    starts = range(0, len(x), BATCH)
    schedule = wg.optim.cosine(5e-3, epochs * len(starts))
    step = make_step(model, wg.optim.Adam(model.parameters(), lr=schedule), eager)
    losses = np.empty((epochs, len(starts)))
    with tqdm(total=losses.size, desc="training", unit=" steps") as bar:
        for epoch in range(epochs):
            order = rng.permutation(len(x))
            noisy, labels = (x + rng.normal(0.0, NOISE, x.shape))[order], y[order]
            for i, start in enumerate(starts):
                batch = slice(start, start + BATCH)
                losses[epoch, i] = step(noisy[batch], labels[batch])
            bar.set_postfix(loss=f"{losses[epoch].mean():.4f}", refresh=False)
            bar.update(len(starts))
    return losses


def load_data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test images (n, 64) in [0, 1] with labels (n,); the split is always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32)
    x, x_test, y, y_test = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    return x, y, x_test, y_test


@wg.no_grad()
def predict(model: nn.Module, x: np.ndarray) -> np.ndarray:
    return model(wg.asarray(x)).argmax(axis=1).numpy()


def fingerprint(model: nn.Module) -> str:
    """Equal for models whose parameters are equal to the bit."""
    bits = b"".join(p.numpy().tobytes() for p in model.parameters())
    return hashlib.sha256(bits).hexdigest()[:16]


def seconds_of(step: Callable, *batch: object, times: int = 1) -> float:
    """Processor time of a step."""
    start = process_time()
    for _ in range(times):
        step(*batch)
    return (process_time() - start) / times


def time_steps(x: wg.Tensor, y: wg.Tensor) -> tuple[float, float, float | None]:
    """Seconds of a training step compiled, eager and in the reference (None where it is not found),
    which take turns on one batch."""
    compiled, eager = (
        make_step(model, wg.optim.Adam(model.parameters()), eager)
        for model, eager in ((make_model(), False), (make_model(), True))
    )
    compiled(x, y)  # records
    reference = reference_step(x, y)
    samples = []
    for _ in range(7):
        ours = [seconds_of(step, x, y, times=50) for step in (compiled, eager)]
        samples.append([*ours, seconds_of(reference) if reference else 0.0])
    first, second, third = map(median, zip(*samples, strict=True))
    return first, second, third if reference else None


def reference_step(x: wg.Tensor, y: wg.Tensor) -> Callable[[], object] | None:
    """A step of the reference, whose loss and gradients have to be ours."""
    try:
        from benchmarks.reference.mlp import MLP
    except ImportError:
        return None

    model, reference = make_model(), MLP(SIZES)
    parameters = list(model.parameters())  # a weight and a bias for each layer
    layers = zip(parameters[::2], parameters[1::2], strict=True)
    reference.set_parameters([(weight.tolist(), bias.tolist()) for weight, bias in layers])
    rows, labels = x.tolist(), y.tolist()

    loss = nn.cross_entropy(model(x), y)
    loss.backward()
    expected_loss, gradients = reference.gradients(rows, labels)
    np.testing.assert_allclose(loss.item(), expected_loss, rtol=1e-4)
    for p, gradient in zip(parameters, chain.from_iterable(gradients), strict=True):
        assert p.grad is not None
        np.testing.assert_allclose(p.grad.numpy(), np.array(gradient), rtol=1e-4, atol=1e-6)
    return lambda: reference.step(rows, labels)


def draw(
    path: Path, losses: np.ndarray, images: np.ndarray, labels: np.ndarray, guesses: np.ndarray
) -> None:
    """The loss curve, and test images under what the model takes them for, wrong ones first."""
    from matplotlib.figure import Figure

    blue, red, grey = "#2563a8", "#c8322b", "#666666"
    wrong = guesses != labels
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.25), wspace=0.04)[0]

    axes = left.subplots()
    epochs, steps = losses.shape
    each = np.arange(losses.size) / steps
    axes.plot(each, losses.ravel(), color=blue, alpha=0.25, lw=0.6, label="each step")
    axes.plot(np.arange(epochs) + 0.5, losses.mean(1), ".-", color=blue, lw=2, label="epoch mean")
    axes.set(title="Training loss", xlabel="epoch", ylabel="cross-entropy", yscale="log")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)

    right.suptitle(f"Test digits: {np.sum(~wrong)} of {len(wrong)} right, {np.sum(wrong)} wrong")
    shown = [*np.flatnonzero(wrong)[:14], *np.flatnonzero(~wrong)]
    for axes, i in zip(right.subplots(4, 7).flat, shown, strict=False):
        axes.imshow(images[i].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        color = red if wrong[i] else grey
        title = f"{guesses[i]}, is {labels[i]}" if wrong[i] else f"{guesses[i]}"
        axes.set_title(title, color=color, size=9, pad=3, weight="bold" if wrong[i] else "normal")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=color, linewidth=2 if wrong[i] else 0.5)
    figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.15)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wengert.examples.digits",
        description="Train a multilayer perceptron on scikit-learn's 1,797 handwritten digits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of parameters, order and noise")
    parser.add_argument("--epochs", type=positive, default=80, help="passes over the training set")
    parser.add_argument(
        "--out", type=picture_path, default="digits.png", help="picture to write: .png, .pdf, .svg"
    )
    parser.add_argument("--eager", action="store_true", help="train without compiling the step")
    args = parser.parse_args(argv)
    if missing := [name for name in ("sklearn", "matplotlib", "tqdm") if not find_spec(name)]:
        sys.exit(f"digits: {', '.join(missing)} not found; run: pip install 'wengert[examples]'")

    x, y, x_test, y_test = load_data()
    images, labels = wg.asarray(x), wg.asarray(y)
    wg.random.seed(args.seed)
    model = make_model()
    count = sum(p.size for p in model.parameters())
    print(f"perceptron   {'-'.join(map(str, SIZES))}, {count:,} parameters, batches of {BATCH}")
    print(f"digits       {len(x):,} to learn, {len(x_test):,} to test")

    start = perf_counter()
    losses = train(model, images, labels, args.epochs, args.eager)
    seconds = perf_counter() - start
    guesses = predict(model, x_test)
    right = int(np.sum(guesses == y_test))

    print(f"accuracy     {right / len(y_test):.2%} of the test digits ({right} of {len(y_test)})")
    print(f"loss         {losses[-1].mean():.6f} in the last epoch")
    print(f"parameters   {fingerprint(model)} (same seed, same bits; compiled or not)")
    kind = "eager" if args.eager else "compiled"
    print(
        f"speed        {losses.size / seconds:,.0f} steps/s, {losses.size:,} in {seconds:.2f} s, "
        f"{kind}"
    )
    compiled, eager, theirs = time_steps(images[:BATCH], labels[:BATCH])
    print(f"step         {compiled * 1e6:.0f} µs compiled, {eager * 1e6:.0f} µs eager")
    if theirs is not None:
        print(
            f"speed-up     {theirs / compiled:,.0f} times the plain-Python reference compiled, "
            f"{theirs / eager:,.0f} times eager ({theirs * 1e3:.1f} ms of processor time a step)"
        )
    else:
        print("speed-up     run this in wengert's repository to see it: it holds the reference")
    draw(args.out, losses, x_test, y_test, guesses)
    print(f"picture      {args.out.resolve()}")


if __name__ == "__main__":
    main()
