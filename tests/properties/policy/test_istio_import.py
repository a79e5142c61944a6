"""Imported Istio policies against an evaluator of Istio's semantics, written from its documentation and from nothing of
ours: exact wherever all was translated, never wider where something was left out."""

import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.importing.istio import IstioSettings, import_istio
from authz.policy.importing.writing import MODEL

HEADER = "x-team"


# Istio: what a request is, and whether the policies of its workload allow it.


class Request:
    def __init__(self, **fields) -> None:
        self.__dict__ |= {
            "principal": "",
            "ip": "10.0.0.1",
            "host": "",
            "path": "",
            "method": "",
            "headers": {},
        } | fields

    @property
    def namespace(self) -> str:
        return self.principal.split("/")[2] if self.principal else ""


def text(pattern: str, value: str) -> bool:
    if pattern == "*":
        return value != ""
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value == pattern


def principal(pattern: str, value: str) -> bool:
    # The identity is compared with its scheme; a suffix can reach into it.
    if pattern == "*":
        return value != ""
    if pattern.startswith("*"):
        return value != "" and f"spiffe://{value}".endswith(pattern[1:])
    return value != "" and text(pattern, value)


def block(network: str, address: str) -> bool:
    return ip_address(address) in ip_network(network)


FIELDS = {
    "principals": (lambda r, v: principal(v, r.principal), False),
    "namespaces": (lambda r, v: r.namespace != "" and text(v, r.namespace), False),
    "ipBlocks": (lambda r, v: block(v, r.ip), False),
    "requestPrincipals": (lambda r, v: False, True),  # no request has one here
    "hosts": (lambda r, v: text(v.lower(), r.host.lower()), True),
    "paths": (lambda r, v: text(v, r.path), True),
    "methods": (lambda r, v: text(v, r.method), True),
    "ports": (lambda r, v: r.port == int(v), False),
    "source.ip": (lambda r, v: block(v, r.ip), False),
    "source.namespace": (lambda r, v: r.namespace != "" and text(v, r.namespace), False),
    "source.principal": (lambda r, v: principal(v, r.principal), False),
    "destination.port": (lambda r, v: r.port == int(v), False),
    "connection.sni": (lambda r, v: text(v, r.sni), False),
    f"request.headers[{HEADER}]": (lambda r, v: HEADER in r.headers and text(v, r.headers[HEADER]), True),
    "request.auth.claims[x]": (lambda r, v: False, True),
}


def checks_of(fields: dict):
    """(whether HTTP only, test) for each field of a source or operation, or values of a condition."""
    for name, values in fields.items():
        positive = name if name in FIELDS else name[3].lower() + name[4:]
        matches, http = FIELDS[positive]
        wanted = name == positive
        yield http, lambda r, m=matches, vs=values, w=wanted: any(m(r, v) for v in vs) is w


def rule_matches(rule: dict, request: Request, action: str) -> bool:
    groups = [
        [list(checks_of(each["source"])) for each in rule.get("from", [])] or [[]],
        [list(checks_of(each["operation"])) for each in rule.get("to", [])] or [[]],
    ]
    for condition in rule.get("when", []):
        matches, http = FIELDS[condition["key"]]
        tests = [
            (http, lambda r, m=matches, vs=condition[name], w=wanted: any(m(r, v) for v in vs) is w)
            for name, wanted in (("values", True), ("notValues", False))
            if name in condition
        ]
        groups.append([tests])
    if request.tcp and action == "ALLOW" and any(http for group in groups for tests in group for http, _ in tests):
        return False  # Istio ignores such a rule for connections
    return all(
        any(all(test(request) for http, test in tests if not (http and request.tcp)) for tests in group)
        for group in groups
    )


def istio_allows(policies: list[dict], request: Request) -> bool:
    def matches(action: str) -> bool:
        return any(
            rule_matches(rule, request, action)
            for policy in policies
            if policy["spec"].get("action", "ALLOW") == action
            for rule in policy["spec"].get("rules", [])
        )

    if matches("DENY"):
        return False
    if not any(policy["spec"].get("action", "ALLOW") == "ALLOW" for policy in policies):
        return True
    return matches("ALLOW")


# Ours: the same request as policies see it.


def ours(engine: CompiledEngine, request: Request) -> bool:
    host, _, port = request.host.lower().partition(":")
    sub = {
        "id": f"spiffe://{request.principal}" if request.principal else "",
        "namespace": request.namespace,
        "sources": ("certificate",) if request.principal else (),
    }
    obj = {"host": host, "port": int(port or 0), "path": f"tcp:{request.port}" if request.tcp else request.path}
    act = {"method": "CONNECT" if request.tcp else request.method}
    env = {
        "source_address": request.ip,
        "destination_address": "10.1.1.1",
        "destination_port": request.port,
        "sni": request.sni,
        "headers": request.headers,
    }
    return engine.evaluate((sub, obj, act, env), lambda: False).effect is Effect.ALLOW


def lists(*values: str):
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


PRINCIPALS_VALUES = ("td/ns/a/sa/x", "td/ns/b/sa/y", "td/ns/a/*", "*/sa/x", "*", "td/*", "other/ns/a/sa/x", "*x")
NAMESPACES_VALUES = ("a", "b", "ab", "a*", "*b", "*")
BLOCKS_VALUES = ("10.0.0.0/8", "10.0.0.1", "192.168.0.0/16", "0.0.0.0/0", "fd00::/8")
HOSTS_VALUES = (
    "a.example.com",
    "A.Example.com",
    "a.example.com:80",
    "a.example.com:*",
    "*.example.com",
    "a.*",
    "*",
    "*:80",
    "*.com:8080",
)
PATHS_VALUES = ("/a", "/a/*", "/*", "*", "*.html", "/b/c", "/a*", "/x/*/y", "*/c", "/a,b", "/b(c)", "/b'c*", "/a/**")
METHODS_VALUES = ("GET", "POST", "P*", "*", "*T")
PORTS_VALUES = ("80", "8080")
SNI_VALUES = ("a.example.com", "*.com", "*")
HEADERS_VALUES = ("red", "r*", "*d", "*", "a, b", "it's")
PRINCIPALS, NAMESPACES, BLOCKS, HOSTS, PATHS, METHODS, PORTS, SNI, HEADERS = (
    lists(*values)
    for values in (
        PRINCIPALS_VALUES,
        NAMESPACES_VALUES,
        BLOCKS_VALUES,
        HOSTS_VALUES,
        PATHS_VALUES,
        METHODS_VALUES,
        PORTS_VALUES,
        SNI_VALUES,
        HEADERS_VALUES,
    )
)

source = st.fixed_dictionaries(
    {},
    optional={
        "principals": PRINCIPALS,
        "notPrincipals": PRINCIPALS,
        "namespaces": NAMESPACES,
        "notNamespaces": NAMESPACES,
        "ipBlocks": BLOCKS,
        "notIpBlocks": BLOCKS,
    },
).filter(bool)
operation = st.fixed_dictionaries(
    {},
    optional={
        "hosts": HOSTS,
        "notHosts": HOSTS,
        "paths": PATHS,
        "notPaths": PATHS,
        "methods": METHODS,
        "notMethods": METHODS,
        "ports": PORTS,
        "notPorts": PORTS,
    },
).filter(bool)


def condition(key: str, values):
    return st.fixed_dictionaries({"key": st.just(key)}, optional={"values": values, "notValues": values}).filter(
        lambda found: len(found) > 1
    )


conditions = st.one_of(
    condition("source.ip", BLOCKS),
    condition("source.namespace", NAMESPACES),
    condition("source.principal", PRINCIPALS),
    condition("destination.port", PORTS),
    condition("connection.sni", SNI),
    condition(f"request.headers[{HEADER}]", HEADERS),
)


def rules(sources, operations, when):
    return st.fixed_dictionaries(
        {},
        optional={
            "from": st.lists(sources.map(lambda s: {"source": s}), min_size=1, max_size=2),
            "to": st.lists(operations.map(lambda o: {"operation": o}), min_size=1, max_size=2),
            "when": st.lists(when, min_size=1, max_size=2),
        },
    )


def policies(rule, actions):
    spec = st.fixed_dictionaries(
        {"action": st.sampled_from(actions)}, optional={"rules": st.lists(rule, min_size=1, max_size=2)}
    )
    one = spec.map(
        lambda spec: {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "p", "namespace": "foo"},
            "spec": spec,
        }
    )
    return st.lists(one, min_size=1, max_size=3)


requests = st.builds(
    Request,
    principal=st.sampled_from(["", "td/ns/a/sa/x", "td/ns/b/sa/y", "td/ns/ab/sa/x", "other/ns/a/sa/x"]),
    ip=st.sampled_from(["10.0.0.1", "10.9.9.9", "192.168.1.1", "fd00::1"]),
    host=st.sampled_from(
        ["a.example.com", "A.EXAMPLE.COM", "a.example.com:80", "b.example.com", "x.com:8080", "a.org"]
    ),
    path=st.sampled_from(
        ["/", "/a", "/a/", "/a/b", "/b/c", "/x.html", "/x/*/y", "/x/1/y", "/a,b", "/b(c)", "/b'cd", "/ab"]
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    port=st.sampled_from([80, 8080, 443]),
    sni=st.sampled_from(["", "a.example.com", "b.org"]),
    headers=st.sampled_from([{}, {HEADER: "red"}, {HEADER: "blue"}, {HEADER: "a, b"}, {HEADER: "it's"}]),
    tcp=st.sampled_from([False, False, False, True]),
)


def imported(found: list[dict]):
    chosen = IstioSettings(exposed_headers=frozenset((HEADER,)), allow_rest=True)
    result = import_istio("\n---\n".join(json.dumps(each) for each in found), chosen)  # JSON is YAML
    return result, CompiledEngine.load(MODEL, "m", [("p", "\n".join(result.lines))])


exact = policies(rules(source, operation, conditions), ["ALLOW", "ALLOW", "DENY"])


@given(exact, st.lists(requests, min_size=6, max_size=10))
def test_what_is_imported_decides_as_istio_does(found, asked):
    result, engine = imported(found)
    assert (result.left_out, result.missing_denials) == ((), ())
    for request in asked:
        assert ours(engine, request) == istio_allows(found, request), (vars(request), result.lines)


beyond_source = st.one_of(source, st.builds(lambda s: s | {"requestPrincipals": ["*"]}, source))
beyond_operation = st.one_of(operation, st.builds(lambda o: o | {"notPaths": ["/a/{*}"]}, operation))
beyond = policies(
    rules(
        beyond_source,
        beyond_operation,
        st.one_of(conditions, st.just({"key": "request.auth.claims[x]", "values": ["y"]})),
    ),
    ["ALLOW"],
)


@given(beyond, st.lists(requests, min_size=6, max_size=10))
def test_what_is_left_out_never_allows_more(found, asked):
    result, engine = imported(found)
    assert result.missing_denials == ()
    for request in asked:
        # A template here matches nothing, so that without it as much is allowed as could be.
        assert istio_allows(found, request) or not ours(engine, request), (vars(request), result.lines)


@given(policies(rules(beyond_source, operation, conditions), ["DENY"]))
def test_a_denial_that_is_left_out_is_told_apart(found):
    result, _ = imported(found)
    wanted = any(
        "requestPrincipals" in each["source"]
        for policy in found
        for rule in policy["spec"].get("rules", [])
        for each in rule.get("from", [])
    )
    assert bool(result.missing_denials) == wanted
    assert result.left_out == ()


BASE = {
    "principal": "td/ns/a/sa/x",
    "ip": "10.0.0.1",
    "host": "a.example.com",
    "path": "/a",
    "method": "GET",
    "port": 80,
}
OTHERS = {
    "principal": ("", "td/ns/b/sa/y", "td/ns/ab/sa/x", "other/ns/a/sa/x"),
    "ip": ("10.9.9.9", "192.168.1.1", "fd00::1"),
    "host": ("A.EXAMPLE.COM", "a.example.com:80", "a.example.com:8080", "b.example.com:80", "x.com:8080", "a.org"),
    "path": ("/", "/a/", "/a/b", "/a/*", "/b/c", "/x.html", "/x/*/y", "/x/1/y", "/a,b", "/b(c)", "/b'cd", "/ab"),
    "method": ("POST", "PUT"),
    "port": (8080, 443),
    "sni": ("a.example.com", "b.org"),
    "headers": ({HEADER: "red"}, {HEADER: "blue"}, {HEADER: "a, b"}, {HEADER: "it's"}),
    "tcp": (True,),
}
EVERY_REQUEST = [
    Request(**{**BASE, "sni": "", "headers": {}, "tcp": False, **changed})
    for changed in ({}, *({name: value} for name, values in OTHERS.items() for value in values))
] + [Request(**{**BASE, "sni": "b.org", "tcp": True, "port": 443, "principal": ""})]

SINGLE = [
    *(
        ("source", name, value)
        for name, values in (
            ("principals", PRINCIPALS_VALUES),
            ("namespaces", NAMESPACES_VALUES),
            ("ipBlocks", BLOCKS_VALUES),
        )
        for value in values
    ),
    *(
        ("operation", name, value)
        for name, values in (
            ("hosts", HOSTS_VALUES),
            ("paths", PATHS_VALUES),
            ("methods", METHODS_VALUES),
            ("ports", PORTS_VALUES),
        )
        for value in values
    ),
    *(
        ("when", name, value)
        for name, values in (
            ("source.ip", BLOCKS_VALUES),
            ("source.namespace", NAMESPACES_VALUES),
            ("source.principal", PRINCIPALS_VALUES),
            ("destination.port", PORTS_VALUES),
            ("connection.sni", SNI_VALUES),
            (f"request.headers[{HEADER}]", HEADERS_VALUES),
        )
        for value in values
    ),
]


def only(kind: str, name: str, value: str, *, negative: bool) -> dict:
    """A rule with one condition."""
    if kind == "when":
        return {"when": [{"key": name, "notValues" if negative else "values": [value]}]}
    field = f"not{name[0].upper()}{name[1:]}" if negative else name
    return {"from" if kind == "source" else "to": [{kind: {field: [value]}}]}


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize(("kind", "name", "value"), SINGLE)
def test_each_condition_by_itself_decides_as_istio_does(kind, name, value, negative, action):
    spec = {"action": action, "rules": [only(kind, name, value, negative=negative)]}
    found = [
        {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "p"}, "spec": spec}
    ]
    result, engine = imported(found)
    assert (result.left_out, result.missing_denials) == ((), ())
    for request in EVERY_REQUEST:
        assert ours(engine, request) == istio_allows(found, request), (vars(request), result.lines)
