"""What one small operation costs: x + y of 4 numbers, where x asks for a gradient."""

from __future__ import annotations

import numpy as np

from ..harness import Problem

X = np.array([1.0, -2.0, 3.0, 0.5], np.float32)
Y = np.array([0.25, 4.0, -1.0, 2.0], np.float32)
COTANGENT = np.array([1.0, 2.0, -3.0, 4.0], np.float32)


def problems() -> list[Problem]:
    inputs = (X, Y, COTANGENT)
    return [
        Problem("overhead/add4", "add", inputs, lambda: [X + Y], 1e-7),
        Problem("overhead/add4+backward", "add_backward", inputs, lambda: [COTANGENT], 1e-7),
    ]
