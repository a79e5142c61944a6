"""Asks a source of policies that lies elsewhere, now and then, whether it holds something new."""

import asyncio
import contextlib
from collections.abc import Callable

from authz.errors import AuthzError
from authz.stores.daemon_thread import in_daemon_thread
from authz.stores.policy_source import PolledSource


class Poller:
    """Polls one source; `run` it as a task of the event loop."""

    def __init__(
        self,
        source: PolledSource,
        on_change: Callable[[], object],
        on_failure: Callable[[str], object],
        on_same: Callable[[], object] = lambda: None,
    ) -> None:
        """The callbacks run in the event loop's thread; `on_same`: it was asked, and holds nothing new."""
        self._source = source
        self._on_change = on_change
        self._on_failure = on_failure
        self._on_same = on_same
        self._asked = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled. Nothing that goes wrong on the other side ends it."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._source.poll_seconds):
                    await self._asked.wait()
            self._asked.clear()
            await self.look()

    def look_now(self) -> None:
        """Have it asked at once: for a signal handler of the event loop (SIGHUP)."""
        self._asked.set()

    async def look(self) -> None:
        """Ask once. The source bounds how long that takes."""
        try:
            changed = await in_daemon_thread(self._source.look)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the last good policy goes on (I11)
            self._on_failure(str(error) if isinstance(error, AuthzError) else f"internal error: {type(error).__name__}")
            return
        if changed:
            self._on_change()
        else:
            self._on_same()
