"""Calls every operation and public function with random wrong arguments: run by test_errors.py as

    python fuzz_calls.py SEED CALLS LOG

Prints one line for each kind of exception that is no wg.Error; LOG holds the call under way, for
the case that the process dies of it.
"""

import faulthandler
import inspect
import os
import random
import resource
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import wengert as wg
import wengert.nn.functional
from wengert import _core

# Not calls that can be wrong, or such as change the process.
LEFT_OUT = {"save", "load", "set_num_threads", "item", "cover", "checked"}
INTEGERS = [0, 1, -1, 2, 3, -2, 7, 2**31, -(2**31), 2**53, 2**62, -(2**63), 2**63, 2**64, 2**70]
FLOATS = [0.0, -1.0, 0.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")]
TEXTS = ["", "sum", "ij->", "float32", "->", "\0", "é" * 40]
LEAVES = [wg.ones(3).requires_grad_(), wg.ones((2, 3)).requires_grad_()]


def tensors() -> list[Any]:
    return [
        wg.tensor(1.5),
        wg.ones(3),
        wg.ones((2, 3), dtype=wg.float64),
        wg.ones((0,)),
        wg.ones((2, 0, 3)),
        wg.arange(4),
        wg.tensor([[True, False]]),
        wg.tensor([0, 2**62, -(2**62)]),
        wg.tensor([3, 200], dtype=wg.uint8),
        wg.tensor([float("nan"), float("inf")]),
        wg.broadcast_to(wg.ones(1), (3,)),
        wg.ones((1,) * 9),
        wg.ones((2, 2, 2))[:, ::-1],
        *LEAVES,
    ]


def arrays() -> list[Any]:
    return [
        np.ones((2, 2), dtype=np.complex128),
        np.array(["a", "b"]),
        np.array([None, 1], dtype=object),
        np.zeros(2, dtype="M8[s]"),
        np.zeros(2, dtype=np.float16),
        np.zeros(2, dtype=[("a", "f4")]),
        np.arange(3, dtype=">f8"),
        np.zeros((3, 0)),
        np.broadcast_to(np.float32(1), (4,)),
        np.int64(3),
        np.float32(2),
        np.bool_(True),
    ]


FUNCTIONS: list[Callable] = [
    lambda *args: args,
    lambda *args: args[0] if args else 0,
    lambda *args: 3,
    lambda *args: "junk",
    lambda *args: None,
]


def value(draw: random.Random, depth: int = 0) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: draw.choice(tensors()),
        lambda: draw.choice(tensors()),
        lambda: draw.choice(INTEGERS),
        lambda: draw.choice(INTEGERS),
        lambda: draw.choice(FLOATS),
        lambda: draw.choice(TEXTS),
        lambda: draw.choice(arrays()),
        lambda: draw.choice([None, True, False, ..., 1j, b"x", object(), int, slice(None), set()]),
        lambda: draw.choice([wg.float32, wg.int64, "int8", np.float16, float]),
        lambda: draw.choice(FUNCTIONS[:2]),
    ]
    if depth < 3:
        kinds += [
            lambda: [value(draw, depth + 1) for _ in range(draw.randrange(4))],
            lambda: tuple(value(draw, depth + 1) for _ in range(draw.randrange(4))),
            lambda: [draw.choice(INTEGERS) for _ in range(draw.randrange(5))],
            lambda: {"a": value(draw, depth + 1)},
            lambda: [0] * 100,
        ]
    return draw.choice(kinds)()


def show(x: Any) -> str:
    if isinstance(x, (wg.Tensor, np.ndarray)):
        return f"<{type(x).__name__} {x.dtype} {x.shape}>"
    if isinstance(x, (list, tuple)) and len(x) < 10:
        return "[" + ", ".join(map(show, x)) + "]"
    return repr(x)[:60]


def public() -> dict[str, Callable]:
    """By name: the rows, the functions of the package's modules, and methods."""
    found: dict[str, Callable] = {
        f"ops.{name}": getattr(_core.ops, name) for name in _core.op_table
    }
    modules = {"": wg, "linalg.": wg.linalg, "random.": wg.random}
    modules |= {"nn.functional.": wg.nn.functional, "nn.init.": wg.nn.init}
    for prefix, module in modules.items():
        for name in getattr(module, "__all__", sorted(vars(module))):
            thing = getattr(module, name)
            home = str(getattr(thing, "__module__", ""))
            if name.startswith("_") or name in LEFT_OUT or inspect.isclass(thing):
                continue
            if callable(thing) and (home.startswith("wengert") or not inspect.isfunction(thing)):
                found[prefix + name] = thing
    return found


def arguments(draw: random.Random, name: str, call: Callable) -> tuple[list[Any], dict[str, Any]]:
    """Random ones that fit the signature, where Python itself checks that."""
    try:
        signature = inspect.signature(call)
    except ValueError:
        signature = None
    if signature is None:
        return [value(draw) for _ in range(draw.randrange(5))], {}
    args: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            args += [value(draw) for _ in range(draw.randrange(4))]
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.default is parameter.empty or draw.random() < 0.2:
                named[parameter.name] = value(draw)
        elif parameter.kind is not parameter.VAR_KEYWORD:
            if parameter.default is not parameter.empty and draw.random() < 0.4:
                break
            if parameter.name == "f":
                args.append(draw.choice(FUNCTIONS))
            else:
                args.append(value(draw))
    return args, named


def methods(draw: random.Random) -> dict[str, Callable]:
    x = draw.choice(tensors())
    names = [
        name
        for name in dir(x)
        if callable(getattr(type(x), name, None))
        and name not in LEFT_OUT
        and (
            not name.startswith("_") or name in ("__getitem__", "__setitem__", "__add__", "__pow__")
        )
    ]
    chosen = draw.choice(names)
    if chosen == "__getitem__":
        return {"x[key]": lambda key: x[key]}
    if chosen == "__setitem__":

        def assign(key: Any, new: Any) -> None:
            x[key] = new

        return {"x[key] = value": assign}
    if chosen == "__pow__":
        return {"x + y": lambda y: (x + y, x - y, x @ y, x < y)}
    method = getattr(x, chosen)
    return {f"Tensor.{chosen}": method}


def main(seed: int, calls: int, log: str) -> None:
    faulthandler.enable()
    faulthandler.dump_traceback_later(240, exit=True)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20),) * 2)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    draw = random.Random(seed)
    known = public()
    names = sorted(known)
    foreign: dict[tuple[str, str, str], str] = {}
    generator = wg.random.default_rng(0)
    drawers = [
        n for n in dir(generator) if not n.startswith("_") and callable(getattr(generator, n))
    ]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for i in range(calls):
        place = draw.random()
        if place < 0.75:
            name = names[i % len(names)]
            call = known[name]
        elif place < 0.8:
            name = draw.choice(drawers)
            call = getattr(generator, name)
        else:
            [(name, call)] = methods(draw).items()
        args, named = arguments(draw, name, call)
        given = [*map(show, args), *(f"{k}={show(v)}" for k, v in named.items())]
        shown = f"{name}({', '.join(given)})"
        os.pwrite(file, f"{i}: {shown}".encode(errors="replace").ljust(800)[:800], 0)
        try:
            call(*args, **named)
        except wg.Error:
            pass
        except Exception as error:
            # Python's own answer where two operands do not know each other.
            if isinstance(error, TypeError) and " not supported between " in str(error):
                continue
            if isinstance(error, TypeError) and str(error).startswith("unsupported operand"):
                continue
            text = f"{error!s:.150} <- {shown:.200}".replace("\n", " ")
            foreign.setdefault((name, type(error).__name__, text[:40]), text)
    for (_, kind, _), text in foreign.items():
        print(f"{kind}: {text}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
