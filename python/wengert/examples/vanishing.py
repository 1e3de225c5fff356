"""Vanishing gradients: the sigmoid and ReLU with their derivatives, and what they do to the
gradients of a deep network.

    python -m wengert.examples.vanishing --help
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import wengert as wg
from wengert import nn

from .options import picture_path, positive


def make_model(activation: Callable[[], nn.Module], depth: int, width: int) -> nn.Sequential:
    """``depth`` hidden layers with the initial weights that suit their activation."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), activation()]
    model = nn.Sequential(*layers, nn.Linear(width, 1))
    for p in model.parameters():
        if p.ndim == 2 and activation is nn.ReLU:
            nn.init.kaiming_normal_(p, nonlinearity="relu")
        elif p.ndim == 2:
            nn.init.xavier_normal_(p)
    return model


def measure(activation: Callable[[], nn.Module], depth: int, width: int) -> nn.GradientFlow:
    """The flow of a regression loss through a new network, on 64 random points."""
    rng = wg.random.default_generator()
    batch = rng.normal(size=(64, width)), rng.normal(size=(64, 1))
    return nn.gradient_flow(make_model(activation, depth, width), nn.mse_loss, batch)


def curve(f: Callable, low: float, high: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, values and derivatives of f; the derivatives by one pass of forward mode."""
    s = wg.linspace(low, high, 401)
    value, slope = wg.jvp(f, (s,), (wg.ones_like(s),))
    return s.numpy(), value.numpy(), slope.numpy()


def draw(path: Path, flows: dict[str, nn.GradientFlow]) -> None:
    """Both functions with their derivatives, and the adjoints' norms from layer to layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for axes, name, f, bound in (
        (left, "Sigmoid", wg.sigmoid, 10.0),
        (middle, "ReLU", nn.relu, 3.0),
    ):
        s, value, slope = curve(f, -bound, bound)
        axes.plot(s, value, color="#c8322b", lw=2, label=f"{name}(s)")
        axes.plot(s, slope, color="#3a8f3a", lw=2, label=f"derivative, at most {slope.max():g}")
        axes.set(title=f"{name} and its derivative", xlabel="s")
    for (name, flow), color in zip(flows.items(), ("#2563a8", "#d98a1c"), strict=True):
        adjoints = [layer.adjoint or np.nan for layer in flow.layers]
        right.plot(adjoints, ".-", color=color, label=name)
    right.set(title="Gradient at each layer", xlabel="layer", ylabel="|dL/dy|", yscale="log")
    for axes in (left, middle, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right" if axes is right else "upper left")
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wengert.examples.vanishing",
        description="Show how the gradient vanishes in a deep sigmoid network, beside ReLU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of parameters and data")
    parser.add_argument("--depth", type=positive, default=12, help="hidden layers")
    parser.add_argument("--width", type=positive, default=64, help="numbers in each")
    parser.add_argument(
        "--out", type=picture_path, default="vanishing.png", help="picture: .png, .pdf, .svg"
    )
    args = parser.parse_args(argv)
    if not find_spec("matplotlib"):
        sys.exit("vanishing: matplotlib not found; run: pip install 'wengert[examples]'")

    flows = {}
    for name, activation in (("Sigmoid", nn.Sigmoid), ("ReLU", nn.ReLU)):
        wg.random.seed(args.seed)
        flows[name] = measure(activation, args.depth, args.width)
        print(f"{name}, {args.depth} hidden layers of {args.width}\n{flows[name]}\n")
    draw(args.out, flows)
    print(f"picture: {args.out.resolve()}")


if __name__ == "__main__":
    main()
