"""A user's program that mypy must accept; test_stubs.py checks that."""

import numpy as np
import wengert as wg
from wengert import Tensor

x: Tensor = wg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
y = wg.add(wg.exp(x), 2.0) * np.ones(2)
loss: Tensor = (y @ x.T).sum(axis=(0, 1), keepdims=False)
loss.backward()
if x.grad is not None:
    step: Tensor = x.detach() - 0.1 * x.grad
shape: tuple[int, ...] = x.reshape(4, 1).shape
joined: Tensor = wg.concat([x, x], axis=0).max(axis=-1)
number: float = float(loss.mean())
array: np.ndarray = y.detach().numpy()
gradient = wg.grad(lambda a: wg.sum(wg.softmax(a, axis=-1)))(x)
bytes_now: int = wg.memory.live_bytes()
