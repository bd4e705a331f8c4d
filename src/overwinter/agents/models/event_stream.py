"""Server-sent events: the data of each event, from bytes that come in whatever pieces the network makes of them."""

from __future__ import annotations

__all__ = ["EventStream"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventStream:
    """Parses ``text/event-stream`` as the WHATWG's HTML standard describes it, as far as replies of models need it.

    Comments and all fields but ``data`` are passed over. An event that the end of the stream cuts off is given
    all the same: servers forget the last empty line, and half an event is no JSON.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of a line that has not ended
        self._data: list[bytes] = []  # lines of an event that has not ended
        self._begun = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of each event that *piece* completes."""
        if b"\n" not in piece and b"\r" not in piece and not (self._line and self._line[-1].endswith(b"\r")):
            self._line.append(piece)
            return []
        lines = b"".join((*self._line, piece)).splitlines(keepends=True)
        # A carriage return at the very end may be half of a line's end.
        self._line = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        return self._events(lines)

    def finish(self) -> list[bytes]:
        """The data of the event that the end of the stream completes, if there is one."""
        lines = b"".join(self._line).splitlines(keepends=True)
        self._line = []
        return self._events([*lines, b"\n"])

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for ended in lines:
            line = ended.rstrip(b"\r\n")
            if not self._begun:
                line = line.removeprefix(_BYTE_ORDER_MARK)
                self._begun = True
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line == b"data":
                self._data.append(b"")
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events
