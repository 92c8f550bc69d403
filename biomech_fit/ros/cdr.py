"""Single fields of a serialized message, where making a Python object of all of it would cost more than what is done with them."""

from __future__ import annotations

from struct import Struct

PREFIX = 4
"""Bytes before the first field, the representation: alignment counts from their end."""
_UINT32 = {True: Struct("<I"), False: Struct(">I")}
_STAMP = {True: Struct("<iI"), False: Struct(">iI")}
_ALIGNMENT = {1: 0, 4: 3, 8: 7}


def is_little(message: bytes) -> bool:
    """Whether the least significant byte of a number comes first. Raises ValueError where the message is not plain CDR."""
    if len(message) < PREFIX or message[0] != 0 or message[1] > 1:
        raise ValueError("it is not plain CDR")
    return message[1] == 1


def stamp_of_serialized(message: bytes) -> int:
    """Stamp (ns) of a serialized message that begins with a header. Raises ValueError where there is none."""
    little = is_little(message)
    if len(message) < PREFIX + 8:
        raise ValueError("it ends too early")
    sec, nanosec = _STAMP[little].unpack_from(message, PREFIX)
    return sec * 1_000_000_000 + nanosec


class CdrReader:
    """Goes through the fields of a message in their order: plain CDR (OMG DDS-XTypes 1.3, 7.4.3), which every ROS 2 middleware has.

    Its methods raise ValueError where the message ends before the field does.

    Args:
        message: as a subscription with `raw=True` gives it.
    """

    def __init__(self, message: bytes) -> None:
        self._message, self._uint32 = message, _UINT32[is_little(message)]
        self.at = PREFIX
        """Where the next field begins, apart from its alignment."""

    def byte(self) -> int:
        """A uint8."""
        return self._message[self.skip(1, 1)]

    def count(self) -> int:
        """A uint32, or how many elements follow."""
        return self._uint32.unpack_from(self._message, self.skip(4, 1))[0]

    def string(self) -> str:
        """A string."""
        size = self.count()
        at = self.skip(1, size)
        return self._message[at : at + size - 1].decode() if size else ""

    def strings(self) -> tuple[str, ...]:
        """A string[]."""
        return tuple([self.string() for _ in range(self.count())])

    def skip(self, size: int, count: int) -> int:
        """Leaves out `count` numbers of `size` bytes each; where they begin."""
        at = self.at + (PREFIX - self.at & _ALIGNMENT[size]) if count else self.at
        self.at = at + size * count
        if self.at > len(self._message):
            raise ValueError("it ends too early")
        return at
