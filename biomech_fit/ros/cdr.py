"""Single fields of a serialized message, where making a Python object of all of it would cost more than what is done with them."""

from __future__ import annotations

from struct import Struct

import numpy as np

PREFIX = 4
"""Bytes before the first field, the representation: alignment counts from their end."""
_UINT32 = {True: Struct("<I"), False: Struct(">I")}
_FLOAT32 = {True: np.dtype("<f4"), False: np.dtype(">f4")}
_STAMP = {True: Struct("<iI"), False: Struct(">iI")}
_ALIGNMENT = {1: 0, 4: 3, 8: 7}


class CdrReader:
    """Reads the fields of a message in their order: plain CDR (OMG DDS-XTypes 1.3, 7.4.3), which every ROS 2 middleware has.

    Its methods raise ValueError where the message ends before the field does.
    """

    __slots__ = ("_at", "_little", "_message", "_uint32")

    def __init__(self, message: bytes) -> None:
        if len(message) < PREFIX or message[0] != 0 or message[1] > 1:
            raise ValueError("it is not plain CDR")
        self._message, self._little, self._at = message, message[1] == 1, PREFIX
        self._uint32 = _UINT32[self._little]

    def stamp_ns(self) -> int:
        """A builtin_interfaces/Time in ns."""
        at = self._take(4, 8)
        sec, nanosec = _STAMP[self._little].unpack_from(self._message, at)
        return sec * 1_000_000_000 + nanosec

    def byte(self) -> int:
        """A uint8."""
        return self._message[self._take(1, 1)]

    def string(self) -> str:
        """A string."""
        size = self._count()
        at = self._take(1, size)
        return self._message[at : at + size - 1].decode() if size else ""

    def float32(self) -> float:
        """A float32."""
        return float(np.frombuffer(self._message, _FLOAT32[self._little], 1, self._take(4, 4))[0])

    def float32s(self) -> np.ndarray:
        """A float32[], without a copy."""
        count = self._count()
        return np.frombuffer(self._message, _FLOAT32[self._little], count, self._take(4, 4 * count)) if count else np.zeros(0, np.float32)

    def strings(self, known: dict[bytes, tuple[str, ...]]) -> tuple[str, ...]:
        """A string[]. Those of earlier messages are in `known`, under their bytes, so that names which stay the same are read once."""
        start = self._at = self._aligned(4)
        for block, names in known.items():
            if self._message.startswith(block, start):
                self._at += len(block)
                return names
        names = tuple([self.string() for _ in range(self._count())])
        if len(known) >= 8:
            known.clear()
        known[self._message[start : self._at]] = names
        return names

    def skip_string(self) -> None:
        """Leaves out a string."""
        self._take(1, self._count())

    def skip_float32s(self) -> int:
        """Leaves out a float32[]; how many there were."""
        count = self._count()
        if count:
            self._take(4, 4 * count)
        return count

    def skip(self, size: int, count: int) -> None:
        """Leaves out `count` numbers of `size` bytes each."""
        self._take(size, size * count)

    def _count(self) -> int:
        return self._uint32.unpack_from(self._message, self._take(4, 4))[0]

    def _aligned(self, size: int) -> int:
        return self._at + (PREFIX - self._at & _ALIGNMENT[size])

    def _take(self, size: int, length: int) -> int:
        """Where a field of this length begins, aligned to `size` bytes."""
        at = self._aligned(size)
        self._at = at + length
        if self._at > len(self._message):
            raise ValueError("it ends too early")
        return at
