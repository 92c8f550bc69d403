"""What went wrong, in sentences, on /diagnostics."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from biomech_fit.ros.convert import time_msg

LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR, "stale": DiagnosticStatus.STALE}
MAX_ROWS = 200
"""A flood of different problems must not become a flood of memory."""
LOG_EVERY_S = 10.0


@dataclass
class _Row:
    level: str
    sentence: str
    values: dict[str, Any] = field(default_factory=dict)
    count: int = 0
    age: int = 0
    """Reports since it last occurred."""


class Diagnostics:
    """Collects problems from any thread and makes a DiagnosticArray of them.

    A problem stays at its level for `hold` reports after its last occurrence and is then given as OK, with its count, so that a passing one is seen.
    """

    def __init__(self, node: Node, hold: int = 5) -> None:
        self._node = node
        self._hold = hold
        self._rows: dict[str, _Row] = {}
        self._logged: dict[str, float] = {}
        self._lock = threading.Lock()

    def problem(self, name: str, sentence: str, level: str = "warn", **values: Any) -> None:
        """One occurrence. It is logged as well, the same sentence at most every `LOG_EVERY_S`."""
        now = time.monotonic()
        with self._lock:
            row = self._rows.get(name)
            if row is None and len(self._rows) >= MAX_ROWS:
                return
            is_new = now - self._logged.get(sentence, -math.inf) > LOG_EVERY_S
            if is_new:
                self._logged[sentence] = now
                if len(self._logged) > MAX_ROWS:
                    del self._logged[min(self._logged, key=self._logged.__getitem__)]
            if row is None:
                row = self._rows[name] = _Row(level, sentence)
            row.level, row.sentence, row.age, row.count = level, sentence, 0, row.count + 1
            row.values = values
        if is_new:
            # rclpy wants one place per severity.
            self._node.get_logger().error(sentence) if level == "error" else self._node.get_logger().warning(sentence)

    def count(self, name: str) -> int:
        """How often a problem occurred."""
        with self._lock:
            return self._rows[name].count if name in self._rows else 0

    def clear(self) -> None:
        with self._lock:
            self._rows.clear()

    def message(self, stamp_ns: int, rows: list[tuple[str, str, str, dict]] | None = None) -> DiagnosticArray:
        """The array to publish: the problems and the given rows (level, name, sentence, values), e.g. of the pipeline."""
        status = [self._status(level, name, sentence, values) for level, name, sentence, values in rows or []]
        with self._lock:
            for name, row in self._rows.items():
                held = row.age <= self._hold
                level, sentence = (row.level, row.sentence) if held else ("ok", f"Not any more: {row.sentence}")
                status.append(self._status(level, name, sentence, {**row.values, "count": row.count}))
                row.age += 1
        array = DiagnosticArray(status=status)
        array.header.stamp = time_msg(stamp_ns)
        return array

    def _status(self, level: str | int, name: str, sentence: str, values: dict) -> DiagnosticStatus:
        code = level_code(level)
        pairs = [KeyValue(key=str(key), value=_text(value)) for key, value in values.items()]
        title = f"{self._node.get_fully_qualified_name().lstrip('/')}: {name}"
        return DiagnosticStatus(level=code, name=title, message=sentence, hardware_id="biomech_fit", values=pairs)


def level_code(level: str | int | bytes) -> bytes:
    """The message's level from a word (ok, warn, error, stale) or number (0 to 3)."""
    if isinstance(level, bytes):
        return level
    if isinstance(level, str):
        return LEVELS.get(level.lower().replace("warning", "warn"), DiagnosticStatus.WARN)
    return bytes([min(max(int(level), 0), 3)])


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
