"""How commands reach a server's control plane, and how they show what it answers."""

import asyncio
import contextlib
import functools
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import click
import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from authz.client import CallFailedError, Connection, connect
from authz.errors import AuthzError

DEFAULT_SERVER = "unix:/run/authz/control.sock"
_DENIED = 1


class Orders:
    """A server to give orders to, and how its answers are shown."""

    def __init__(self, target: str, files: dict[str, str], timeout: float, *, as_json: bool) -> None:
        self._target = target
        self._files = files
        self._timeout = timeout
        self.as_json = as_json

    def run(self, work: Callable[[Connection], Coroutine[Any, Any, None]], bearer: str = "") -> None:
        """Connect and work; `bearer`: the token of the human who speaks.

        Raises:
            AuthzError: it could not be done. click.exceptions.Exit: it was denied.
        """

        async def connected() -> None:
            async with connect(self._target, **self._files, timeout_seconds=self._timeout, bearer=bearer) as connection:
                await work(connection)

        try:
            asyncio.run(connected())
        except CallFailedError as error:
            _tell(error)
        except ValueError as error:
            raise AuthzError(f"{self._target}: {error}; give --cert, --key and --ca") from None
        except OSError as error:
            raise AuthzError(f"{error.filename}: {error.strerror}") from None

    def show(self, message: Message, text: str) -> None:
        """Print an answer: whole for programs, `text` for people."""
        click.echo(json.dumps(as_dict(message), indent=2) if self.as_json else text)


def _tell(error: CallFailedError) -> None:
    """Say why a call failed, and end: 1 when it was denied or has to wait, 2 when it could not be done."""
    reason = f"{error.reason}: " if error.reason else ""
    if error.reason == "SECOND_PERSON_REQUIRED":
        change, group = error.metadata.get("change_id", ""), error.metadata.get("group", "")
        click.echo(f"authz: change {change} waits for a second person, of the group {group}:", err=True)
        click.echo(f"    authz change confirm {change}", err=True)
        raise click.exceptions.Exit(_DENIED)
    if error.code is grpc.StatusCode.PERMISSION_DENIED:
        decision = error.metadata.get("decision_id", "")
        click.echo(f"authz: {reason}{error.message}" + (f" (decision {decision})" if decision else ""), err=True)
        raise click.exceptions.Exit(_DENIED)
    raise AuthzError(f"{reason}{error.message}")


def orders_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which server, and `orders` as its first argument."""

    @functools.wraps(command)
    def wrapped(  # noqa: PLR0913 - click hands over each by name
        *,
        server: str,
        cert: str,
        key: str,
        ca: str,
        server_name: str,
        timeout: float,
        as_json: bool,
        **rest: Any,
    ) -> None:
        files = {"certificate": cert, "key": key, "ca": ca, "server_name": server_name}
        command(Orders(server, files, timeout, as_json=as_json), **rest)

    def option(name: str, variable: str, text: str, default: str = "") -> None:
        nonlocal wrapped
        wrapped = click.option(name, envvar=variable, default=default, help=f"{text}; also {variable}.")(wrapped)

    wrapped = click.option("--json", "as_json", is_flag=True, help="For programs.")(wrapped)
    wrapped = click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for an answer.")(wrapped)
    option("--server-name", "AUTHZ_CONTROL_SERVER_NAME", "The name in the server's certificate, if not the host")
    option("--ca", "AUTHZ_CONTROL_CA", "TLS: PEM file of the authorities of the server's certificate")
    option("--key", "AUTHZ_CONTROL_KEY", "TLS: PEM file of your private key")
    option("--cert", "AUTHZ_CONTROL_CERT", "TLS: PEM file of your certificate and its chain")
    option("--server", "AUTHZ_CONTROL", "The control plane: unix:/path or host:port", DEFAULT_SERVER)
    return wrapped


def as_dict(message: Message) -> dict[str, Any]:
    """Answer a message as JSON shows it."""
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Answer a table as text: columns as wide as they must be."""
    if not rows:
        return "none"
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def moment(message: Any, field: str) -> str:
    """Answer a time of a message in RFC 3339; "-" when it has none."""
    with contextlib.suppress(ValueError):
        if message.HasField(field):
            return str(getattr(message, field).ToJsonString())
    return "-"


def enum(message: Any, field: str, prefix: str) -> str:
    """Answer an enumeration's value as a word."""
    number = getattr(message, field)
    name: str = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[number].name
    return name.removeprefix(prefix).lower().replace("_", "-")
