"""Colourings of sparse patterns: which columns or rows of a Jacobian share a direction, and where
each entry then stands. A set of colours is an int whose bit c stands for colour c."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


def places(pattern: Any) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each entry, in the order of the values."""
    return np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr)), pattern.indices


def _lists(rows: Any) -> list[list[int]]:
    indices, ends = rows.indices.tolist(), rows.indptr.tolist()
    return [indices[a:b] for a, b in itertools.pairwise(ends)]


def _fewest(
    colour: Callable[[Iterable[int]], list[int]], degrees: np.ndarray, enough: int
) -> np.ndarray:
    """Colours in natural order or, where that takes more than enough, perhaps by degree."""
    best = colour(range(degrees.size))
    if max(best) > 1 << (enough - 1):
        best = min(best, colour(np.argsort(-degrees, kind="stable").tolist()), key=max)
    return np.array([bit.bit_length() - 1 for bit in best])


def colour_columns(pattern: Any) -> np.ndarray:
    """A colour for each column, such that columns of one colour share no row.

    Greedy partial distance-2 colouring, linear in the nonzeros.
    """
    rows, columns = pattern.shape
    lengths = np.diff(pattern.indptr)
    longest = int(lengths.max(initial=0))
    if longest in (0, columns):
        return np.arange(columns) if longest else np.zeros(columns, int)
    rows_of = _lists(pattern.T.tocsr())

    def colour(order: Iterable[int]) -> list[int]:
        used, colours = [0] * rows, [0] * columns
        for j in order:
            taken = 0
            for i in rows_of[j]:
                taken |= used[i]
            bit = ~taken & (taken + 1)
            for i in rows_of[j]:
                used[i] |= bit
            colours[j] = bit
        return colours

    return _fewest(colour, pattern.T @ (lengths - 1), longest)


def colour_symmetric(pattern: Any) -> np.ndarray:
    """A colour for each column of a symmetric pattern, such that each entry (i, j) is alone of its
    colour in row i or, as (j, i), in row j.

    A greedy star colouring: neighbours differ, and every path of four vertices has three colours
    (Gebremedhin, Manne and Pothen, "What color is your Jacobian?", 2005). Linear in the nonzeros.
    """
    n = pattern.shape[0]
    if pattern.nnz == n * n:
        return np.arange(n)
    row, column = places(pattern)
    edge = row != column
    degrees = np.bincount(row[edge], minlength=n)
    ends = np.concatenate([[0], np.cumsum(degrees)]).tolist()
    flat = column[edge].tolist()
    near = [flat[a:b] for a, b in itertools.pairwise(ends)]

    def colour(order: Iterable[int]) -> list[int]:
        colours = [0] * n
        seen, repeated = [0] * n, [0] * n  # among the neighbours: once, more than once
        # Of neighbours x of w where x has another neighbour of w's colour: v-w-x-y.
        closing = [0] * n
        first: dict[tuple[int, int], int] = {}
        for v in order:
            taken, twice = seen[v], repeated[v]
            for w in near[v]:
                if colours[w]:
                    taken |= seen[w] if twice & colours[w] else closing[w]
            bit = colours[v] = ~taken & (taken + 1)
            for x in near[v]:
                if colours[x] & twice:
                    closing[x] |= bit
                if not seen[x] & bit:
                    seen[x] |= bit
                    first[x, bit] = v
                    continue
                closing[v] |= colours[x]
                if not repeated[x] & bit:
                    repeated[x] |= bit
                    closing[first[x, bit]] |= colours[x]
        return colours

    return _fewest(colour, degrees, 3)


def _alone(row: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Whether an entry is the only one of its colour in its row."""
    keys = row * (int(colour.max(initial=0)) + 1) + colour
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[inverse] == 1


@dataclass(frozen=True)
class Plan:
    """Which columns (with by_rows: rows) share a direction, and where each entry then stands."""

    by_rows: bool
    colours: np.ndarray
    entry_colour: np.ndarray
    entry_place: np.ndarray

    @property
    def directions(self) -> int:
        return int(self.colours.max(initial=-1)) + 1


def plan_jacobian(pattern: Any) -> Plan:
    """By columns, or by rows where that takes fewer directions."""
    row, column = places(pattern)
    plan = Plan(False, colours := colour_columns(pattern), colours[column], row)
    if np.bincount(column).max(initial=0) < plan.directions:
        by_rows = Plan(True, colours := colour_columns(pattern.T.tocsr()), colours[row], column)
        if by_rows.directions < plan.directions:
            return by_rows
    return plan


def plan_hessian(pattern: Any) -> Plan:
    """For a symmetric pattern: by columns; an entry that is not alone in its row is read at its
    mirror image."""
    colours = colour_symmetric(pattern)
    row, column = places(pattern)
    alone = _alone(row, colours[column])
    wanted = np.where(alone, colours[column], colours[row])
    return Plan(False, colours, wanted, np.where(alone, row, column))
