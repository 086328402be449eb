"""A multipart form that must be whole: a body that was cut off ends within some photo."""

from __future__ import annotations

from starlette.formparsers import MultiPartException, MultiPartParser


class CutForm(MultiPartException):
    """The last boundary is missing. `index`: which part of its name the form ends in, from 0."""

    def __init__(self, name: str, index: int) -> None:
        super().__init__(
            f"the form ends within part {index + 1} named `{name[:40]}`, or before its last boundary:"
            " send it whole"
        )
        self.index = index


class WholeFormParser(MultiPartParser):
    """Raises CutForm for a form without its last boundary (RFC 2046, 5.1.1)."""

    _ended = False

    def on_end(self) -> None:
        self._ended = True
        super().on_end()

    def check_whole(self) -> None:
        """Call it after `parse`. Raises CutForm."""
        if self._ended:
            return
        part = self._current_part
        done = [name for name, _ in self.items].count(part.field_name)
        # A part that has ended is among the items: then what is missing stands behind it.
        has_ended = part.file is not None and any(value is part.file for _, value in self.items)
        raise CutForm(part.field_name, done - 1 if has_ended else done)
