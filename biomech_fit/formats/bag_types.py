"""Message types for bags, from their .msg text: no generated ROS code is needed."""

from __future__ import annotations

from functools import cache
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from biomech_fit.config.paths import share_directory
from biomech_fit.core.errors import InputError

KEYPOINTS_2D = "biomech_fit/msg/Keypoints2D"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


def message_text(name: str) -> str:
    """The text of ``msg/<name>.msg`` that comes with the package."""
    path = share_directory() / "msg" / f"{name}.msg"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        raise InputError(f"The installation lacks '{path}'; please install the package again.") from None


@cache
def typestore() -> Any:
    """A rosbags type store with the common interfaces and our Keypoints2D."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg(message_text("Keypoints2D"), KEYPOINTS_2D))
    return store


def typestore_of(connection: Connection) -> Any:
    """The store to decode a connection with: the definition in the bag goes first (it may be of another version), else ours."""
    definition = connection.msgdef
    if definition.format is not MessageDefinitionFormat.MSG or not definition.data:
        return typestore()
    store = get_typestore(Stores.ROS2_HUMBLE)
    try:
        types = get_types_from_msg(definition.data, connection.msgtype)
        store.register({name: fields for name, fields in types.items() if name not in store.types})
    except Exception:  # the embedded text is of unknown origin; rosbags raises what its parser meets
        return typestore()
    return store
