"""Transaction tokens: what started a call, whom for, and which workload asked; never who calls.

Source: draft-ietf-oauth-transaction-tokens, as of July 2026: `scope` (formerly `purp`) and `tctx` (formerly `azd`).
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.issuers import Algorithm, Lifetime
from authz.jose.jwk import KeySet
from authz.jose.jwt import (
    CompactToken,
    check_header,
    parse_compact_jwt,
    read_audiences,
    read_times,
    token_digest,
    verify_signature,
)
from authz.memo import Memo
from authz.model import CheckCall, Kind, Transaction, Value
from authz.spiffe import TrustDomain, parse_spiffe_id, require_workload

TOKEN_TYPE: Final = "txntoken+jwt"
_HEADERS: Final = frozenset({"alg", "kid", "typ"})
_FORMER: Final = frozenset({"azd", "purp", "purpose"})
"""Claims of older drafts: they restrict, and would not be heeded under these names."""
_NAME: Final = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
_SCOPE: Final = re.compile(r"(?=.{1,1024}\Z)[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")
"""Values with one space between them (RFC 6749 section 3.3)."""
_TASK: Final = re.compile(r"[!-~]{1,256}")
"""As the id of a grant's task."""


class TransactionIssuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A transaction token service."""

    issuer: Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]
    """The exact value of `iss`, which a token may leave out where one service alone is configured. A subject that is no
    SPIFFE ID has the ID `<issuer>#<sub>`."""
    jwks: Annotated[str, msgspec.Meta(min_length=1)]
    """Its JSON Web Key Set: a file, or an https:// URL; kept current as `[keys]` says."""
    audiences: tuple[str, ...] = ()
    """The names of the trust domain in `aud`, which holds one of them and nothing else; none: `identity.trust_domain`
    is its name."""
    algorithms: Annotated[tuple[Algorithm, ...], msgspec.Meta(min_length=1)] = ("RS256", "ES256")
    """The signature algorithms that it uses; any other is refused."""
    max_lifetime_seconds: Lifetime = 900.0
    """The longest time from issue to expiry."""
    subject_kind: Literal["workload", "agent", "human"] = "human"
    """What sort of party it vouches for in a `sub` that is no SPIFFE ID."""
    workloads: dict[str, str] = {}
    """The SPIFFE IDs of the workloads that it names otherwise in `req_wl`, as
    `"gateway.prod.example" = "spiffe://prod.example/ns/edge/sa/gateway"`. A name that stands neither here nor is a
    SPIFFE ID is refused."""


class TransactionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Transaction tokens in a request header. None is read until an issuer is set."""

    header: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]{1,64}\Z")] = "txn-token"
    """The name of the header, in lower case. It holds the token alone."""
    issuers: tuple[TransactionIssuer, ...] = ()
    """The services whose tokens are accepted."""
    max_token_bytes: Annotated[int, msgspec.Meta(ge=256, le=65_536)] = 8_192
    """The longest token that is read, in bytes."""
    trust_domains: tuple[str, ...] = ()
    """SPIFFE trust domains that the tokens' trust domain is made of, besides `identity.trust_domain`. A token is
    refused when who asked for it, who presents it, or anybody between them is of another one."""
    task: Literal["required", "told"] = "required"
    """What a token must say of the task of the grant that comes with it. "required": it names that very task, in `tctx`
    or, where that names none, by its `txn`. "told": a task that `tctx` names must be that one, but it may name none;
    the token of one transaction is then good for every task of those who have it."""
    task_member: Annotated[str, msgspec.Meta(max_length=64)] = "task"
    """The member of `tctx` that names the task. "": none does."""

    @property
    def active_header(self) -> str:
        """The name of the header that is read; "": none is."""
        return self.header if self.issuers else ""


class TransactionVerifier:
    """Accepts or refuses transaction tokens, for one set of keys. Not for use by several threads."""

    def __init__(
        self,
        settings: TransactionSettings,
        keys: Mapping[str, KeySet],
        trust_domains: frozenset[TrustDomain],
        leeway_seconds: float,
        max_memo_entries: int,
    ) -> None:
        """`keys`: by the name of the issuer.

        Raises:
            ConfigError: an issuer stands twice, or names a workload that is none.
        """
        self._settings = settings
        self._header = settings.active_header
        self._leeway = leeway_seconds
        self._domains = trust_domains
        self._keys = keys
        self._issuers: dict[str, TransactionIssuer] = {}
        for issuer in settings.issuers:
            where = f"delegation.transaction_tokens.issuers ({issuer.issuer})"
            if issuer.issuer in self._issuers or "#" in issuer.issuer:
                raise ConfigError(f"{where}: it is configured twice, or has a '#', which separates it from a subject")
            for name, text in issuer.workloads.items():
                try:
                    self._admitted(text)
                except Refusal as refusal:
                    raise ConfigError(f"{where}: workloads.{name!r}: {refusal.detail}") from None
            self._issuers[issuer.issuer] = issuer
        self._known: Memo[str, Transaction] = Memo(max_memo_entries)

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What sort of party each issuer vouches for."""
        return {name: Kind(issuer.subject_kind) for name, issuer in self._issuers.items()}

    def verify(self, call: CheckCall, now: float) -> Transaction | None:
        """What the call's token says, when it holds at `now`; None when there is no header.

        Cost: about 2 us for a token seen before, 60 to 250 us for a new one.

        Raises:
            Refusal: TOKEN_TOO_LARGE, TOKEN_MALFORMED, TOKEN_ALGORITHM, TOKEN_ISSUER_UNKNOWN, TOKEN_AUDIENCE,
                TOKEN_KEY_UNKNOWN, TOKEN_SIGNATURE, TOKEN_NOT_YET_VALID, TOKEN_EXPIRED, CREDENTIAL_TOO_LONG_LIVED,
                TOKEN_SUBJECT, TRUST_DOMAIN_NOT_ALLOWED.
        """
        text = call.headers.get(self._header) if self._header else None
        if text is None:
            return None
        if self._header in call.repeated_headers:
            raise _malformed("the header came more than once")
        if len(text) > self._settings.max_token_bytes:
            raise Refusal(Reason.TOKEN_TOO_LARGE, "transaction token: longer than max_token_bytes")
        digest = token_digest(text)
        found = self._known.get(digest)
        if found is None:
            found = self._read(parse_compact_jwt(text), digest)
            self._known.put(digest, found)
        # I4; written so that a NaN would be refused.
        if not now >= found.not_before - self._leeway:
            raise Refusal(Reason.TOKEN_NOT_YET_VALID, "transaction token")
        if not now <= found.not_after + self._leeway:
            raise Refusal(Reason.TOKEN_EXPIRED, "transaction token")
        return found

    def _read(self, token: CompactToken, digest: str) -> Transaction:
        issuer = self._issuer(token)
        check_header(token, issuer.algorithms)
        if not _HEADERS.issuperset(token.header) or token.header.get("typ") != TOKEN_TYPE:
            raise _malformed(f"its headers are alg, kid and typ, and 'typ' is {TOKEN_TYPE}")
        audiences = read_audiences(token)
        if len(audiences) != 1 or audiences.isdisjoint(issuer.audiences):
            raise Refusal(Reason.TOKEN_AUDIENCE, "transaction token: meant for another trust domain, or several")
        kid = token.header.get("kid")
        key = self._keys.get(issuer.issuer, KeySet()).find(kid) if isinstance(kid, str) else None
        if key is None:
            raise Refusal(Reason.TOKEN_KEY_UNKNOWN, "transaction token: 'kid' is absent, or names no key of the issuer")
        verify_signature(token, key)
        times = read_times(token)
        if times.issued is None:
            raise _malformed("no 'iat'")
        if times.expires - times.issued > issuer.max_lifetime_seconds:
            raise Refusal(Reason.CREDENTIAL_TOO_LONG_LIVED, "transaction token: beyond max_lifetime_seconds")
        if "cnf" in token.claims or not _FORMER.isdisjoint(token.claims):
            raise _malformed("it is bound to a key, or has claims of an older draft; neither is heeded here")
        transaction, context = _text(token, "txn", _NAME), _object(token, "tctx")
        return Transaction(
            id=transaction,
            issuer=issuer.issuer,
            fingerprint=digest,
            subject=self._subject(_text(token, "sub", _NAME), issuer),
            workload=self._workload(_text(token, "req_wl", _NAME), issuer),
            scope=_text(token, "scope", _SCOPE),
            not_before=times.validity.not_before,
            not_after=times.expires,
            issued=times.issued,
            context=context,
            request=_object(token, "rctx"),
            task=self._task(transaction, context),
        )

    def _issuer(self, token: CompactToken) -> TransactionIssuer:
        if "iss" not in token.claims and len(self._issuers) == 1:
            return next(iter(self._issuers.values()))
        issuer = self._issuers.get(token.issuer)
        if issuer is None:
            raise Refusal(Reason.TOKEN_ISSUER_UNKNOWN, "transaction token: of none of the configured issuers")
        return issuer

    def _task(self, transaction: str, context: Mapping[str, Value]) -> str:
        """The task that a token names: "" where it names none, and need not."""
        settings = self._settings
        if settings.task_member and settings.task_member in context:
            named = context[settings.task_member]
            if not isinstance(named, str) or _TASK.fullmatch(named) is None:
                raise _malformed("what names the task in 'tctx' is no id of one; see task_member")
            return named
        return transaction if settings.task == "required" else ""

    def _subject(self, text: str, issuer: TransactionIssuer) -> str:
        return self._admitted(text) if text.lower().startswith("spiffe:") else f"{issuer.issuer}#{text}"

    def _workload(self, text: str, issuer: TransactionIssuer) -> str:
        return issuer.workloads.get(text) or self._admitted(text)

    def _admitted(self, text: str) -> str:
        try:
            spiffe_id = require_workload(parse_spiffe_id(text))
        except Refusal as refusal:
            raise Refusal(Reason.TOKEN_SUBJECT, f"transaction token: {refusal.detail}") from None
        if spiffe_id.trust_domain not in self._domains:
            raise Refusal(Reason.TRUST_DOMAIN_NOT_ALLOWED, f"trust domain {spiffe_id.trust_domain}")
        return str(spiffe_id)


def _text(token: CompactToken, claim: str, form: "re.Pattern[str]") -> str:
    value = token.claims.get(claim)
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise _malformed(f"'{claim}' is absent, or not printable text of the length that it may have")
    return value


def _object(token: CompactToken, claim: str) -> Mapping[str, Value]:
    value = token.claims.get(claim, {})
    if not isinstance(value, Mapping):
        raise _malformed(f"'{claim}' is no object")
    return value


def _malformed(problem: str) -> Refusal:
    return Refusal(Reason.TOKEN_MALFORMED, f"transaction token: {problem}")
