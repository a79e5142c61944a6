"""Structured logs: one JSON object a line (or, on a terminal, text for people) on stderr, without secrets (I10).

The standard library's loggers (grpc, asyncio, h2corn's callers, warnings) go the same way.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Annotated, Any, Final, Literal, TextIO

import msgspec
import structlog
from msgspec import Meta

MASK: Final = "[removed]"

_SECRET_KEYS: Final = frozenset(
    {
        "assertion", "authorization", "bearer", "body", "certificate", "client_secret", "cookie", "credential",
        "credentials", "header", "headers", "jwt", "key", "passwd", "passphrase", "password", "pem", "private_key",
        "proxy_authorization", "query", "raw_body", "secret", "set_cookie", "signature", "token",
        "x_forwarded_client_cert", "xfcc",
    }
)  # fmt: skip
_SECRET_ENDINGS: Final = ("_token", "_secret", "_password", "_passwd", "_key", "_jwt", "_cookie", "_credential")
_SECRET_TEXT: Final = re.compile(
    r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"  # a JWT, signed or cut
    r"|(?i:bearer|basic)[ +]+[A-Za-z0-9._~+/=-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_MAX_DEPTH: Final = 5

Event = MutableMapping[str, Any]


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is worth a line."""
    format: Literal["auto", "json", "console"] = "auto"
    """JSON lines, or text for people; "auto" takes text when stderr is a terminal."""
    max_value_characters: Annotated[int, Meta(ge=64, le=65536)] = 4096
    """Longer text in one field is cut."""


def resolve_format(settings: LogSettings, stream: TextIO) -> Literal["json", "console"]:
    """Answer the format that will be used on `stream`."""
    if settings.format != "auto":
        return settings.format
    return "console" if stream.isatty() else "json"


def configure_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (stderr) in one format. May be called again."""
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    console = resolve_format(settings, stream) == "console"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # As text, never as a dictionary: that one holds the local variables of every frame.
        structlog.processors.format_exc_info,
        Redactor(settings.max_value_characters),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(serializer=_to_json)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=True)


class Redactor:
    """Takes out of an event what is, or looks like, a secret; configuration cannot switch it off."""

    def __init__(self, max_characters: int) -> None:
        """Cut text after `max_characters`."""
        self._max_characters = max_characters

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """Answer the event that may be written."""
        return {
            key: value if key.startswith("_") else self._clean(key, value, _MAX_DEPTH) for key, value in event.items()
        }

    def _clean(self, key: str, value: object, depth: int) -> object:
        if _is_secret(key) and value not in (None, ""):
            return MASK
        if isinstance(value, str):
            return self._clean_text(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"[{len(value)} bytes]"
        if isinstance(value, (int, float, type(None))):
            return value
        if not depth:
            return MASK
        if isinstance(value, Mapping):
            return {str(name): self._clean(str(name), item, depth - 1) for name, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._clean("", item, depth - 1) for item in value]
        return self._clean_text(str(value))

    def _clean_text(self, text: str) -> str:
        cut = text[: self._max_characters]
        clean = _SECRET_TEXT.sub(MASK, cut)
        return clean if len(cut) == len(text) else clean + "..."


def _is_secret(key: str) -> bool:
    name = key.lower().replace("-", "_")
    return name in _SECRET_KEYS or name.endswith(_SECRET_ENDINGS)


def _to_json(event: object, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
