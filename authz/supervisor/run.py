"""How a server runs: in this process, or in several workers under a supervisor."""

import asyncio
from pathlib import Path

from msgspec.structs import replace

from authz.config.settings import Config
from authz.supervisor.cores import cores
from authz.telemetry.logs import configure_logging
from authz.transport.steering import listen_of


def run(config: Config, base: Path) -> None:
    """Serve until told to stop; `base`: where relative paths in the configuration start.

    Raises:
        AuthzError: it cannot start or go on, and why.
    """
    workers = config.server.workers
    count = cores() if workers == "auto" else workers
    # A process imports what it does: a supervisor decides nothing, and who serves alone supervises nothing.
    if count == 1:
        from authz import app  # noqa: PLC0415 - see above

        app.run(replace(config, server=replace(config.server, listen=listen_of(config.server.listen, 0))), base)
        return
    from authz.supervisor.supervisor import Supervisor  # noqa: PLC0415 - see above

    configure_logging(config.log)
    asyncio.run(Supervisor(config, base, count).run())
