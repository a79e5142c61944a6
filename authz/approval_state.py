"""What humans have said, as one process has it: asked for on the path of a request, kept in the shared store."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, quote

import msgspec

from authz.approvals.approval import Approval
from authz.approvals.eligibility import NAME_CHARS
from authz.approvals.facts import Beyond, Facts, Shower, Shown
from authz.approvals.settings import ApprovalSettings
from authz.approvals.view import ApprovalView
from authz.audit.redact import masked, masked_path, name_is_secret, plain
from authz.budgets.visit import NoRoom
from authz.decision.approving import Wanted
from authz.decision.due import Due
from authz.decision.pending import Held
from authz.errors import Reason, Refusal
from authz.jose.decoding import decode_json_object
from authz.memo import Memo
from authz.model import CheckCall, Obligations, RuleRef, Value
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Engine
from authz.policy.obligations import APPROVAL
from authz.stores.database.approving import Ask, Asked, Limits
from authz.stores.database.errors import StoreError
from authz.stores.database.records import Change
from authz.stores.database.settling import Settle, Settled
from authz.stores.database.spending import Spend, wanted_of
from authz.stores.database.store import Store
from authz.stores.database.using import Use

_ID_BYTES: Final = 18
_TEXT_CHARS: Final = 512
_MAX_QUERY: Final = 32
_MAX_PARTIES: Final = 32
_REMEMBERED: Final = 4_096
_REFUSED_SECONDS: Final = 5.0
_MAX_SHOWN_BODY: Final = 262_144
"""Larger bodies are not taken apart to be shown: the digest covers them, and the card says that they are not shown."""


class AskingRules:
    """Tells which rule asks for a human's word, where it is another than the one that decided."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._seen: Engine | None = None
        self._rules: list[tuple[RuleRef, str]] = []

    def find(self, rule: RuleRef | None, obligations: Obligations) -> RuleRef | None:
        """The rule that asks, as far as the obligations tell: they are those of all rules that allow."""
        engine = self._engine()
        if engine is not self._seen:  # a walk through all rules, once for each policy
            known = engine.obligations if isinstance(engine, CompiledEngine) else ()
            self._rules = [(each, value) for each, (name, value) in known if name == APPROVAL]
            self._seen = engine
        wanted = {value for name, value in obligations if name == APPROVAL}
        asking = [each for each, value in self._rules if value in wanted]
        return rule if rule in asking or len(asking) != 1 else asking[0]


RuleOf = Callable[[RuleRef | None, Obligations], RuleRef | None]


class ApprovalState:
    """Answers the decision's questions, and follows what becomes of approvals elsewhere."""

    def __init__(
        self,
        settings: ApprovalSettings,
        store: Store,
        clock: Callable[[], float],
        rule_of: RuleOf = lambda rule, _: rule,
    ) -> None:
        """`rule_of`: which rule asks, of the one that decided and all that is demanded."""
        self.view = ApprovalView(settings.max_open_per_principal)
        self.rule_of = rule_of
        self._settings = settings
        self._store = store
        self._clock = clock
        self._shower = Shower(masked, name_is_secret, settings.mask_arguments)
        self._refused: Memo[str, tuple[str, float]] = Memo(_REMEMBERED)
        """Principals of whom the store opened no further request: why, and until when that is taken to be so."""
        self._limits = Limits(settings.max_open_per_principal, settings.max_opened_per_hour, settings.max_open)

    async def load(self) -> None:
        """Read all that is not over.

        Raises:
            StoreError: it cannot be read.
        """
        self.view.replace(await self._store.known_approvals())

    async def take(self, changes: Sequence[Change]) -> None:
        """Take up changes of the store; none: everything may have changed."""
        if not changes:
            await self.load()
            return
        for change in changes:
            if change.kind.startswith("approval_"):
                self.view.take(change.about, change.data)

    def find(self, wanted: Wanted, now: float) -> Held | None:
        """Answer why a call must not pass, as far as that is known here; an approval that is known is for the store."""
        known = self.view.find(wanted.digest, now)
        if known is None:
            return self._no_room(wanted.subject.id, now)
        if known.state == "approved":
            return None
        return self._waits(known.id, known.state, known.expires_at, wanted)

    async def settle(self, due: Due, wanted: Wanted | None) -> Held:
        """As `Approvals.settle`."""
        ask = Ask(self._request(wanted), due.decision_id, self._limits) if wanted is not None else None
        try:
            settled = await self._settled(due, ask)
        except StoreError:
            raise Refusal(Reason.STATE_UNAVAILABLE, "what the call rests on could not be counted") from None
        spent = settled.spent
        if spent.refused >= 0:
            raise due.refused(NoRoom(spent.refused, spent.gone, spent.used))
        if settled.used_up:
            return Held(Reason.GRANT_USED_UP)
        if settled.asked is None or wanted is None:
            return Held(Reason.ALLOWED)
        if settled.asked.approval is None:
            # A flood of such is not to reach the store, which all approvals wait for.
            self._refused.put(wanted.subject.id, (settled.asked.answer, wanted.outcome.time + _REFUSED_SECONDS))
        return self._came_to(settled.asked, wanted)

    async def _settled(self, due: Due, ask: Ask | None) -> Settled:
        if ask is not None and not due.grant_id and not due.demands:
            return Settled(asked=await self._store.ask(ask))  # many of these go in one statement
        demands = tuple(wanted_of(each, over=at in due.beyond) for at, each in enumerate(due.demands))
        return await self._store.settle(
            Settle(
                spend=Spend(demands) if demands else None,
                use=Use(due.grant_id, due.decision_id) if due.grant_id else None,
                ask=ask,
            )
        )

    def _no_room(self, principal: str, now: float) -> Held | None:
        """Answer why no further request of a principal would be opened, where that is known."""
        if self.view.full(principal, now):
            return self._held("principal_full")
        answer, until = self._refused.get(principal) or ("", 0.0)
        return self._held(answer) if now < until <= now + _REFUSED_SECONDS else None  # not after a clock was set back

    def _came_to(self, asked: Asked, wanted: Wanted) -> Held:
        found = asked.approval
        if found is None:
            return self._held(asked.answer)
        if asked.answer == "passed":
            return Held(Reason.ALLOWED, _about(found.id, wanted))
        return self._waits(found.id, found.state, found.expires_at, wanted)

    def _held(self, answer: str) -> Held:
        settings = self._settings
        why = {
            "principal_full": f"approvals.max_open_per_principal ({settings.max_open_per_principal}) wait",
            "too_often": f"approvals.max_opened_per_hour ({settings.max_opened_per_hour}) were opened",
            "full": f"approvals.max_open ({settings.max_open}) wait",
        }
        return Held(Reason.APPROVAL_LIMIT, why[answer])

    def _waits(self, approval_id: str, state: str, expires_at: float, wanted: Wanted) -> Held:
        # Named as in AuthZEN's access request and approval profile, where that has a name for it.
        told: dict[str, object] = {"id": approval_id, "state": state, "mode": "reevaluate"}
        if url := self.url(approval_id):
            told["form_url"] = url
        told["expires_at"] = datetime.fromtimestamp(int(expires_at), UTC).isoformat().replace("+00:00", "Z")
        rejected = state == "rejected"
        told["next_action"] = "none" if rejected else "retry"
        reason = Reason.APPROVAL_REJECTED if rejected else Reason.APPROVAL_REQUIRED
        return Held(reason, _about(approval_id, wanted), told)

    def url(self, approval_id: str) -> str:
        """Where a human sees it; "": configuration does not say."""
        return self._settings.url.replace("{id}", quote(approval_id, safe=""))

    def _request(self, wanted: Wanted) -> Approval:
        now = self._clock()
        subject, asked, grant = wanted.subject, wanted.asked, wanted.grant
        ends_at = float(grant.expires) if grant is not None else None
        expires_at = now + self._settings.request_ttl_seconds
        return Approval(
            id=f"a-{secrets.token_hex(_ID_BYTES)}",
            digest=wanted.digest,
            principal=subject.id,
            origin=plain(wanted.chain[0], NAME_CHARS),
            # Whoever is excluded has to be recognised: nothing of these may be masked, or cut.
            owner=plain(str(subject.attributes.get("owner") or ""), NAME_CHARS),
            behind=tuple(plain(each, NAME_CHARS) for each in wanted.behind),
            task_id=_text(asked.task["id"]),
            grant_id=grant.id if grant is not None else "",
            action=masked(asked.name, _TEXT_CHARS),
            demand=wanted.demand,
            facts=msgspec.to_builtins(self._facts(wanted).within(self._settings.max_facts_bytes)),
            opened_at=now,
            expires_at=expires_at if ends_at is None else min(expires_at, ends_at),
            ends_at=ends_at,
            decision_id=wanted.outcome.decision_id,
        )

    def _facts(self, wanted: Wanted) -> Facts:
        """What is shown: masked, in one line each, bounded; nothing else of the request is kept."""
        call, asked, obj = wanted.call, wanted.asked, wanted.asked.obj
        arguments, left_out, cut = self._shower.arguments(_arguments(call, asked.args))
        decision = wanted.outcome.decision
        rule = self.rule_of(decision.rule, decision.obligations)
        return Facts(
            method=masked(asked.target.method, _TEXT_CHARS),
            host=masked(asked.target.host, _TEXT_CHARS),
            path=masked_path(asked.target.path, _TEXT_CHARS),
            query=self._query(asked.target.query),
            arguments=arguments,
            left_out=left_out,
            cut=cut,
            arguments_sha256=wanted.arguments,
            body_bytes=len(call.body),
            resource_type=_text(obj.get("type")),
            resource_id=masked_path(_text(obj.get("id")), _TEXT_CHARS),
            sensitivity=_text(obj.get("sensitivity")),
            environment=_text(obj.get("environment")),
            cardholder_data=obj.get("cardholder_data") is True,
            principal_kind=wanted.subject.kind.value,
            chain=tuple(plain(each, _TEXT_CHARS) for each in wanted.chain[-_MAX_PARTIES:]),
            task_purpose=_text(asked.task["purpose"]),
            task_declared=asked.task["declared"] is not False,
            source_address=plain(call.source_address, _TEXT_CHARS),
            rule=plain(rule.id, _TEXT_CHARS) if rule else "",
            rule_text=plain(rule.text, _TEXT_CHARS * 2) if rule else "",
            policy_version=decision.policy_version,
            beyond=tuple(
                Beyond(plain(each.limit_of, _TEXT_CHARS), each.limit, each.used, each.asked)
                for each in wanted.departures
            ),
        )

    def _query(self, query: str) -> tuple[Shown, ...]:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=1_000)
        except ValueError:
            pairs = [("", query)]
        return tuple(self._shower.shown(name, value)[0] for name, value in pairs[:_MAX_QUERY])


def _about(approval_id: str, wanted: Wanted) -> str:
    """For the record: which approval, and which limits it is about."""
    beyond = ", ".join(each.limit_of for each in wanted.departures)
    return f"approval {approval_id}, beyond {beyond}" if beyond else f"approval {approval_id}"


def _arguments(call: CheckCall, args: Mapping[str, Value]) -> Mapping[str, Value]:
    """What the action is done with: as its reader names it, else what the body says if it is JSON."""
    if args:
        return args
    if not call.body or len(call.body) > _MAX_SHOWN_BODY:
        return {}
    try:
        return decode_json_object(call.body)
    except ValueError:
        return {}


def _text(value: Value) -> str:
    if value is None or value == "":
        return ""
    return masked(value if isinstance(value, str) else str(value), _TEXT_CHARS)
