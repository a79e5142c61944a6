"""How one listener generation ends without cutting off a call that is on its way.

HTTP/2 has GOAWAY for that, but h2corn sends it once and closes a connection as soon as no call is open on it. Calls
that the client sent in that moment meet a closed socket, and the client cannot know whether they were decided. So
before GOAWAY each connection is made to have an open call: one answer's trailers are held back. While they are, what
still comes is refused with REFUSED_STREAM, which says that nothing was done: the client asks again elsewhere.
"""

import asyncio
from collections.abc import Callable


class Ending:
    """What the streams of one generation know of its end."""

    def __init__(self, seconds: float = 0.0) -> None:
        """Begin with no end in sight; `run` will take so long, by which one call of each connection is delayed."""
        self._settle_seconds = seconds / 4
        """From the first answer held back to GOAWAY: until every busy connection has one."""
        self._linger_seconds = seconds - self._settle_seconds
        """From GOAWAY to the release of what is held: until every client has seen it."""
        self.holding = False
        """Whether answers are to pass through `hold` now."""
        self.over = False
        """Whether every stream is to end."""
        self.told = asyncio.Event()
        """Set once the clients were told to go, and no connection is accepted any more."""
        self._held: set[object] = set()
        self._released = asyncio.Event()
        self._wakers: set[Callable[[], None]] = set()

    def join(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` when it is over, until the answered function is called: for streams that would never end."""
        self._wakers.add(wake)
        return lambda: self._wakers.discard(wake)

    async def hold(self, connection: object) -> None:
        """Keep an answer back, if it is its connection's first (None: which connection is not known)."""
        if connection is not None and connection in self._held:
            return
        self._held.add(connection)
        await self._released.wait()

    async def run(self, go_away: Callable[[], None]) -> None:
        """Go through the end: hold, call `go_away`, linger, let go."""
        self.holding = True
        await asyncio.sleep(self._settle_seconds)
        go_away()
        self.told.set()
        if self._held or self._wakers:
            await asyncio.sleep(self._linger_seconds)
        self.close()

    def close(self) -> None:
        """Let go of all that is held, and end every stream that joined or will."""
        self.holding, self.over = False, True
        self._released.set()
        for wake in tuple(self._wakers):
            wake()
