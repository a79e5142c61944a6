"""The attributes that tools for authors know, against those that requests have."""

import pathlib
import re

import pytest

from authz.decision.bind import Binder, BindSettings
from authz.decision.catalogue import CatalogueSettings, parse_catalogue
from authz.decision.vocabulary import vocabulary
from authz.identity.inventory import InventoryEntry
from authz.model import CheckCall, Credential, Kind, Subject, Target
from authz.policy.lint.kinds import LIST, MAP, NUMBER, TEXT, TRUTH, Known

ROOT = pathlib.Path(__file__).parents[3]
BIND = BindSettings(expose_headers=("X-Team",))
KNOWN = vocabulary(("sub", "obj", "act", "env", "dom"), {}, BIND, ["envoy.filters.http.jwt"], ["route.ns"])


def rich_request():
    """A request in which nothing is absent."""
    catalogue = parse_catalogue(
        {"resources": [{"host": "*", "path": "/a/{id}", "type": "t", "sensitivity": "s", "labels": {"k": "v"}}]},
        "c",
        CatalogueSettings(),
    )
    subject = Subject(
        id="spiffe://d/ns/n/sa/s",
        kind=Kind.AGENT,
        trust_domain="d",
        path="/ns/n/sa/s",
        sources=("certificate",),
        credential=Credential("x509-svid", "aa", 1.0, 2.0),
        claims={"groups": ["a"]},
        hops=("spiffe://d/x",),
        attributes=InventoryEntry(owner="o", clearance="high", labels={"team": "t"}).attributes,
    )
    call = CheckCall(
        "http",
        headers={"x-team": "a", "x-task-id": "1"},
        context_extensions={"k": "v"},
        metadata={"envoy.filters.http.jwt": {"a": 1}},
        route_metadata={"route.ns": {"b": 2}},
    )
    binder = Binder(BIND, catalogue)
    return binder.bind(call, binder.name(call, Target("GET", "h", 1, "/a/1", "q=1")), subject, 5.0)


def kind_of(value) -> str:
    table = ((bool, TRUTH), (int | float, NUMBER), (str, TEXT), (tuple | list, LIST), (dict, MAP))
    return next(kind for types, kind in table if isinstance(value, types))


def check(value, known: Known, path: str) -> None:
    assert not known.kinds or kind_of(value) in known.kinds, path
    if isinstance(value, dict) and known.kinds:
        for name, inner in value.items():
            member = known.member(name)
            assert member is not None, f"{path}.{name} is bound and not known"
            check(inner, member, f"{path}.{name}")


@pytest.mark.parametrize("root", ["sub", "obj", "act", "env"])
def test_whatever_a_request_has_is_known_and_of_that_kind(root):
    check(getattr(rich_request(), root), KNOWN[root], root)


def test_every_documented_attribute_is_known():
    page = (ROOT / "docs" / "attributes.md").read_text()
    documented = re.findall(r"^\| (`r\..*?) \|", page, re.MULTILINE)
    assert len(documented) > 20
    for cell in documented:
        first, *others = re.findall(r"`([^`]+)`", cell)
        if first.endswith(")"):  # asked, not looked up
            assert first.startswith("r.sub.via(")
            continue
        stem = first.rpartition(".")[0]
        for name in (first, *(stem + other for other in others)):
            known = KNOWN[name.split(".")[1]]
            for step in name.split(".")[2:]:
                if step.startswith("<"):
                    assert known.each is not None or not known.kinds, name  # a map, or anything
                    break
                known = known.member(step)
                assert known is not None, name


def test_a_token_stands_for_what_configuration_says():
    found = vocabulary(("sub", "obj", "who"), {"sub": "sub.id", "obj": "obj.labels.team"}, BIND)
    assert found["sub"].kinds == {TEXT}
    assert found["obj"].kinds == {TEXT}
    assert "who" not in found
    assert KNOWN["dom"].kinds == {TEXT}


def test_only_configured_headers_and_namespaces_are_known():
    env = KNOWN["env"]
    assert env.member("headers").member("x-team").kinds == {TEXT}
    assert env.member("headers").member("x-other") is None
    assert env.member("metadata").member("envoy.filters.http.jwt").member("anything") is not None
    assert env.member("metadata").member("other") is None
    assert env.member("route").member("route.ns").kinds == {MAP}
