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
    aliases: tuple[tuple[str, ...], ...] = ()
    """Other names for each keypoint, by which columns of .trc files and models know it; empty = none for any."""

    def names_of(self, k: int) -> tuple[str, ...]:
        """Keypoint k's name, and then its other ones."""
        return (self.names[k], *(self.aliases[k] if self.aliases else ()))

    def __len__(self) -> int:
        return len(self.names)
