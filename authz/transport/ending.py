"""How one listener generation ends without cutting off a call that is on its way.

HTTP/2 has GOAWAY for that, but h2corn sends it once and closes a connection as soon as no call is open on it. Calls
that the client sent in that moment meet a closed socket, and the client cannot know whether they were decided. So
before GOAWAY each connection is made to have an open call: one answer's trailers are held back. While they are, what
still comes is refused with REFUSED_STREAM, which says that nothing was done: the client asks again elsewhere.
"""

import asyncio
from collections.abc import Callable
from typing import Final

SETTLE_SECONDS: Final = 0.01
"""From the first answer held back to GOAWAY: until every busy connection has one."""
LINGER_SECONDS: Final = 0.03
"""From GOAWAY to the release of what is held: until every client has seen it. The two delay one call per connection."""


class Ending:
    """What the streams of one generation know of its end."""

    def __init__(self) -> None:
        """Begin with no end in sight."""
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
        await asyncio.sleep(SETTLE_SECONDS)
        go_away()
        self.told.set()
        if self._held or self._wakers:
            await asyncio.sleep(LINGER_SECONDS)
        self.close()

    def close(self) -> None:
        """Let go of all that is held, and end every stream that joined or will."""
        self.holding, self.over = False, True
        self._released.set()
        for wake in tuple(self._wakers):
            wake()
