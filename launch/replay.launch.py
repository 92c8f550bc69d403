"""A recording to topics, and the nodes of rig.launch.py to fit it.

ros2 launch biomech_fit replay.launch.py recording:=/path/trial calibration:=/path/Calib.toml rviz:=true
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "recording": ("", "The recording: a folder, bag or file (needed)."),
    "rate": ("1.0", "Speed relative to the recording."),
    "loop": ("false", "Start again at the end."),
    "namespace": ("", "Namespace of all nodes and topics."),
    "calibration": ("", "Calibration file (needed: the fitter reads it, too)."),
    "keypoint_set": ("", "Keypoint set of the recording, for the fitter, too; empty = the recording's own, and halpe_26 for the fitter."),
}


def _replay(context):
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    settings = {
        "recording": value["recording"],
        **{name: value[name] for name in ("calibration", "keypoint_set") if value[name]},
        "rate": float(value["rate"]),
        "loop": value["loop"].lower() in ("true", "1", "yes"),
        "clock": True,
        "min_subscribers": 1,
    }
    return [Node(package="biomech_fit", executable="replay_node", name="replay_node", namespace=value["namespace"], parameters=[settings], output="screen")]


def generate_launch_description():
    """The replay publishes /clock, and everything else follows it."""
    rig = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([FindPackageShare("biomech_fit"), "launch", "rig.launch.py"])),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    arguments = [DeclareLaunchArgument(name, default_value=default, description=text) for name, (default, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=_replay), rig])
