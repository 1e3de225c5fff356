"""This engine, each step recorded once by `wg.compile` and called."""

from functools import partial

from . import wengert
from .wengert import compiled, set_threads, version

__all__ = ["set_threads", "version"]

name = "wengert_compiled"
records = True

mlp_step = partial(wengert.mlp_step, how=compiled)
sgd_step = partial(wengert.sgd_step, how=compiled)
scalar_step = partial(wengert.scalar_step, how=compiled)
transformer_step = partial(wengert.transformer_step, how=compiled)
elementwise = partial(wengert.elementwise, how=compiled)
lstm = partial(wengert.lstm, how=compiled)
log_density = partial(wengert.log_density, how=compiled)
hessian = partial(wengert.hessian, how=compiled)
rosenbrock = partial(wengert.rosenbrock, how=compiled)
