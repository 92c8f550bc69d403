"""The whole part of an MCAP file that breaks off (power loss, full disk, a copy that was cut)."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

_MAGIC = b"\x89MCAP0\r\n"
_HEADER, _FOOTER, _DATA_END = 0x01, 0x02, 0x0F
_SUMMARY = {0x08, 0x0A, 0x0B, 0x0D, 0x0E}
"""Records that follow the data in a complete file; they are made anew by scanning."""


def salvage_mcap(source: Path, target: Path) -> Path | None:
    """Copy all complete records of `source` to `target` and close the file properly, without an index. None if nothing is whole.

    Record framing (opcode, 64-bit little-endian length, content) as in the MCAP specification, https://mcap.dev/spec.
    """
    end = _end_of_whole_records(source)
    if end is None:
        return None
    with source.open("rb") as src, target.open("wb") as dst:
        remaining = end
        while remaining > 0:
            block = src.read(min(remaining, shutil.COPY_BUFSIZE))  # pyright: ignore[reportAttributeAccessIssue]
            if not block:
                break
            dst.write(block)
            remaining -= len(block)
        dst.write(struct.pack("<BQI", _DATA_END, 4, 0))
        dst.write(struct.pack("<BQQQI", _FOOTER, 20, 0, 0, 0))
        dst.write(_MAGIC)
    return target


def _end_of_whole_records(path: Path) -> int | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return None
        end, records = len(_MAGIC), 0
        while True:
            head = file.read(9)
            if len(head) < 9:
                break
            opcode, length = struct.unpack("<BQ", head)
            if opcode in (_DATA_END, _FOOTER) or opcode in _SUMMARY or not 0 < opcode < 0x80 or (records == 0 and opcode != _HEADER):
                break
            if end + 9 + length > size:
                break
            end += 9 + length
            records += 1
            file.seek(end)
    return end if records else None
