"""The one-way dependency rule of docs/architecture.md, kept by walking the imports (also those inside functions) of every module."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "biomech_fit"

# package -> our packages it may import besides itself. A dotted name allows that module alone.
MAY_IMPORT = {
    "core": set(),
    "config": {"core.errors"},
    "stream": {"core", "config"},
    "offline": {"core", "config", "stream"},
    "formats": {"core", "config"},
    "sim": {"core.types", "core.errors", "core.camera", "core.body", "core.keypoint_set", "formats", "config"},
    "surface": {"core", "formats", "config"},
    "report": {"core", "formats", "config", "surface"},
    "ros": {"core", "config", "stream", "formats", "report", "sim"},
    "nodes": {"core", "config", "stream", "formats", "report", "sim", "ros"},
    "cli": {"core", "config", "stream", "offline", "formats", "report", "sim", "surface"},
}
PURE = {"jax", "jaxlib", "numpy", "scipy", "mujoco", "optax", "cv2"}
PURE_STANDARD = set(
    "__future__ abc bisect collections copy dataclasses enum functools itertools math operator types typing typing_extensions warnings jaxtyping".split()
)
ROS_TOP_LEVEL = set(
    "rclpy launch launch_ros launch_testing message_filters tf2_ros tf2_msgs ament_index_python rosidl_runtime_py rosgraph_msgs "
    "builtin_interfaces std_msgs std_srvs geometry_msgs sensor_msgs visualization_msgs diagnostic_msgs lifecycle_msgs rcl_interfaces".split()
)

MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a module imports; `from a import b` counts as a.b."""
    parts = ["biomech_fit", *path.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parts[: -node.level] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def violations(layer: str, path: Path) -> list[str]:
    found = []
    allowed = [layer, *MAY_IMPORT[layer]]
    for line, name in imports(path):
        top, _, inner = name.partition(".")
        if top == "biomech_fit":
            if inner.split(".")[0] in ("msg", "srv", "action"):
                if layer not in ("ros", "nodes"):
                    found.append(f"line {line}: {name}: only ros and nodes import messages")
            elif inner and inner not in ("__path__",) and not any(inner == entry or inner.startswith(entry + ".") for entry in allowed):
                found.append(f"line {line}: {name}: {layer} may import {', '.join(sorted(allowed))}")
        elif top in ROS_TOP_LEVEL and layer not in ("ros", "nodes"):
            found.append(f"line {line}: {name}: only ros and nodes import ROS")
        elif layer == "core" and top not in PURE | PURE_STANDARD:
            found.append(f"line {line}: {name}: core is pure computation: {', '.join(sorted(PURE))} and a few standard modules")
    return found


def test_every_package_has_a_rule() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert packages == set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_dependencies_point_one_way(module: Path) -> None:
    if len(module.parts) == 1:
        assert module.name == "__init__.py", f"{module} belongs into one of the packages {', '.join(MAY_IMPORT)}"
        assert {name.split(".")[0] for _, name in imports(PACKAGE / module)} <= set(sys.stdlib_module_names)
        return
    found = violations(module.parts[0], PACKAGE / module)
    assert not found, f"biomech_fit/{module}: " + "; ".join(found)


@pytest.mark.parametrize("module", [module for module in MODULES if module.parts[0] == "core"], ids=str)
def test_core_neither_prints_nor_reads_clock_or_files(module: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not {call.id for call in calls if isinstance(call, ast.Name)} & {"print", "open", "input"}


def test_no_module_shadows_the_generated_ones() -> None:
    """biomech_fit.msg is generated; a module of that name in the source tree would hide it."""
    assert not [name for name in ("msg", "srv", "action") if (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists()]


def test_the_test_folders_are_no_packages() -> None:
    """With test/__init__.py or a conftest.py at the root pytest would put the root first on the path, and the source tree before an installed package."""
    assert not [str(path) for path in (ROOT / "conftest.py", *(ROOT / "test").rglob("__init__.py")) if path.exists()]


@pytest.mark.parametrize(
    ("layer", "source", "caught"),
    [
        ("core", "import rclpy", True),
        ("core", "from pathlib import Path", True),
        ("core", "from biomech_fit.core import types", False),
        ("core", "from biomech_fit import formats", True),
        ("stream", "def f():\n    from biomech_fit.formats import model", True),
        ("formats", "from ..core.types import Status", False),
        ("formats", "from ..nodes import fitter", True),
        ("cli", "from biomech_fit.msg import BodyState", True),
        ("nodes", "from biomech_fit.msg import BodyState", False),
        ("sim", "from biomech_fit.core.solver import solve", True),
        ("config", "from biomech_fit.core.errors import InputError", False),
    ],
)
def test_the_walk_catches_what_it_should(layer: str, source: str, caught: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    path = tmp_path / layer / "module.py"
    path.parent.mkdir()
    path.write_text(source)
    assert bool(violations(layer, path)) is caught
