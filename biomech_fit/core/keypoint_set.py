"""A detector's keypoint set: names in the order the detector sends them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KeypointSet:
    """Names in the detector's order, the bones to draw between them, and left-right partners."""

    name: str
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    """Index pairs that a drawing connects."""
    mirror: tuple[int, ...] = ()
    """mirror[k] is the index of the left-right partner of keypoint k (k itself on the midline)."""

    def __len__(self) -> int:
        return len(self.names)
