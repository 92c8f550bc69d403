"""A detector of your own as a ROS 2 node: publishes what `detections()` yields as Keypoints2D on <camera>/keypoints, for some seconds.

    python examples/02_own_detector_ros.py [SECONDS]
"""

import sys
import time
from collections.abc import Iterator

import numpy as np

CAMERA, WIDTH, HEIGHT, RATE_HZ = "cam_01", 1280, 1024, 30.0


def detections() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Put your detector here: people's keypoints (P, 17, 2) in px (NaN = missing) and confidences (P, 17), frame by frame."""
    random = np.random.default_rng(0)
    person = np.array([WIDTH / 2, HEIGHT / 2]) + random.normal(0, 120, (17, 2))
    while True:
        yield (person + random.normal(0, 2, (17, 2)))[None], random.uniform(0.6, 1.0, (1, 17))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    try:
        import rclpy
        from rclpy.qos import qos_profile_sensor_data

        from biomech_fit.msg import Keypoints2D
    except ImportError as error:
        print(f"Skipped: ROS 2 or the messages of biomech_fit are not installed here ({error}).")
        return
    rclpy.init()
    node = rclpy.create_node("my_detector")
    publisher = node.create_publisher(Keypoints2D, f"{CAMERA}/keypoints", qos_profile_sensor_data)
    sent, end = 0, time.monotonic() + seconds
    for xy, confidence in detections():
        message = Keypoints2D(camera=CAMERA, keypoint_set="coco_17", width=WIDTH, height=HEIGHT)
        message.header.stamp = node.get_clock().now().to_msg()  # of the exposure: take the image's own stamp where there is one
        message.header.frame_id = f"{CAMERA}_optical_frame"
        message.person_ids = [-1] * len(xy)
        message.xy = xy.astype(np.float32).ravel().tolist()
        message.confidence = confidence.astype(np.float32).ravel().tolist()
        publisher.publish(message)
        sent += 1
        time.sleep(1 / RATE_HZ)
        if time.monotonic() > end:
            break
    print(f"Sent {sent} messages on {publisher.topic_name}.")
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
