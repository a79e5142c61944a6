"""The full reasoning behind one decision: who, what, which rules, how they combined, what the caller is told."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from authz.audit.redact import MASK, name_is_secret
from authz.audit.words import rfc3339
from authz.authoring.dry_run import Answer, DryRun, never
from authz.authoring.tree import Item
from authz.decision.hops import at_issue, ruled
from authz.errors import Refusal
from authz.model import Effect, RuleRef
from authz.policy.effect import describe
from authz.policy.explain import Condition, Near, State, explain

_MAX_CHARS = 120
_MAX_RULES = 20
_SECRET_HOLDERS = ("env.headers.", "act.query.")


class Voice(msgspec.Struct, frozen=True):
    """A rule that has something to say about the request."""

    rule: RuleRef
    says: str
    """`allow`, `deny`, `nothing`, or `errs: ` and why."""
    decides: bool


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that led to one decision; a program reads it as JSON."""

    effect: str
    reason: str
    detail: str
    policy_version: str
    time: str
    request: Mapping[str, object]
    """What the proxy said, as far as it could be read."""
    identity: Mapping[str, object] | None
    """The caller as resolved; None: refused before."""
    target: Mapping[str, object] | None
    """The one canonical reading, and what the catalogue knows of it; None: refused before."""
    attributes: tuple[tuple[str, str], ...] = ()
    """What the policy reads, and what stood there."""
    rules: int = 0
    candidates: tuple[str, ...] = ()
    """The rules that were evaluated; the index left out the others, which can neither match nor err."""
    near: tuple[Near, ...] = ()
    effect_rule: str = ""
    """How the model combines rules."""
    voices: tuple[Voice, ...] = ()
    """The rules that matched or erred, in order."""
    rule: RuleRef | None = None
    obligations: tuple[tuple[str, str], ...] = ()
    client: Mapping[str, object]
    """What the client gets, or what is changed in the request on its way to the upstream."""


def reasoning(run: DryRun, answer: Answer, most: int) -> Reasoning:
    """Answer why a request was decided as it was, with the `most` nearest rules."""
    outcome, decision = answer.outcome, answer.outcome.decision
    common = {
        "effect": decision.effect.value,
        "reason": decision.reason.value,
        "detail": decision.detail,
        "policy_version": decision.policy_version,
        "time": rfc3339(outcome.time),
        "request": _request(answer),
        "identity": _identity(answer),
        "target": _target(answer),
        "rule": decision.rule,
        "obligations": decision.obligations,
        "client": _client(answer),
    }
    if outcome.request is None:
        return Reasoning(**common)
    try:
        request = at_issue(decision, outcome.request, lambda each: ruled(run.verdict(each), each, ""))
        values = run.values(request)
    except Refusal:  # a mapped attribute is absent; the detail says which
        return Reasoning(**common)
    engine = run.engine
    found = engine.candidates(values)
    return Reasoning(
        **common,
        attributes=tuple(_attributes(run, values)),
        rules=engine.rule_count,
        candidates=tuple(rule.row.reference.id for rule in found[:_MAX_RULES]),
        near=tuple(_masked(near) for near in explain(engine, values, never, most).near),
        effect_rule=engine.combining.value,
        voices=tuple(_voices(run, values, decision.rule)),
    )


def _request(answer: Answer) -> Mapping[str, object]:
    call = answer.outcome.call
    if call is None:
        return {}
    return {
        "layer": call.layer,
        "method": call.method,
        "host": call.host,
        "path": call.path.partition("?")[0],
        "protocol": call.protocol,
        "source": f"{call.source_address}:{call.source_port}",
        "principal": call.principal,
        "certificate": bool(call.certificate),
        "xfcc": "x-forwarded-client-cert" in call.headers,
        "token": "authorization" in call.headers,
    }


def _identity(answer: Answer) -> Mapping[str, object] | None:
    subject = answer.outcome.subject
    if subject is None:
        return None
    told: dict[str, object] = {
        "id": subject.id,
        "kind": subject.kind.value,
        "sources": subject.sources,
        "hops": subject.hops,
        "chain": tuple(hop.id for hop in subject.chain),
        "registered": subject.attributes.get("registered", False),
        "inventory": {name: value for name, value in subject.attributes.items() if name != "registered" and value},
    }
    for name, credential in (("credential", subject.credential), ("token", subject.token)):
        if credential is not None:
            told[name] = {
                "kind": credential.kind,
                "fingerprint": credential.fingerprint,
                "issuer": credential.issuer,
                "not_after": rfc3339(credential.not_after),
            }
    return told


def _target(answer: Answer) -> Mapping[str, object] | None:
    request = answer.outcome.request
    if request is None:
        return None
    names = ("type", "id", "sensitivity", "environment", "cardholder_data", "labels")
    return {
        "method": request.target.method,
        "host": request.target.host,
        "port": request.target.port,
        "path": request.obj["path"],
        "resource": {name: request.obj[name] for name in names if request.obj.get(name)},
    }


def _client(answer: Answer) -> Mapping[str, object]:
    denied, allowed = answer.response.denied_response, answer.response.ok_response
    if not answer.outcome.decision.allowed:
        return {"status": denied.status.code, "headers": _headers(denied.headers), "body": denied.body}
    return {"upstream_headers": _headers(allowed.headers), "removed_headers": list(allowed.headers_to_remove)}


def _headers(options: Iterable[Any]) -> dict[str, str]:
    return {option.header.key: option.header.value or option.header.raw_value.decode() for option in options}


def _attributes(run: DryRun, values: Sequence[object]) -> Iterator[tuple[str, str]]:
    for name in sorted(run.engine.reads):
        token, *path = name.split(".")[1:]
        yield name, _safe(name, _shown(values[run.engine.tokens.index(token)], path))


def _shown(value: object, path: Sequence[str]) -> str:
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return "(absent)"
        value = value[step]
    text = repr(value)
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}..."


def _safe(name: str, shown: str) -> str:
    """Answer what is shown of an attribute; of one whose name tells of a credential nothing (I10)."""
    rest = name.replace("['", ".").replace("']", "").partition(".")[2]
    secret = rest.startswith(_SECRET_HOLDERS) and name_is_secret(rest.split(".", 2)[2])
    whole = rest in {holder[:-1] for holder in _SECRET_HOLDERS}
    return MASK if secret or (whole and shown != "{}") else shown


def _masked(near: Near) -> Near:
    conditions = [
        msgspec.structs.replace(each, seen=tuple((name, _safe(name, value)) for name, value in each.seen))
        for each in near.conditions
    ]
    return msgspec.structs.replace(near, conditions=tuple(conditions))


def _voices(run: DryRun, values: Sequence[object], decided: RuleRef | None) -> Iterator[Voice]:
    for rule in run.engine.candidates(values):
        try:
            if not rule.code(*values, rule.constants):
                continue
            says = rule.says.value if rule.says else "nothing"
        except Exception as error:  # noqa: BLE001 - whatever a rule does wrong, it denies (I1)
            says = f"errs: {describe(error)}"
        reference = rule.row.reference
        yield Voice(reference, says, reference == decided)


def tree(told: Reasoning, *, brief: bool = False) -> Item:
    """Answer the reasoning as a tree for people; `brief`: of the attributes only those at failing conditions."""
    head = f"{'ALLOWED' if told.effect == Effect.ALLOW.value else 'DENIED'}: {told.reason}"
    parts = [_request_item(told), _identity_item(told), _target_item(told)]
    if told.target is not None:
        read = [Item(f"{name} is {value}") for name, value in told.attributes]
        if not brief:
            parts.append(Item("the policy reads" if read else "the policy reads nothing of the request", read))
        parts += [_rules_item(told), _combining_item(told)]
    if told.obligations:
        parts.append(Item("obligations", [Item(f"{name}={value}") for name, value in told.obligations]))
    parts.append(_client_item(told))
    return Item(f"{head}{f' ({told.detail})' if told.detail else ''}", parts)


def _request_item(told: Reasoning) -> Item:
    request = told.request
    if not request:
        return Item("request: could not be read")
    asked = f"{request['method']} {request['host']}{request['path']}" if request["layer"] == "http" else "a connection"
    return Item(f"request: {asked}, from {request['source']}, at {told.time}")


def _identity_item(told: Reasoning) -> Item:
    claims = [
        f"principal {told.request['principal']}" if told.request.get("principal") else "",
        "a certificate" if told.request.get("certificate") else "",
        "x-forwarded-client-cert" if told.request.get("xfcc") else "",
        "a token" if told.request.get("token") else "",
    ]
    came = ", ".join(claim for claim in claims if claim) or "nothing that names a caller"
    who = told.identity
    if who is None:
        return Item("identity: refused", [Item(f"the proxy gave {came}"), Item(f"{told.reason}: {told.detail}")])
    lines = [Item(f"the proxy gave {came}")]
    sources = who["sources"]
    if isinstance(sources, tuple) and sources:
        lines.append(Item(f"proved by {', '.join(sources)}"))
    chain = who["chain"]
    if isinstance(chain, tuple) and chain:
        lines.append(Item(f"acting for {' -> '.join(chain[:-1])}"))
    for name in ("credential", "token"):
        credential = who.get(name)
        if isinstance(credential, Mapping):
            lines.append(Item(f"{name}: {credential['kind']}, valid until {credential['not_after']}"))
    known = who["inventory"]
    if who["registered"] and isinstance(known, Mapping):
        lines.append(Item(f"inventory: {_facts(known)}"))
    else:
        lines.append(Item("inventory: does not know it"))
    return Item(f"identity: {who['id'] or 'anonymous'} ({who['kind']})", lines)


def _target_item(told: Reasoning) -> Item:
    target = told.target
    if target is None:
        return Item("target: not reached" if told.identity is None else f"target: refused, {told.reason}")
    resource = target["resource"]
    known = f"catalogue: {_facts(resource)}" if resource and isinstance(resource, Mapping) else "catalogue: nothing"
    return Item(f"target: {target['method']} {target['host']} {target['path']}", [Item(known)])


def _facts(known: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {json.dumps(value, default=str)}" for name, value in known.items())


def _rules_item(told: Reasoning) -> Item:
    evaluated = set(told.candidates)
    items = []
    for near in told.near:
        says = near.says.value if near.says else "nothing"
        state = "matches" if near.lacking is None else "does not match"
        kept = "" if near.rule.id in evaluated or len(evaluated) == _MAX_RULES else ", left out by the index"
        items.append(
            Item(f"{near.rule.id} ({says}): {state}{kept}", [_condition_item(each) for each in near.conditions])
        )
    return Item(f"rules: {told.rules}, of which {len(evaluated)} were candidates; the nearest:", items)


def _condition_item(condition: Condition) -> Item:
    seen = ", ".join(f"{name} is {value}" for name, value in condition.seen)
    why = condition.error or seen
    shown = f"   [{why}]" if condition.state is not State.HOLDS and why else ""
    return Item(f"{condition.state.value:<5} {condition.text}{shown}")


def _combining_item(told: Reasoning) -> Item:
    lines = [
        Item(f"{voice.rule.id} says {voice.says}{', and decides' if voice.decides else ''}") for voice in told.voices
    ]
    if not lines:
        lines = [Item("no rule matches, so the answer is no")]
    return Item(f"combined by {told.effect_rule}", lines)


def _client_item(told: Reasoning) -> Item:
    client = told.client
    if "status" in client:
        return Item(f"the client gets {client['status']} {client['body']}".rstrip())
    added, removed = client["upstream_headers"], client["removed_headers"]
    lines = [Item(f"with {name}: {value}") for name, value in added.items()] if isinstance(added, dict) else []
    lines += [Item(f"without {name}") for name in removed] if isinstance(removed, list) else []
    return Item("the request goes on to the upstream", lines)
