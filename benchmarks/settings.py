"""Threads and processors of this process; must not import NumPy or a contender."""

from __future__ import annotations

import os


def limit_threads(threads: int) -> list[int]:
    """Gives this process and the libraries it loads later so many threads and processors; returns
    the processors it had."""
    count = str(threads)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
        os.environ[name] = count
    flags = [os.environ.get("XLA_FLAGS", "")]
    if threads == 1:
        flags.append("--xla_cpu_multi_thread_eigen=false")
    os.environ["XLA_FLAGS"] = " ".join(flags).strip()
    if not hasattr(os, "sched_setaffinity"):
        return list(range(os.cpu_count() or 1))
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[-threads:])
    return cpus


def without_limits() -> dict[str, str]:
    """An environment for a process whose libraries choose their number of threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC", "XLA_FLAGS")
    return {name: value for name, value in os.environ.items() if name not in names}
