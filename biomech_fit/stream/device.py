"""Where JAX runs, with how many BLAS threads, and its persistent compilation cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from threadpoolctl import threadpool_limits

from biomech_fit.core.errors import InputError


def choose_device(device: str) -> jax.Device:
    """The device for `device` = auto, cpu or gpu. Raises InputError when a GPU is asked for and JAX has none."""
    if device == "cpu":
        return jax.local_devices(backend="cpu")[0]
    try:
        found = jax.local_devices(backend="gpu")[0]
        # GPUs otherwise round float32 products to ten bits (TF32), which the normal equations do not survive.
        jax.config.update("jax_default_matmul_precision", "highest")
        return found
    except RuntimeError:
        if device == "gpu":
            raise InputError("device is gpu, but JAX finds no GPU here; install the [cuda] extra, or choose auto or cpu.") from None
        return jax.local_devices(backend="cpu")[0]


def on_host(arrays: Any) -> Any:
    """A result's arrays as numpy ones. On a CPU nothing is copied, and `jax.device_get`, which asks each array for a copy first, takes four times as long."""
    leaf = jax.tree.leaves(arrays)[0]
    return jax.tree.map(np.asarray, arrays) if leaf.device.platform == "cpu" else jax.device_get(arrays)


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, so that the second start is fast. JAX_COMPILATION_CACHE_DIR, where set, wins."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(base / "biomech_fit" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def use_one_blas_thread() -> None:
    """Factorise the small blocks on one thread each. BLAS threads that spin for one another cost a hundredfold as soon as anything else runs."""
    threadpool_limits(limits=1, user_api="blas")


class CompilationCount:
    """How many programs XLA has compiled since it was started."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, event: str, duration_s: float, **_: object) -> None:
        self.count += event == "/jax/core/compile/backend_compile_duration"


@contextmanager
def count_compilations() -> Iterator[CompilationCount]:
    """Counts compilations while it is entered."""
    count = CompilationCount()
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        yield count
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
