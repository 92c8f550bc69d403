"""A simulated person walks in front of eight simulated cameras and is fitted live.

ros2 launch biomech_fit demo.launch.py rviz:=true
"""

import tempfile
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "seconds": ("60.0", "Length of the walk."),
    "cameras": ("8", "Number of cameras."),
    "frame_rate_hz": ("60.0", "Frames per second."),
    "keypoint_set": ("halpe_26", "Keypoint set of the simulated detector."),
    "seed": ("0", "Seed of the simulation."),
    "namespace": ("", "Namespace of all nodes and topics."),
    "rviz": ("false", "Start rviz2."),
}


def _demo(context):
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    calibration = Path(tempfile.mkdtemp(prefix="biomech_fit_demo_")) / "Calib_demo.toml"
    simulation = {
        "sim.seconds": float(value["seconds"]),
        "sim.cameras": int(value["cameras"]),
        "sim.frame_rate_hz": float(value["frame_rate_hz"]),
        "sim.keypoint_set": value["keypoint_set"],
        "sim.seed": int(value["seed"]),
    }
    _write_calibration(calibration, {name.removeprefix("sim."): setting for name, setting in simulation.items()})
    simulator = Node(
        package="biomech_fit",
        executable="simulator_node",
        name="simulator_node",
        namespace=value["namespace"],
        parameters=[{**simulation, "min_subscribers": 1}],
        output="screen",
    )
    rig = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([FindPackageShare("biomech_fit"), "launch", "rig.launch.py"])),
        launch_arguments={
            "calibration": str(calibration),
            "keypoint_set": value["keypoint_set"],
            "namespace": value["namespace"],
            "frame_rate_hz": value["frame_rate_hz"],
            "rviz": value["rviz"],
        }.items(),
    )
    return [simulator, rig]


def _write_calibration(path, settings):
    """The cameras depend on the settings and the seed, not on the length: the fitter need not wait for the whole simulation."""
    from biomech_fit.formats.calibration import write_calibration
    from biomech_fit.sim.config import SimConfig
    from biomech_fit.sim.simulate import simulate

    write_calibration(path, simulate(SimConfig(**{**settings, "seconds": 0.2})).cameras)


def generate_launch_description():
    """All arguments and nodes."""
    arguments = [DeclareLaunchArgument(name, default_value=default, description=text) for name, (default, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=_demo)])
