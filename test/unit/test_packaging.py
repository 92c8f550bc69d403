"""One version, one pin file, valid package.xml, executables that exist, and data that is found in the source tree and in an installation."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from biomech_fit.config import paths
from biomech_fit.config.version import version
from biomech_fit.core.errors import InputError

ROOT = Path(__file__).parents[2]
NODES = ("fitter", "gait", "simulator", "replay", "overlay", "recorder")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def setup_names() -> dict[str, set[str]]:
    """The requirement names that setup.py lists, read without running it."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {name: {word for text in strings for word in text.split() if re.fullmatch(name, word)} for name in (r"ros-[a-z0-9-]+(\[fastrtps\])?",)}


def test_version_has_one_source() -> None:
    assert version() == ElementTree.parse(ROOT / "package.xml").findtext("version")
    assert re.fullmatch(r"\d+\.\d+\.\d+", version())
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dynamic"]


def test_package_xml_is_what_colcon_takes_for_a_cmake_package_with_messages() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.get("format") == "3"
    assert package.findtext("name") == "biomech_fit"
    # catkin_pkg's rule; an address that breaks it makes colcon take the package for plain Python.
    assert re.fullmatch(r"[-a-zA-Z0-9_%+]+(\.[-a-zA-Z0-9_%+]+)*@[-a-zA-Z0-9%]+(\.[-a-zA-Z0-9%]+)*\.[a-zA-Z]{2,}", package.find("maintainer").get("email"))
    assert package.findtext("license") == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert package.findtext("export/build_type") == "ament_cmake"
    assert package.findtext("member_of_group") == "rosidl_interface_packages"


def test_cmake_stays_readable() -> None:
    assert len((ROOT / "CMakeLists.txt").read_text(encoding="utf-8").splitlines()) < 80


def test_message_packages_are_declared_to_cmake_and_ros() -> None:
    used = {name for path in (ROOT / "msg").glob("*.msg") for name in re.findall(r"^([a-z_]+)/", path.read_text(encoding="utf-8"), re.M)}
    depends = {element.text for element in ElementTree.parse(ROOT / "package.xml").findall("depend")}
    cmake = re.search(r"set\(message_packages (.+)\)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")).group(1).split()
    assert used == depends == set(cmake)


@pytest.mark.parametrize("path", sorted((ROOT / "msg").glob("*.msg")), ids=lambda path: path.stem)
def test_every_message_field_is_documented(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    silent = [line for line in lines if line.strip() and "#" not in line and not re.match(r"uint8 (LEFT|RIGHT)=", line)]
    assert not silent


def test_everything_is_pinned_exactly_once() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+]*", line) for line in lines)
    assert len({line.split("==")[0] for line in lines}) == len(lines)
    assert {"jax", "jaxlib", "mujoco", "mujoco-mjx", "optax", "ros-rclpy"} <= pins().keys()
    assert pins()["jax"] == pins()["jaxlib"]
    for names in setup_names().values():
        assert {name.split("[")[0] for name in names} <= pins().keys()


def test_share_directory_is_the_source_tree_here() -> None:
    assert paths.share_directory() == Path(paths.__file__).parents[2]
    assert paths.config_directory().is_dir()


@pytest.mark.parametrize("packages", ["lib/python3.12/site-packages", "local/lib/python3.10/dist-packages"])
def test_share_directory_of_an_installation(packages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "share/biomech_fit"
    (share / "config").mkdir(parents=True)
    (share / "package.xml").touch()
    monkeypatch.setattr(paths, "__file__", str(tmp_path / packages / "biomech_fit/config/paths.py"))
    assert paths.share_directory.__wrapped__() == share


def test_a_broken_installation_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "biomech_fit/config/paths.py"))
    with pytest.raises(InputError, match="install the package again"):
        paths.share_directory.__wrapped__()


MAINS = ["cli/main", *(f"nodes/{node}" for node in NODES)]


@pytest.mark.parametrize("module", [module for module in MAINS if (ROOT / f"biomech_fit/{module}.py").is_file()])
def test_entry_points_lead_to_a_main(module: str) -> None:
    tree = ast.parse((ROOT / f"biomech_fit/{module}.py").read_text(encoding="utf-8"))
    assert "main" in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_executables_are_the_same_for_cmake_and_pip() -> None:
    cmake = re.search(r"foreach\(node (.+)\)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")).group(1).split()
    pip = re.search(r"^NODES = .* in \((.+?)\)", (ROOT / "setup.py").read_text(encoding="utf-8"), re.M).group(1)
    assert tuple(cmake) == ast.literal_eval(pip) == NODES


def test_scripts_are_executable_and_valid_bash() -> None:
    for script in (ROOT / ".ci/run", ROOT / "scripts/install.sh"):
        assert os.access(script, os.X_OK), script
        assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def test_the_core_imports_without_ros() -> None:
    """In a fresh interpreter in which every ROS import fails."""
    code = (
        "import sys, importlib\n"
        "class NoRos:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('rclpy', 'std_msgs', 'geometry_msgs') or name == 'biomech_fit.msg':\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoRos())\n"
        "for name in ('core.types', 'config.fit', 'stream', 'formats', 'sim', 'report', 'cli'):\n"
        "    importlib.import_module('biomech_fit.' + name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("has_apt", "sentence"), [(False, "please install what your system calls: "), (True, "please run: sudo apt-get install ")])
def test_a_machine_without_compiler_and_without_rights_is_told_what_to_install(has_apt: bool, sentence: str, tmp_path: Path) -> None:
    programs = {"python3": f'exec "{sys.executable}" "$@"', "dirname": 'exec /usr/bin/env -i PATH=/usr/bin:/bin dirname "$@"', "id": "echo 1000"}
    for name, body in (programs | ({"apt-get": "exit 1"} if has_apt else {})).items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    command = ["/bin/bash", str(ROOT / "scripts/install.sh"), str(tmp_path / "venv")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "g++" in done.stderr and "cmake" in done.stderr
    assert not (tmp_path / "venv").exists()
