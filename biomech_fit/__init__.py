"""Streaming markerless motion capture: multi-camera 2D keypoints in, joint angles out (see docs/architecture.md)."""

__path__ = __import__("pkgutil").extend_path(__path__, __name__)
