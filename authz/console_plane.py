"""Puts the web console together with the control plane that it shows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from google.protobuf.descriptor import ServiceDescriptor

from authz.config.settings import Config
from authz.control.caller import Callers
from authz.control.desk import Desk
from authz.control.method import Methods
from authz.errors import ConfigError, Reason
from authz.model import Subject
from authz.stores.shared_view import SharedView


class Console(Protocol):
    """A console that can be served."""

    @property
    def address(self) -> str:
        """Where it listens."""

    async def run(self) -> None:
        """Begin to serve, or raise ConfigError."""

    async def stop(self) -> None:
        """End."""


@dataclass(frozen=True, slots=True)
class ConsoleNeeds:
    """What the console has to do with the control plane."""

    desk: Desk
    callers: Callers
    services: Mapping[ServiceDescriptor, Methods]


def console_of(config: Config, base: Path, view: SharedView, needs: ConsoleNeeds) -> Console | None:
    """Answer the console, ready to serve; None where there is none.

    Raises:
        ConfigError: its address is none.
    """
    if not config.console.enabled:
        return None
    from authz.console.opening import console  # noqa: PLC0415 - its packages are an extra

    def lockdown_on() -> bool:
        return view.revocations.refusal(Subject(), None, time.time()) is Reason.BREAK_GLASS

    return console(
        config.console,
        base,
        desk=needs.desk,
        services=needs.services,
        callers=needs.callers,
        approvers=config.approvals.groups,
        person_claim=person_claim_of(config),
        lockdown_on=lockdown_on,
        clock=time.time,
    )


def load_console(config: Config) -> None:
    """Import the console where it is on, so that showing it later holds up nothing.

    Raises:
        ConfigError: it is not installed.
    """
    if not config.console.enabled:
        return
    try:
        import authz.console.opening  # noqa: F401, PLC0415 - its packages are an extra
    except ImportError as error:
        raise ConfigError(f"console.enabled: {error.name} is not installed: pip install 'nhi-authz[console]'") from None


def person_claim_of(config: Config) -> str:
    """The claim that tells people apart at the console's provider, as the control API reads it."""
    found = [each for each in config.approvals.issuers if each.issuer == config.console.oidc.issuer]
    return found[0].person_claim if found else "sub"


def check_console(config: Config, callers: Callers) -> None:
    """Pass when the console's configuration can be served.

    Raises:
        ConfigError: it cannot, and why.
    """
    settings = config.console
    if not settings.enabled:
        return
    if not config.control.enabled:
        raise ConfigError("console.enabled: it shows and orders what [control] does: set control.enabled = true")
    load_console(config)
    from authz.console.server import check_listener  # noqa: PLC0415 - its packages are an extra

    check_listener(settings)
    unsaid = sorted(operator.name for operator in config.control.operators if operator.oidc_subject is None)
    if unsaid:
        raise ConfigError(
            f"control.operators: {unsaid[0]!r}: set oidc_subject to the user's `sub` at the console's provider, or to "
            '"" for none: who has two names could be the second person of themselves'
        )
    callers.groups |= frozenset(group for member in settings.oidc.members for group in member.groups)
