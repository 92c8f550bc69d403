"""A live rig: fitter and gait nodes, and on request rviz, the URDF's transforms and overlays. The cameras' detectors publish <camera>/keypoints.

ros2 launch biomech_fit rig.launch.py calibration:=/path/Calib.toml keypoint_set:=halpe_26 rviz:=true
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "calibration": ("", "Calibration file of the cameras (needed)."),
    "keypoint_set": ("", "Keypoint set that the detectors send: a name or a YAML file; empty = halpe_26, or what params_file says."),
    "frame_rate_hz": ("", "Frame rate of the cameras; empty = 60, or what params_file or config says."),
    "model": ("", "Body model: a name or an MJCF file; empty = the built-in body."),
    "subject": ("", "subject.yaml of the person; empty = a body of average size."),
    "config": ("", "YAML file with settings of the fit; empty = the defaults."),
    "params_file": ("", "ROS parameter file for all nodes, e.g. one of config/rigs/; empty = none."),
    "namespace": ("", "Namespace of all nodes and topics."),
    "world_frame": ("", "Frame of the calibration's world; empty = world, or what params_file says."),
    "world_up": ("", "Axis of the calibration's world that points up: x, -x, y, -y, z or -z; empty = z, or what params_file says."),
    "use_sim_time": ("", "Take the time from /clock; empty = false, or what params_file says."),
    "gait": ("true", "Start gait_node."),
    "robot_state_publisher": ("false", "Start robot_state_publisher with the body's URDF (for rviz' RobotModel)."),
    "overlay_cameras": ("", "Names of cameras, separated by commas, whose images get the skeleton drawn on."),
    "rviz": ("false", "Start rviz2."),
}


def _given(context, *names):
    """Those launch arguments that are not empty, as parameters: an empty one must not overwrite the parameter file."""
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    return {name: value for name, value in values.items() if value}


def _is_true(context, name):
    return LaunchConfiguration(name).perform(context).lower() in ("true", "1", "yes")


def _nodes(context):
    namespace = LaunchConfiguration("namespace")
    file = LaunchConfiguration("params_file").perform(context)
    sim_time = {"use_sim_time": _is_true(context, "use_sim_time")} if _given(context, "use_sim_time") else {}
    common = [part for part in (file, sim_time) if part]
    frame = _given(context, "world_frame")
    fitter = {**frame, **_given(context, "calibration", "world_up", "keypoint_set", "model", "subject", "config"), "autostart": True}
    rate = _given(context, "frame_rate_hz")
    if rate:
        fitter["fit.stream.frame_rate_hz"] = float(rate["frame_rate_hz"])
    nodes = [Node(package="biomech_fit", executable="fitter_node", name="fitter_node", namespace=namespace, parameters=[*common, fitter], output="screen")]
    if _is_true(context, "gait"):
        settings = [*common, *([frame] if frame else [])]
        nodes.append(Node(package="biomech_fit", executable="gait_node", name="gait_node", namespace=namespace, parameters=settings, output="screen"))
    for camera in filter(None, (c.strip() for c in LaunchConfiguration("overlay_cameras").perform(context).split(","))):
        settings = {"camera": camera, **_given(context, "calibration", "world_up")}
        name = f"overlay_{camera}"
        nodes.append(Node(package="biomech_fit", executable="overlay_node", name=name, namespace=namespace, parameters=[*common, settings], output="screen"))
    if _is_true(context, "robot_state_publisher"):
        description = {"robot_description": _urdf(**_given(context, "model", "keypoint_set")), **sim_time}
        nodes.append(Node(package="robot_state_publisher", executable="robot_state_publisher", namespace=namespace, parameters=[description]))
    if _is_true(context, "rviz"):
        # Its topics are relative: in the nodes' namespace it sees them.
        display = PathJoinSubstitution([FindPackageShare("biomech_fit"), "config", "rviz", "biomech_fit.rviz"])
        frame = ["-f", *_given(context, "world_frame").values()] if _given(context, "world_frame") else []
        settings = [sim_time] if sim_time else []
        nodes.append(Node(package="rviz2", executable="rviz2", namespace=namespace, arguments=["-d", display, *frame], parameters=settings))
    return nodes


def _urdf(keypoint_set="halpe_26", model=None):
    """The body in average size; fitter_node sends the person's as soon as it is known."""
    import numpy as np

    from biomech_fit.formats.keypoint_sets import load_keypoint_set
    from biomech_fit.formats.model import load_body_model
    from biomech_fit.formats.urdf import urdf_from_body

    body = load_body_model(model, load_keypoint_set(keypoint_set))
    return urdf_from_body(body, np.zeros(len(body.scale_names)))


def generate_launch_description():
    """All arguments and nodes."""
    arguments = [DeclareLaunchArgument(name, default_value=default, description=text) for name, (default, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=_nodes)])
