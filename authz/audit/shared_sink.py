"""One destination for two writers: a batch of either is written whole before the other's turn."""

import threading

from authz.audit.sink import Sink


class ThreadSharedSink:
    """A sink that two threads may use; see `Sink`. Who opened it closes it."""

    def __init__(self, sink: Sink) -> None:
        self.name = sink.name
        self._sink = sink
        self._lock = threading.Lock()

    def open(self) -> None:
        """Be ready to write."""
        with self._lock:
            self._sink.open()

    def write(self, lines: list[bytes]) -> None:
        """Write the lines."""
        with self._lock:
            self._sink.write(lines)

    def reopen(self) -> None:
        """Let go of a file that was moved away."""
        with self._lock:
            self._sink.reopen()

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._sink.close()
