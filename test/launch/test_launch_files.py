"""The launch files, where ROS 2's launch is installed (it is not among the pip wheels)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

launch = pytest.importorskip("launch", reason="launch is not installed: the launch files are not tried.")
pytest.importorskip("launch_ros", reason="launch_ros is not installed: the launch files are not tried.")

FOLDER = Path(__file__).parents[2] / "launch"


def description(name):
    spec = importlib.util.spec_from_file_location(name.replace(".", "_"), FOLDER / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize("name", ["rig.launch.py", "replay.launch.py", "demo.launch.py"])
def test_arguments_are_described(name):
    arguments = {a.name: a for a in description(name).get_launch_arguments()}
    assert arguments and all(a.description for a in arguments.values())


@pytest.mark.parametrize(
    ("name", "values", "executables"),
    [
        ("rig.launch.py", {"calibration": "c.toml", "overlay_cameras": "cam1, cam2"}, ["fitter_node", "gait_node", "overlay_node", "overlay_node"]),
        ("rig.launch.py", {"gait": "false"}, ["fitter_node"]),
        ("replay.launch.py", {"recording": "r", "calibration": "c.toml"}, ["replay_node"]),
        ("demo.launch.py", {"cameras": "2"}, ["simulator_node"]),
    ],
)
def test_nodes_are_made(name, values, executables):
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    context = launch.LaunchContext()
    content = description(name).entities
    for entity in content:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
    context.launch_configurations.update(values)
    made = [node for entity in content if isinstance(entity, OpaqueFunction) for node in entity.execute(context)]
    assert [node.node_executable for node in made if hasattr(node, "node_executable")] == executables
