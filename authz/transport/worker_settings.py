"""The section `[supervisor]` of the configuration."""

from typing import Annotated

import msgspec
from msgspec import Meta

from authz.transport.settings import Positive, Seconds


class SupervisorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How worker processes are watched over, when `server.workers` asks for more than one."""

    acknowledge_seconds: Positive = 2.0
    """A worker that has not acknowledged an invalidation after this is killed and replaced: nothing waits longer."""
    hang_seconds: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    """A worker whose event loop has not turned for this long is killed and replaced."""
    start_seconds: Positive = 120.0
    """A worker that does not serve after this is killed, and started again."""
    restart_backoff_seconds: Positive = 0.1
    """How long a worker that ended is waited with before it is started again; doubled each time that it ends soon."""
    max_restart_backoff_seconds: Positive = 10.0
    """The longest such wait."""
    max_crashes: Annotated[int, Meta(ge=1, le=10_000)] = 20
    """More crashes than this within `crash_window_seconds`, over all workers, and the whole server ends with an error.
    A worker that cannot start, because a file is broken by then, is no crash while another one serves."""
    crash_window_seconds: Positive = 60.0
    """The time in which crashes are counted."""
    converge_seconds: Positive = 30.0
    """Workers whose policies differ for longer than this make the server not ready."""
    rebalance_seconds: Seconds = 10.0
    """A worker that has had at least two connections more than another for this long asks its clients to connect anew,
    without cutting a call off. 0: never. h2corn only; for grpc.aio see `server.max_connection_age_seconds`."""
