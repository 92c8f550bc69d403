"""The device, the cache and the count of compilations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from biomech_fit.core.errors import InputError
from biomech_fit.stream.device import choose_device, count_compilations, use_compilation_cache


def has_gpu() -> bool:
    try:
        return bool(jax.local_devices(backend="gpu"))
    except RuntimeError:
        return False


def test_cpu_is_always_there() -> None:
    assert choose_device("cpu").platform == "cpu"


def test_auto_takes_what_there_is() -> None:
    assert choose_device("auto").platform == ("gpu" if has_gpu() else "cpu")


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match=r"JAX finds no GPU.*\[cuda\].*auto or cpu"):
        choose_device("gpu")


def test_the_cache_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    before = jax.config.jax_compilation_cache_dir
    try:
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "biomech_fit" / "jax")
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/somewhere/else")
        jax.config.update("jax_compilation_cache_dir", "/somewhere/else")
        use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == "/somewhere/else"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_compilations_are_counted() -> None:
    add = jax.jit(lambda x: x * 3 + 1)
    with count_compilations() as seen:
        add(jnp.zeros(7))
        first = seen.count
        add(jnp.ones(7))
    assert first >= 1 and seen.count == first
    add(jnp.zeros(8))
    assert seen.count == first
