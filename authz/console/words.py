"""Times and numbers, as people read them."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from markupsafe import Markup

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def when(moment: Timestamp) -> Markup:
    """Answer a moment, in UTC."""
    if not moment.seconds:
        return Markup("never")
    time = datetime.fromtimestamp(moment.seconds, UTC)
    return Markup('<time datetime="{:%Y-%m-%dT%H:%M:%SZ}">{:%Y-%m-%d %H:%M:%S} UTC</time>').format(time, time)


def span(seconds: float) -> str:
    """Answer a length of time in its greatest unit: "3 h"."""
    for name, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return "0 s"


def distance(moment: Timestamp, now: float) -> str:
    """Answer how far off a moment is: "in 3 h", "5 min ago"."""
    if not moment.seconds:
        return ""
    ahead = moment.seconds - now
    return f"in {span(ahead)}" if ahead > 0 else f"{span(-ahead)} ago"
