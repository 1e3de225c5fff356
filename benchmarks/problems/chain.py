"""Many recorded operations: y = x + b + b + ... of 4 numbers, and many uses of one tensor,
recorded, swept back and freed. Time is per operation: it must not grow with their number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..harness import Problem

# Sums with b are exact in float32, so that a lost or doubled operation shows.
X = np.array([1.0, 2.0, 2.5, 3.0], np.float32)
B = np.full(4, 2.0**-21, np.float32)


@dataclass(frozen=True)
class Chain:
    """x + b + ... + b with `length` sums; the results are the value and the gradient in x of the
    sum of its entries."""

    length: int

    def expected(self) -> list[np.ndarray]:
        return [X + self.length * B.astype(np.float64), np.ones(4)]


@dataclass(frozen=True)
class Fan:
    """x added to 0 `uses` times over; the results are the value and the gradient, as above."""

    uses: int

    def expected(self) -> list[np.ndarray]:
        # The largest partial sum is 3 uses: exact in float64 only.
        return [X.astype(np.float64) * self.uses, np.full(4, float(self.uses))]


def problems(quick: bool) -> list[Problem]:
    scale = 100 if quick else 1
    found = []
    for length in (100_000 // scale, 1_000_000 // scale):
        chain = Chain(length)
        found.append(
            Problem(
                f"chain/{length}",
                "chain",
                chain,
                chain.expected,
                1e-9,
                operations=length,
                rounds=3 if length > 100_000 else 5,
            )
        )
    fan = Fan(100_000 // scale)
    found.append(
        Problem(
            f"chain/fan-out-{fan.uses}",
            "fan",
            fan,
            fan.expected,
            1e-9,
            operations=fan.uses,
            rounds=5,
        )
    )
    return found
