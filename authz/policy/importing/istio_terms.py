"""The conditions of Istio's AuthorizationPolicy as expressions over our attributes.

Istio's texts match exactly, by prefix (`abc*`), by suffix (`*abc`), or when something is there (`*`). A term is the
condition that one of a list of such texts matches.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from types import MappingProxyType

from authz.policy.importing.document import Spot
from authz.policy.importing.writing import both, either, literal
from authz.policy.regex import escape

_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_MAX_PORT = 65_535
_CANONICAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@/-]*")
_HOST = re.compile(r"[A-Za-z0-9_.-]*")
_PROVED_BY_MTLS = "r.sub.sources != ('token',)"
"""Istio's principal is the peer's certificate; an identity that a token alone proves is none."""

Term = Callable[[Sequence[Spot]], str]


def matching(attribute: str, value: str, spot: Spot) -> str:
    """The condition that an attribute is as one of Istio's texts says."""
    if value == "*":
        return f"{attribute} != ''"
    if value.startswith("*") and value.endswith("*"):
        raise spot.refuse(f"{value!r}: a * at both ends has no meaning in Istio")
    if value.startswith("*"):
        return f"regexMatch({attribute}, {literal(f'^.*{escape(value[1:])}$')})"
    if value.endswith("*"):
        start = value[:-1]
        if "*" in start:
            return f"regexMatch({attribute}, {literal(f'^{escape(start)}')})"
        return f"keyMatch({attribute}, {literal(value)})"
    return f"{attribute} == {literal(value)}"


def one_of(attribute: str, values: Sequence[Spot]) -> str:
    """The condition that an attribute is as one of several texts says; plain ones are listed."""
    plain = [spot.word for spot in values if not spot.word.startswith("*") and not spot.word.endswith("*")]
    parts = [matching(attribute, spot.word, spot) for spot in values if spot.word not in plain]
    if len(plain) > 1:
        parts.insert(0, f"{attribute} in [{', '.join(map(literal, dict.fromkeys(plain)))}]")
    elif plain:
        parts.insert(0, f"{attribute} == {literal(plain[0])}")
    return either(parts)


def principals(trust_domain: str) -> Term:
    """The peer's SPIFFE ID, written without its scheme; `cluster.local` is the mesh's own trust domain."""

    def term(values: Sequence[Spot]) -> str:
        return both((either(_principals(values, trust_domain)), _PROVED_BY_MTLS))

    return term


def _principals(values: Sequence[Spot], trust_domain: str) -> Iterator[str]:
    exact: list[str] = []
    for spot in values:
        value = spot.word
        if value == "*":
            yield "r.sub.id != ''"
        elif value.startswith("*"):
            yield matching("r.sub.id", value, spot)
        else:
            domain, slash, rest = value.partition("/")
            if domain == "cluster.local":
                if not trust_domain:
                    # Were it taken for itself, a denial could miss whom it is for.
                    raise spot.refuse("cluster.local stands for the mesh's trust domain; say which (--trust-domain)")
                value = trust_domain + slash + rest
            if value.endswith("*"):
                yield matching("r.sub.id", f"spiffe://{value}", spot)
            else:
                exact.append(f"spiffe://{value}")
    if len(exact) == 1:
        yield f"r.sub.id == {literal(exact[0])}"
    elif exact:
        yield f"r.sub.id in [{', '.join(map(literal, exact))}]"


def namespaces(values: Sequence[Spot]) -> str:
    """The namespace in the peer's SPIFFE ID."""
    return both((one_of("r.sub.namespace", values), _PROVED_BY_MTLS))


def addresses(attribute: str) -> Term:
    """An address, or one of a network."""

    def term(values: Sequence[Spot]) -> str:
        return either(_network(attribute, spot) for spot in values)

    return term


def _network(attribute: str, spot: Spot) -> str:
    try:
        ip_network(spot.word, strict=False)
    except ValueError:
        raise spot.refuse(f"{spot.word!r} is neither an address nor a network") from None
    return f"ipMatch({attribute}, {literal(spot.word)})"


def ports(values: Sequence[Spot]) -> str:
    """The port on which the workload was reached."""
    numbers: dict[int, None] = {}
    for spot in values:
        if not _PORT.fullmatch(spot.word) or int(spot.word) > _MAX_PORT:
            raise spot.refuse(f"{spot.word!r} is no port")
        numbers[int(spot.word)] = None
    if len(numbers) == 1:
        return f"r.env.destination_port == {next(iter(numbers))}"
    return f"r.env.destination_port in [{', '.join(map(str, numbers))}]"


def methods(values: Sequence[Spot]) -> str:
    """The HTTP method."""
    return one_of("r.act.method", values)


def sni(values: Sequence[Spot]) -> str:
    """The server name that TLS was asked for."""
    return one_of("r.env.sni", values)


def paths(values: Sequence[Spot]) -> str:
    """The path, without its query."""
    for spot in values:
        check_path(spot)
    return one_of("r.obj.path", values)


def check_path(spot: Spot) -> None:
    """Refuse a path that no canonical path could match.

    Raises:
        Misplaced: It is a template, has no slash at its start, or is not canonical.
    """
    value = spot.word
    if "{*}" in value or "{**}" in value:
        raise spot.refuse(f"{value!r}: path templates are not translated")
    if not value.startswith(("/", "*")):
        raise spot.refuse(f"{value!r}: a path starts with a slash")
    segments = value.split("/")
    if not _CANONICAL.fullmatch(value) or "//" in value or "." in segments or ".." in segments:
        advice = "a canonical path has no escapes, `//`, dot segments, `;`, `?` or `#` as it stands here"
        raise spot.refuse(f"{value!r}: {advice}")


def hosts(values: Sequence[Spot]) -> str:
    """The Host header, a port in it included, in any case."""
    return either(_host(spot) for spot in values)


def _host(spot: Spot) -> str:
    value = spot.word.lower()
    if value == "*":
        return "r.obj.host != ''"
    name, colon, port = value.partition(":")
    if not colon and name.endswith("*"):
        # What begins so may go on with a port.
        return matching("r.obj.host", _checked_host(name, spot), spot)
    parts: list[str] = []
    if name != "*":
        if name.startswith("*") and name[1:].isdigit() and not colon:
            raise spot.refuse(f"{value!r} could be the end of a port")
        parts.append(matching("r.obj.host", _checked_host(name, spot), spot))
    if not colon:
        parts.append("r.obj.port == 0")
    elif port == "*":
        parts.append("r.obj.port != 0")
    elif _PORT.fullmatch(port) and int(port) <= _MAX_PORT:
        parts.append(f"r.obj.port == {int(port)}")
    else:
        raise spot.refuse(f"{value!r}: behind the colon stands neither a port nor *")
    return both(parts) if len(parts) == 1 else f"({both(parts)})"


def _checked_host(name: str, spot: Spot) -> str:
    text = name.strip("*")
    if not _HOST.fullmatch(text) or not text or ("*" in text):
        raise spot.refuse(f"{spot.word!r} is no host, nor the start or end of one")
    if name.endswith("*") and spot.word.count(":"):
        raise spot.refuse(f"{spot.word!r}: a * before the port is not translated")
    return name


def header(name: str, *, lenient: bool) -> Term:
    """A request header; `lenient`: whether, where Istio's meaning is not certain, the condition is to hold."""
    key = literal(name)
    there = f"{key} in r.env.headers"

    def term(values: Sequence[Spot]) -> str:
        attribute = f"r.env.headers[{key}]"
        if lenient and any(spot.word == "*" for spot in values):
            return there
        return f"({there} && {one_of(attribute, values)})"

    return term


PEER_TERMS: Mapping[str, Term] = MappingProxyType(
    {"ipBlocks": addresses("r.env.source_address"), "namespaces": namespaces}
)
HTTP_TERMS: Mapping[str, Term] = MappingProxyType({"hosts": hosts, "methods": methods, "paths": paths})
CONDITION_TERMS: Mapping[str, Term] = MappingProxyType(
    {
        "source.ip": addresses("r.env.source_address"),
        "source.namespace": namespaces,
        "destination.ip": addresses("r.env.destination_address"),
        "destination.port": ports,
        "connection.sni": sni,
    }
)
