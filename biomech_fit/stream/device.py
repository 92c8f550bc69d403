"""Where JAX runs, and its persistent compilation cache."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from biomech_fit.core.errors import InputError


def choose_device(device: str) -> jax.Device:
    """The device for `device` = auto, cpu or gpu. Raises InputError when a GPU is asked for and JAX has none."""
    if device == "cpu":
        return jax.local_devices(backend="cpu")[0]
    try:
        return jax.local_devices(backend="gpu")[0]
    except RuntimeError:
        if device == "gpu":
            raise InputError("device is gpu, but JAX finds no GPU here; install the [cuda] extra, or choose auto or cpu.") from None
        return jax.local_devices(backend="cpu")[0]


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, so that the second start is fast. JAX_COMPILATION_CACHE_DIR, where set, wins."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(base / "biomech_fit" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
