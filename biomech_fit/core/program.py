"""How programs are compiled. Most of a cold start is LLVM's work on what XLA's CPU backend hands to it, so less is asked of it than XLA would.

Measured on the streaming solver (8 cameras, 26 keypoints): half the time to compile, the same time for a frame. Without any optimisation (level 0)
it is another third less, but a frame takes twice as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

_CPU_OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}


def program(function: Callable[..., Any], **options: Any) -> Any:
    """`function` compiled by `jax.jit` with its `options`."""
    return jax.jit(function, compiler_options=_CPU_OPTIONS if jax.default_backend() == "cpu" else None, **options)
