"""Stdout and stderr that take whatever is written: nobody who looks away, and no full disk, ends a run."""

import io
import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT: Final = 1
STDERR: Final = 2


class Stream(io.TextIOWrapper):
    """Text for a descriptor; what cannot be written there is dropped, and what cannot be encoded is escaped.

    Args:
        descriptor: where to; it is not closed.
        encoding: of the text.
        line_buffering: whether each line is written at once.

    """

    def __init__(self, descriptor: int, *, encoding: str, line_buffering: bool = False) -> None:
        self._raw = _Descriptor(descriptor)
        super().__init__(
            io.BufferedWriter(self._raw), encoding, errors="backslashreplace", line_buffering=line_buffering
        )

    @property
    def lost(self) -> OSError | None:
        """Return why something could not be written."""
        return self._raw.lost


class _Descriptor(io.FileIO):
    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.lost: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, and wait where the other end is not ready; after an error nothing goes there any more."""
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            self.lost = error
            with Path(os.devnull).open("w") as nowhere:  # also for what children of this process print there
                os.dup2(nowhere.fileno(), self.fileno())
            return memoryview(data).nbytes
        return written


def replace_standard_streams() -> None:
    """Put streams that take whatever is written in the place of this process's stdout and stderr."""
    sys.stdout, sys.stderr = _replaced(sys.stdout, STDOUT), _replaced(sys.stderr, STDERR)


def _replaced(stream: TextIO | None, descriptor: int) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # Python has none where the descriptor was closed
        return Path(os.devnull).open("w")
    # Each line at once where Python writes each character: a run is followed also through a pipe.
    at_once = stream.line_buffering or stream.write_through
    return Stream(descriptor, encoding=stream.encoding, line_buffering=at_once)
