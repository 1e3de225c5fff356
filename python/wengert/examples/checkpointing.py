"""Gradient checkpointing as the chapter's figure draws it: a chain of equal blocks of which some
outputs are stored, and what the backward pass computes again.

    python -m wengert.examples.checkpointing --help
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence

import numpy as np

import wengert as wg

from .options import positive

STORED, MISSING, FORWARD, BACKWARD, NOTHING = "*", "?", "-->", "<==", "   "


class Chain:
    """Blocks tanh(x), one after the other, that note when they are evaluated and swept."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.forward: list[int] = []
        self.backward: list[int] = []
        self._steps = [self._block(k) for k in range(1, blocks + 1)]

    def _block(self, k: int) -> wg.primitives.Primitive:
        @wg.primitive
        def block(x):  # type: ignore[no-untyped-def]
            self.forward.append(k)
            return np.tanh(x)

        @block.def_vjp
        def _(ct, out, x):  # type: ignore[no-untyped-def]
            self.backward.append(k)
            return (ct * (1 - out**2),)

        return block

    def __call__(self, x: wg.Tensor) -> wg.Tensor:
        for k, step in enumerate(self._steps, start=1):
            x = wg.checkpoint_name(step(x), str(k))
        return x


def run(blocks: int, stored: Collection[int]) -> tuple[list[int], list[int], wg.Tensor]:
    """The blocks that were evaluated, those that were swept, and the gradient."""
    chain = Chain(blocks)
    policy = wg.policies.save_names(*map(str, stored)) if stored else None
    x = wg.tensor(np.linspace(-1.0, 1.0, 5), requires_grad=True)
    wg.checkpoint(chain, policy=policy)(x).sum().backward()
    assert x.grad is not None
    return chain.forward, chain.backward, x.grad


def line(blocks: int, arrows: dict[int, str], marks: dict[int, str]) -> str:
    """The chain; ``arrows`` lead to a block, ``marks`` stand behind its output."""
    parts = ["x"]
    for k in range(1, blocks + 1):
        parts += [arrows.get(k, NOTHING), f"[{k}]{marks.get(k, ' ')}"]
    return " ".join(parts)


def draw(blocks: int, stored: Collection[int], forward: Sequence[int]) -> list[tuple[str, str]]:
    """Pictures (a) to (d) with what they show, of the evaluations in their order."""
    every = range(1, blocks + 1)
    kept = dict.fromkeys(stored, STORED)
    again = forward[blocks:]
    pictures = [
        (line(blocks, dict.fromkeys(every, FORWARD), kept), "forward; * is stored"),
    ]
    whole = kept
    if again:
        gap = max(again)
        swept = dict.fromkeys(range(gap + 1, blocks + 1), BACKWARD)
        pictures.append(
            (line(blocks, swept, {**kept, gap: MISSING}), f"backward lacks the output of {gap}")
        )
        whole = {**kept, **dict.fromkeys(again, STORED)}
        pictures.append(
            (
                line(blocks, dict.fromkeys(again, FORWARD), whole),
                "forward again from the closest checkpoint",
            )
        )
    pictures.append((line(blocks, dict.fromkeys(every, BACKWARD), whole), "backward, complete"))
    return pictures


def numbers(text: str) -> list[int]:
    return sorted({positive(part) for part in text.split(",") if part})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wengert.examples.checkpointing",
        description="A chain of equal blocks, some outputs stored, the others computed again.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--blocks", type=positive, default=4, help="how many there are")
    parser.add_argument(
        "--stored", type=numbers, default="1,2,4", help="outputs that are stored, by comma"
    )
    options = parser.parse_args(arguments)
    blocks, stored = options.blocks, options.stored
    if stored and stored[-1] > blocks:
        parser.error(f"--stored: the last block is {blocks}; got {stored[-1]}")

    forward, backward, gradient = run(blocks, stored)
    for letter, (picture, text) in zip("abcd", draw(blocks, stored, forward)):
        print(f"({letter})  {picture}  {text}")
    _, _, plain = run(blocks, range(1, blocks + 1))
    ratio = len(forward) / blocks
    print(f"{len(forward)} block evaluations forward for {blocks}: {ratio:.2f} times")
    print(f"backward: blocks {', '.join(map(str, backward))}")
    same = gradient.numpy().tobytes() == plain.numpy().tobytes()
    print(f"the gradient is {'the same, to the bit' if same else 'another'}")


if __name__ == "__main__":
    main()
