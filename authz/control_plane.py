"""Puts the control plane together: the rim's second composition root, beside that of the data plane."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import structlog
from google.protobuf.descriptor import ServiceDescriptor

from authz.approvals.approval import Approval
from authz.config.settings import Config
from authz.console_plane import ConsoleNeeds, check_console, console_of
from authz.control.approvals import Approvals
from authz.control.authzen import Authzen, AuthzenParts
from authz.control.backing import Backing
from authz.control.caller import Caller, Callers
from authz.control.chains import Chains
from authz.control.changes import Changes
from authz.control.charter import Charter, CharterFiles
from authz.control.decisions import Decisions
from authz.control.desk import Desk, DeskParts
from authz.control.dispatch import action_of
from authz.control.faults import ControlError
from authz.control.fleet import Fleet
from authz.control.grants import Grants
from authz.control.humans import Humans
from authz.control.issuer import Issuer
from authz.control.keys import Keys
from authz.control.method import Method, Methods
from authz.control.oauth import OAuth
from authz.control.pending import PendingChanges
from authz.control.policies import Policies
from authz.control.reports import Reports
from authz.control.revocations import Revocations
from authz.control.server import ControlServer
from authz.control.set_receiver import SetReceiver
from authz.control.set_transmitter import SetTransmitter
from authz.control.tasks import Tasks
from authz.control.v1 import (
    approvals_pb2,
    chains_pb2,
    changes_pb2,
    decisions_pb2,
    fleet_pb2,
    grants_pb2,
    keys_pb2,
    policies_pb2,
    reports_pb2,
    revocations_pb2,
    tasks_pb2,
)
from authz.control.web import WebApp
from authz.control.web_server import WebServer
from authz.control.webhook import Webhook
from authz.data_plane_parts import DataPlaneParts
from authz.decision.standing import bounds_of
from authz.errors import AuthzError, ConfigError, Reason
from authz.explaining import policy_source, samples_of
from authz.keys import human_keys, signal_keys
from authz.model import Kind, Outcome, Subject
from authz.shared_state import SharedState
from authz.stores.holder import Reloader, SnapshotHolder, Source
from authz.transport.tls import read_material

_REFRESH_SECONDS = 10.0
"""Tokens of unknown keys have the keys read again at most so often: anybody can make such tokens."""
REPORT_EVERY = 5
"""A replica reports itself to the store at every so many heartbeats."""


def check_control(config: Config, base: Path) -> Charter | None:
    """Check what the control plane's configuration names, without serving; answer its policy, None where it is off.

    Raises:
        PolicyError: in its policy. ConfigError: in anything else.
    """
    settings = config.control
    if not settings.enabled:
        if config.console.enabled:
            check_console(config, Callers((), _nobody))
        return None
    check_policy_source(config)
    callers = Callers(settings.operators, _nobody, Humans(config.approvals, _nobody, 0.0))
    check_console(config, callers)
    if settings.tls is not None:
        read_material(settings.tls, time.time(), "control.tls")
    hook = config.approvals.webhook
    if hook.url or hook.url_file:
        Webhook(hook, None, base, str)  # type: ignore[arg-type]  # which nobody asks
    web = WebServer(settings.http, WebApp(settings.http, {}, _nobody)) if settings.http.listen else None
    ControlServer(settings, callers, None, {}, web)  # type: ignore[arg-type]  # which nobody asks
    return CharterFiles(settings.policy, base, callers.groups).build()


def check_policy_source(config: Config) -> None:
    """Pass when what is applied here replaces files, and nothing that others vouch for.

    Raises:
        ConfigError: it would replace a bundle or the rules of a database.
    """
    policy = config.policy
    if config.control.apply_policies and (policy.bundle is not None or policy.database is not None):
        raise ConfigError(
            "control.apply_policies: policies come from a bundle or a database here, and what was applied would stand "
            "in its place, unsigned and without the inventory and catalogue of a bundle: switch it off, or name files"
        )


def _nobody(*_: object) -> NoReturn:
    raise AuthzError("nobody is asked for: this only checks")


class NotRevoked:
    """Knows which callers are revoked."""

    def __init__(self, shared: SharedState) -> None:
        self._standing = shared.standing
        self._view = shared.view

    def refuses(self, caller: Caller, now: float) -> Reason | None:
        """Answer why this caller may not act at all; None when nothing speaks against it."""
        human = caller.human
        if human is not None:
            behind = Subject(id=human.id, kind=Kind.HUMAN, token=human.token)
            if (revoked := self._view.revocations.revocation(behind, None, now)) is not None:
                return revoked
        reason = self._standing.refusal(caller.subject, None, now)
        if caller.operator and reason in {Reason.BREAK_GLASS, Reason.STATE_STALE}:
            # Somebody has to be able to end it, but nobody who is revoked.
            return self._view.revocations.revocation(caller.subject, None, now)
        return reason


def _humans(parts: DataPlaneParts) -> Humans:
    """Answer who proves humans; a token of a key that is not known has the keys read again, now and then."""
    composition = parts.composition
    asked_at = -_REFRESH_SECONDS

    def key_unknown() -> None:
        nonlocal asked_at
        now = time.monotonic()
        if now - asked_at >= _REFRESH_SECONDS:
            asked_at = now
            parts.refresh_keys()

    return Humans(
        composition.config.approvals,
        lambda issuer: human_keys(issuer, composition.keys),
        composition.config.identity.clock_leeway_seconds,
        key_unknown,
    )


def _death_of(shared: SharedState) -> Callable[[Approval], str]:
    """Answer what tells why nothing can come of a request: who asks, or whom they act for, is revoked."""

    def dead(approval: Approval) -> str:
        principal = approval.principal
        domain = principal.removeprefix("spiffe://").partition("/")[0] if principal.startswith("spiffe://") else ""
        chain = tuple(map(str, approval.facts.get("chain", ())))
        subject = Subject(id=principal, trust_domain=domain, hops=chain)
        reason = shared.view.revocations.revocation(subject, None, time.time())
        return f"who asks, or one they act for, is revoked ({reason.value})" if reason is not None else ""

    return dead


def _services(parts: DataPlaneParts, desk: Desk, callers: Callers) -> dict[ServiceDescriptor, Methods]:
    composition, shared = parts.composition, parts.shared
    config = composition.config
    settings = config.control
    backing = Backing(settings=settings, store=shared.store, settle=shared.settle, clock=time.time)
    # What no request could use is not given out.
    depth = min(config.grants.max_delegations, config.delegation.max_depth)
    issuer = Issuer(
        msgspec.structs.replace(config.grants, max_delegations=depth),
        shared.store,
        shared.ring,
        shared.standing,
        time.time,
    )

    def dry_run(message: bytes) -> tuple[Outcome, bytes]:
        return composition.dry_run(parts.holder, message, time.time(), parts.shared.standing)

    def prove_actor(caller: Caller, token: str) -> Caller:
        return callers.with_token(caller, token, time.time())

    store = config.store
    humans_word = Approvals(backing, config.approvals, _death_of(shared))
    services = {
        _service(approvals_pb2, "Approvals"): humans_word.methods,
        _service(grants_pb2, "Grants"): Grants(backing, issuer, prove_actor).methods,
        _service(revocations_pb2, "Revocations"): Revocations(backing).methods,
        _service(policies_pb2, "Policies"): Policies(
            settings, policy_source(composition, parts.holder, shared.standing), shared.store, shared.settle
        ).methods,
        _service(decisions_pb2, "Decisions"): Decisions(
            samples_of(config, parts.holder, parts.decisions), dry_run, shared.settle
        ).methods,
        _service(chains_pb2, "Chains"): Chains(backing).methods,
        _service(tasks_pb2, "Tasks"): Tasks(backing).methods,
        _service(keys_pb2, "Keys"): Keys(backing, shared.ring).methods,
        _service(fleet_pb2, "Fleet"): Fleet(
            backing, store.max_staleness_seconds, REPORT_EVERY * store.heartbeat_seconds
        ).methods,
    }
    services[_service(reports_pb2, "Reports")] = Reports(
        backing, composition.sharing, lambda: parts.holder.current.resolver
    ).methods
    waiting = {
        action_of(service.name, name): method
        for service, methods in services.items()
        for name, method in methods.items()
        if isinstance(method, Method) and method.can_wait
    }
    services[_service(changes_pb2, "Changes")] = Changes(settings, desk, waiting).methods
    return services


def _web(
    parts: DataPlaneParts, desk: Desk, callers: Callers, services: Mapping[ServiceDescriptor, Methods]
) -> WebServer:
    composition, shared = parts.composition, parts.shared
    config = composition.config
    settings = config.control.http

    def url() -> str:
        return settings.public_url or f"https://{server.address}"

    oauth = OAuth(desk, _unary(services, grants_pb2, "Grants", "Exchange"), config.grants.issuer, shared.ring.jwks, url)
    authzen = Authzen(
        AuthzenParts(
            desk=desk,
            records=parts.trail,
            standing=shared.standing,
            bounds=bounds_of(config.freshness),
            sharing=composition.sharing,
            snapshot=lambda: parts.holder.current,
            clock=time.time,
            monotonic=time.monotonic,
            new_id=composition.new_decision_id,
            url=url,
            max_evaluations=settings.max_evaluations,
            body_limits=config.actions.limits.json,
            timeout_seconds=config.server.overload.max_deadline_seconds,
            no_record_no_allow=config.audit.on_failure == "deny",
        )
    )
    routes = {**(oauth.routes if config.grants.enabled else {}), **authzen.routes}
    signals = config.control.signals
    if signals.issuers:
        receiver = SetReceiver(
            desk,
            _unary(services, revocations_pb2, "Revocations", "Create"),
            signals.issuers,
            keys=lambda issuer: signal_keys(issuer, composition.keys),
            grant_issuer=config.grants.issuer,
            clock=time.time,
        )
        routes |= receiver.routes
    app = WebApp(settings, routes, lambda pem: callers.by_certificate(pem, time.time()), desk)
    server = WebServer(settings, app)
    return server


def _unary(services: Mapping[ServiceDescriptor, Methods], module: Any, service: str, name: str) -> Method[Any]:
    found = services[_service(module, service)][name]
    if not isinstance(found, Method):
        raise TypeError(f"{name} answers more than once")
    return found


def _service(module: Any, name: str) -> ServiceDescriptor:
    found: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return found


def _transmitters(base: Path, parts: DataPlaneParts) -> list[SetTransmitter]:
    config, shared = parts.composition.config, parts.shared
    signals = config.control.signals
    if signals.receivers and not config.grants.enabled:
        raise ConfigError("control.signals.receivers: set grants.issuer, in whose name events are signed")
    return [
        SetTransmitter(
            receiver,
            signals,
            shared.store,
            issuer=config.grants.issuer,
            key=lambda: shared.ring.signing,
            state_directory=base / config.store.state_directory,
            base=base,
        )
        for receiver in signals.receivers
    ]


def _webhooks(base: Path, parts: DataPlaneParts) -> list[Webhook]:
    settings, shared = parts.composition.config.approvals, parts.shared
    if shared.approvals is None or not (settings.webhook.url or settings.webhook.url_file):
        return []
    return [Webhook(settings.webhook, shared.store, base, shared.approvals.url)]


@contextlib.asynccontextmanager
async def control_plane(base: Path, parts: DataPlaneParts) -> AsyncIterator[ControlServer]:
    """Serve the control plane for the length of a block.

    Raises:
        AuthzError: it cannot start, and why.
    """
    composition = parts.composition
    config = composition.config
    settings = config.control
    callers = Callers(settings.operators, lambda: parts.holder.current.resolver, _humans(parts))
    check_console(config, callers)
    files = CharterFiles(settings.policy, base, callers.groups)
    source = Source(files.build, files.watched, config.reload)
    charters = SnapshotHolder[Charter](await asyncio.to_thread(source.build))
    desk = Desk(
        DeskParts(
            charters=charters,
            records=parts.trail,
            standing=NotRevoked(parts.shared),
            pending=PendingChanges(settings.changes, parts.shared.store, callers, time.time),
            clock=time.time,
            monotonic=time.monotonic,
            new_id=composition.new_decision_id,
            no_record_no_act=config.audit.on_failure == "deny",
        )
    )
    services = _services(parts, desk, callers)
    web = _web(parts, desk, callers, services) if settings.http.listen else None
    console = console_of(config, base, parts.shared.view, ConsoleNeeds(desk, callers, services))
    server = ControlServer(settings, callers, desk, services, web)
    log = structlog.get_logger("authz.control")
    reloader = Reloader(
        charters,
        source,
        config.reload,
        lambda charter: log.info("a new control policy is in force", version=charter.version),
        lambda problem: log.error("the changed control policy is refused", problem=problem),
    )
    if parts.shared.issues:
        await parts.shared.ring.ensure()
        with contextlib.suppress(ControlError):  # whoever is not there yet reads the keys when it comes up
            await parts.shared.settle()
    tellers: list[SetTransmitter | Webhook] = [*_transmitters(base, parts), *_webhooks(base, parts)]
    if (settings.signals.issuers or settings.signals.receivers) and not settings.http.listen:
        raise ConfigError("control.signals: configure control.http.listen, where events come in and keys are served")
    watching = [asyncio.create_task(reloader.run()), *(asyncio.create_task(each.run()) for each in tellers)]
    try:
        await server.start()
        log.info("control plane listening", addresses=server.addresses)
        if console is not None:
            await console.run()
            log.info("console listening", address=console.address)
            server.console_address = console.address
        yield server
    finally:
        for task in watching:
            task.cancel()
        if console is not None:
            await console.stop()
        await server.stop()
