"""Runs a blocking call in a thread that no shutdown waits for, such as a fetch from a server that does not answer."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def in_daemon_thread(call: Callable[[], _T]) -> "asyncio.Future[_T]":
    """What `call` answers or raises, once it has. Cancelling the future does not stop the call."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def answer(deliver: Callable[[], None]) -> None:
        if not future.done():
            deliver()

    def run() -> None:
        deliver: Callable[[], None]
        try:
            result = call()
            deliver = lambda: future.set_result(result)  # noqa: E731 - the two branches bind one name
        except Exception as error:  # noqa: BLE001 - handed on to whoever awaits
            raised = error
            deliver = lambda: future.set_exception(raised)  # noqa: E731 - likewise
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody awaits any more
            loop.call_soon_threadsafe(answer, deliver)

    threading.Thread(target=run, daemon=True).start()
    return future
