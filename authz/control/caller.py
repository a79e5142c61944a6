"""Who calls the control plane: the peer of mutual TLS, or the user at the other end of a Unix socket (I5)."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol
from urllib.parse import quote

import msgspec

from authz.approvals.human import Human
from authz.control.faults import Code, ControlError
from authz.control.humans import Humans
from authz.control.settings import OperatorSettings
from authz.errors import ConfigError, Refusal
from authz.model import CheckCall, Kind, Subject
from authz.spiffe import parse_spiffe_id, require_workload


class Caller(msgspec.Struct, frozen=True):
    """Who calls, as policies and records know it."""

    subject: Subject
    transport: str
    """ "unix", "tls" or "console"."""
    operator: str = ""
    """The operator's name; "" for a workload. One person has one, however they connect."""
    groups: tuple[str, ...] = ()
    pem: str = ""
    """The certificate itself; "" without."""
    human: Human | None = None
    """The human who brings their word with this call, proved by an OpenID provider; never by the tool's credential."""
    unproved: str = ""
    """Why the proof that came with the call proves nobody; "": it does, or none came."""

    @property
    def name(self) -> str:
        """What records and second persons go by: `operator:<name>`, or the workload's SPIFFE ID."""
        return f"operator:{self.operator}" if self.operator else self.subject.id

    @property
    def certificate(self) -> str:
        """The SHA-256 of the certificate on which the call is made, in lower-case hex; "" when there is none."""
        credential = self.subject.credential
        return credential.fingerprint if credential is not None else ""


class Identify(Protocol):
    """Resolves who a proven certificate belongs to; the snapshot's resolver does."""

    def identify(self, call: CheckCall, now: float) -> Subject:
        """Answer the subject, or raise Refusal."""


class Callers:
    """Resolves callers, for one list of operators."""

    def __init__(
        self, operators: Iterable[OperatorSettings], resolver: Callable[[], Identify], humans: Humans | None = None
    ) -> None:
        """`resolver` answers the one in force, with the keys and the inventory of the moment.

        `humans` proves who decides what waits for a human.

        Raises:
            ConfigError: an operator that nothing identifies, or two that could be taken for each other.
        """
        self._resolver = resolver
        self._humans = humans
        self._by_uid: dict[int, OperatorSettings] = {}
        self._by_id: dict[str, OperatorSettings] = {}
        self._by_person: dict[str, OperatorSettings] = {}
        self.signed_in: Callable[[str], Caller | None] = lambda _: None
        """Answers a human who is signed in to the console, by their name, as they are known now."""
        self.groups: frozenset[str] = frozenset()
        names: set[str] = set()
        for operator in operators:
            if operator.name in names:
                raise ConfigError(f"control.operators: {operator.name!r} stands twice")
            names.add(operator.name)
            self._register(operator)

    def _register(self, operator: OperatorSettings) -> None:
        where = f"control.operators: {operator.name!r}"
        if operator.uid is None and not operator.spiffe_id and not operator.oidc_subject:
            raise ConfigError(f"{where}: give a uid, a spiffe_id, an oidc_subject, or several")
        if operator.uid is not None and self._by_uid.setdefault(operator.uid, operator) is not operator:
            raise ConfigError(f"{where}: uid {operator.uid} is {self._by_uid[operator.uid].name!r}, too")
        if operator.spiffe_id:
            try:
                spiffe_id = str(require_workload(parse_spiffe_id(operator.spiffe_id)))
            except Refusal as refusal:
                raise ConfigError(f"{where}: spiffe_id {operator.spiffe_id!r}: {refusal.detail}") from None
            if self._by_id.setdefault(spiffe_id, operator) is not operator:
                raise ConfigError(f"{where}: {spiffe_id} is {self._by_id[spiffe_id].name!r}, too")
        if operator.oidc_subject and self._by_person.setdefault(operator.oidc_subject, operator) is not operator:
            raise ConfigError(f"{where}: oidc_subject is {self._by_person[operator.oidc_subject].name!r}, too")
        self.groups |= frozenset(operator.groups)

    def by_uid(self, uid: int) -> Caller:
        """The operator behind a Unix socket.

        Raises:
            ControlError: this user is none.
        """
        operator = self._by_uid.get(uid)
        if operator is None:
            raise ControlError(
                Code.UNAUTHENTICATED,
                "OPERATOR_UNKNOWN",
                f"user {uid} is not an operator of this server: add an entry to control.operators",
                metadata={"uid": str(uid)},
            )
        subject = Subject(id=f"operator:{operator.name}", kind=Kind.HUMAN, sources=("unix",))
        return Caller(subject, "unix", operator.name, operator.groups)

    def name_of(self, issuer: str, subject: str) -> str:
        """The name of a human who signed in: that of the operator, or one that no operator can have."""
        operator = self._by_person.get(subject)
        return operator.name if operator is not None else f"{issuer}#{subject}"

    def by_certificate(self, pem: str, now: float) -> Caller:
        """The holder of a certificate that the TLS layer has verified.

        Raises:
            ControlError: it is not one that would be accepted of a caller through the proxy.
        """
        subject = self._identify(CheckCall(layer="http", certificate=quote(pem, safe="")), now)
        if not pem or subject.kind is Kind.ANONYMOUS:
            raise ControlError(Code.UNAUTHENTICATED, "IDENTITY_MISSING", "no verified identity")
        operator = self._by_id.get(subject.id)
        if operator is None:
            return Caller(subject, "tls", pem=pem)
        # Configuration says that a human holds this identity; no inventory entry can (I8).
        return Caller(msgspec.structs.replace(subject, kind=Kind.HUMAN), "tls", operator.name, operator.groups, pem)

    def again(self, came: Mapping[str, str], now: float) -> Caller:
        """Who once came so, as they would be known now; `came` has `transport`, `operator` and `certificate`.

        Raises:
            ControlError: nobody would be.
        """
        if came.get("certificate"):
            return self.by_certificate(came["certificate"], now)
        if came.get("transport") == "console":
            found = self.signed_in(came.get("operator", ""))
            if found is None:
                raise ControlError(Code.UNAUTHENTICATED, "SIGNED_OUT", "not signed in to the console any more")
            return found
        for uid, operator in self._by_uid.items():
            if operator.name == came.get("operator"):
                return self.by_uid(uid)
        raise ControlError(Code.UNAUTHENTICATED, "OPERATOR_UNKNOWN", "not an operator of this server")

    def with_human(self, caller: Caller, authorization: Collection[str], now: float) -> Caller:
        """The caller with the human whose token came along in `authorization`; it is not said here if one is needed."""
        if self._humans is None or not authorization:
            return caller
        try:
            human = self._humans.prove(authorization, caller.certificate, now)
        except Refusal as refusal:
            return msgspec.structs.replace(caller, unproved=f"{refusal.reason.value}: {refusal.detail}")
        return msgspec.structs.replace(caller, human=human)

    def with_token(self, caller: Caller, token: str, now: float) -> Caller:
        """The caller, once a token that they brought is verified as one of theirs.

        Raises:
            ControlError: it is none, is another's, or nothing here accepts such tokens.
        """
        headers = {"authorization": f"Bearer {token}"}
        call = CheckCall(layer="http", certificate=quote(caller.pem, safe=""), headers=headers)
        subject = self._identify(call, now)
        if subject.id != caller.subject.id or subject.token is None:
            raise ControlError(Code.INVALID_ARGUMENT, "ACTOR_TOKEN", "the actor token is not one of the caller's")
        return msgspec.structs.replace(caller, subject=msgspec.structs.replace(subject, kind=caller.subject.kind))

    def _identify(self, call: CheckCall, now: float) -> Subject:
        try:
            return self._resolver().identify(call, now)
        except Refusal as refusal:
            raise ControlError(Code.UNAUTHENTICATED, refusal.reason.name, refusal.reason.summary) from None
