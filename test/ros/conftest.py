"""Node tests keep to this machine and away from other ROS programs on it."""

import os

import pytest

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ["ROS_DOMAIN_ID"] = str(40 + os.getpid() % 60)

pytest.importorskip("rclpy", reason="rclpy is not installed: the node tests are skipped.")
