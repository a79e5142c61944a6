"""What every listener serves, whatever its transport."""

from dataclasses import dataclass

from authz.transport.admission import Admission
from authz.transport.answer import Answerer
from authz.transport.callers import AllowedCallers
from authz.transport.health import Health


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that all listeners and generations share."""

    answerer: Answerer
    admission: Admission
    health: Health
    callers: AllowedCallers | None
    """None: whoever the TLS layer let in may ask."""
    max_message_bytes: int
