"""Automatic differentiation in plain Python lists of floats: what the engine is checked against.

A program is a function `program(apply, x, *weights)` that calls `apply(primitive, x)` or
`apply(primitive, x, w)` and returns its last variable. The same program runs under `forward`,
`reverse` and `numerical`, each of which brings an `apply` of its own.
"""
