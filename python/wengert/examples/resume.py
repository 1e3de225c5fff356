"""Training that survives ``kill -9``: the state is saved atomically every few steps, and a run that
resumes ends with the same bits as one that was never interrupted.

    python -m wengert.examples.resume --help
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import wengert as wg
from wengert import nn

from .options import positive

BATCH = 32


class Training:
    """A network with dropout, its optimiser and the generator of all that is random."""

    def __init__(self, seed: int) -> None:
        wg.random.seed(seed)
        self.rng = wg.random.default_rng(seed)
        self.model = nn.Sequential(
            nn.Linear(8, 32),
            nn.ReLU(),
            nn.Dropout(0.2, generator=self.rng),
            nn.Linear(32, 1),
        )
        self.optimizer = wg.optim.Adam(self.model.parameters(), lr=1e-2)
        self.steps = 0

    def step(self) -> None:
        x = self.rng.normal(size=(BATCH, 8))
        loss = nn.mse_loss(self.model(x), wg.sin(x.sum(axis=1, keepdims=True)))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1

    def save(self, path: Path) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.rng.get_state(),
            "steps": self.steps,
        }
        wg.save(path, state)

    def load(self, path: Path) -> None:
        state = wg.load(path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["generator"])
        self.steps = state["steps"]

    def fingerprint(self) -> str:
        """Equal for states that are equal to the bit."""
        bits = b"".join(p.numpy().tobytes() for p in self.model.parameters())
        bits += self.rng.get_state().numpy().tobytes()
        return hashlib.sha256(bits).hexdigest()[:16]


def train(options: argparse.Namespace) -> None:
    training = Training(options.seed)
    if options.state.exists():
        training.load(options.state)
        print(f"resumed   from step {training.steps}", flush=True)
    while training.steps < options.steps:
        training.step()
        if training.steps == options.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if training.steps % options.every == 0:
            training.save(options.state)
    print(f"state     {training.fingerprint()} after {training.steps} steps", flush=True)


def demonstrate(options: argparse.Namespace) -> None:
    """The same training uninterrupted, and killed between two checkpoints and started again."""

    def child(state: Path, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wengert.examples.resume", f"--state={state}", *more]
        for name in ("seed", "steps", "every"):
            command.append(f"--{name}={getattr(options, name)}")
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)

    # Within the last interval, so that steps are lost and done again.
    kill = max(options.steps - options.every // 2 - 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        whole = child(Path(folder, "whole.safetensors"))
        killed = child(Path(folder, "state.safetensors"), f"--kill={kill}")
        resumed = child(Path(folder, "state.safetensors"))
    print(f"whole     {whole.stdout.split()[1]}")
    print(f"killed    at step {kill} by signal {-killed.returncode}")
    print(resumed.stdout, end="")
    same = whole.stdout.split()[1] == resumed.stdout.splitlines()[-1].split()[1]
    print(f"the states are {'the same, to the bit' if same else 'different'}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wengert.examples.resume",
        description="Trains, is killed and resumes to the same bits. Without --state it shows that "
        "in processes of its own; with it, it trains and keeps its state in that file.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of the network, the data and dropout")
    parser.add_argument("--steps", type=positive, default=200, help="of the training")
    parser.add_argument("--every", type=positive, default=20, help="steps between two saves")
    parser.add_argument("--state", type=Path, help="file of the state; resumed from if it exists")
    parser.add_argument("--kill", type=int, default=0, help="step at which the process is killed")
    options = parser.parse_args(arguments)
    (demonstrate if options.state is None else train)(options)


if __name__ == "__main__":
    main()
