"""Which attributes policies can read, and what each can be: taken from what `bind.py` binds, so that both agree.

For the tools of policy authors; nothing here is on the path of a request.
"""

from collections.abc import Iterable, Mapping

from authz.decision.bind import DEFAULT_TOKENS, Binder, BindSettings
from authz.decision.catalogue import EMPTY_CATALOGUE, ResourceEntry
from authz.identity.inventory import UNREGISTERED
from authz.model import CheckCall, Subject, Target, Value
from authz.policy.lint.kinds import LIST, MAP, NUMBER, TEXT, TRUTH, Known
from authz.policy.lint.whole import Sensitive
from authz.resource_pattern import parse_path

_ANY = Known()
_OPEN = {
    "sub.labels": Known(frozenset((TEXT,))),
    "sub.claims": _ANY,
    "sub.transaction.context": _ANY,
    "sub.transaction.request": _ANY,
    "obj.labels": Known(frozenset((TEXT,))),
    "act.query": Known(frozenset((TEXT,))),
    "act.args": _ANY,
    "env.context": Known(frozenset((TEXT,))),
}
"""The maps whose keys are somebody's choice, and what stands in them."""
_MIXED = {"sub.clearance": Known(frozenset((TEXT, NUMBER)))}
"""What can be of another kind than it is when absent."""
_SOME_VALUE = "x"
_BESIDE = "-other"


def vocabulary(
    tokens: Iterable[str],
    mapping: Mapping[str, str],
    settings: BindSettings,
    metadata: Iterable[str] = (),
    route_metadata: Iterable[str] = (),
) -> Mapping[str, Known]:
    """What the tokens of a model stand for; a token that configuration explains nowhere is left out.

    `metadata` and `route_metadata`: the namespaces that configuration passes on.
    """
    given = {
        "env.headers": (settings.expose_headers, TEXT, "attributes.expose_headers"),
        "env.metadata": (metadata, MAP, "check_request.metadata_namespaces"),
        "env.route": (route_metadata, MAP, "check_request.route_metadata_namespaces"),
    }
    configured = {path: _configured(*what) for path, what in given.items()}
    binder, call = Binder(settings, EMPTY_CATALOGUE), CheckCall("http")
    request = binder.bind(call, binder.name(call, Target()), Subject(attributes=UNREGISTERED), now=0.0)
    roots = {name: _known(getattr(request, name), name, configured) for name in ("sub", "obj", "act", "env")}
    found: dict[str, Known] = {}
    for token in tokens:
        root, *path = mapping.get(token, DEFAULT_TOKENS.get(token, "")).split(".")
        known = roots.get(root)
        for name in path if known else ():
            known = known.members.get(name, known.each) if known else None
        if known is not None:
            found[token] = known
    return found


def sensitive(entries: Iterable[tuple[str, ResourceEntry]], sensitivities: Iterable[str]) -> tuple[Sensitive, ...]:
    """The entries of a catalogue that hold cardholder data, or are of one of the given sensitivities."""
    chosen = frozenset(sensitivities)
    return tuple(
        _sensitive(where, entry) for where, entry in entries if entry.cardholder_data or entry.sensitivity in chosen
    )


def _known(value: Value, path: str, configured: Mapping[str, Known]) -> Known:
    """What an attribute is, by what stands there in an empty request."""
    if path in configured:
        return configured[path]
    if path in _MIXED:
        return _MIXED[path]
    if isinstance(value, Mapping):
        members = {name: _known(each, f"{path}.{name}", configured) for name, each in value.items()}
        return Known(frozenset((MAP,)), members, _OPEN.get(path))
    kind = TRUTH if isinstance(value, bool) else NUMBER if isinstance(value, int | float) else TEXT
    return Known(frozenset((LIST if isinstance(value, tuple | list) else kind,)))


def _configured(names: Iterable[str], kind: str, setting: str) -> Known:
    """A map whose keys configuration lists; a request may still lack each of them."""
    inner = Known(frozenset((kind,)), each=_ANY if kind == MAP else None)
    listed = frozenset(name.lower() if kind == TEXT else name for name in names)
    return Known(frozenset((MAP,)), each=inner, only=listed, advice=f"add it to the setting {setting}")


def _sensitive(where: str, entry: ResourceEntry) -> Sensitive:
    pattern = parse_path(entry.path)
    segments = [_SOME_VALUE if segment is None else segment for segment in pattern.segments]
    joined = "/".join(segments) if entry.path.startswith("/") else "".join(segments)
    inside = (joined or "/", f"{joined}/{_SOME_VALUE}") if pattern.open_ended else (joined,)
    if entry.path == "tcp:*":
        inside = ("tcp:1",)
    facts = {f"obj.{name}": value for name, value in entry.attributes.items() if isinstance(value, str | bool)}
    del facts["obj.id"]
    if "*" not in entry.host:
        facts["obj.host"] = entry.host
    last = max((at for at, segment in enumerate(pattern.segments) if segment), default=0)
    beside = list(segments)
    beside[last] += _BESIDE
    outside = "/".join(beside) if entry.path.startswith("/") else f"tcp:{_BESIDE}"
    what = entry.sensitivity or "cardholder data"
    name = f"{entry.path} ({what}; {where.rpartition(': ')[2]} of the catalogue)"
    methods = tuple("CONNECT" if method == "connect" else method for method in entry.methods)
    return Sensitive(name, facts, inside, outside, methods)
