"""A worker process, as a supervisor starts it: `python -m authz.supervisor.worker CHANNEL LIFELINE` (descriptors)."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import structlog

from authz.app import run_loop, serve
from authz.config.settings import Config
from authz.errors import AuthzError
from authz.stores.epoch import SharedEpoch
from authz.telemetry.logs import configure_logging
from authz.worker.context import Worker
from authz.worker.messages import Begin, Channel, read_begin


def main() -> None:
    """Serve until the supervisor says otherwise, or is gone."""
    channel, lifeline = map(int, sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all; the supervisor says what they mean
        signal.signal(number, signal.SIG_IGN)
    end = socket.socket(fileno=channel)
    try:
        begin = read_begin(end)
    except (EOFError, OSError):  # the supervisor is gone
        sys.exit(os.EX_UNAVAILABLE)
    config = msgspec.json.decode(begin.config, type=Config)
    configure_logging(config.log)
    structlog.contextvars.bind_contextvars(worker=begin.index)
    run_loop(config, _serve(config, begin, end, lifeline))


async def _serve(config: Config, begin: Begin, end: socket.socket, lifeline: int) -> None:
    channel = await Channel.over(end)
    worker = Worker(SharedEpoch(*begin.epoch, begin.index), begin, channel)
    worker.guard_against_orphanhood(lifeline)
    try:
        await serve(config, Path(begin.base), worker)
    except AuthzError as error:
        worker.failed(str(error))
        raise SystemExit(2) from None
    finally:
        await asyncio.shield(channel.close())


if __name__ == "__main__":
    main()
