"""GraphQL: the top-level fields of the operation that will be executed, and nothing that could be another."""

import hashlib
import json
from urllib.parse import urlencode

import pytest

from authz.actions.decoder import Message
from authz.actions.graphql.decoder import GraphqlDecoder
from authz.actions.graphql.settings import GraphqlSettings
from authz.actions.limits import Limits
from authz.errors import Reason, Refusal

CREATE = 'mutation { createUser(name: "a") { id } }'


def ask(body, *, settings=None, query="", limits=None):
    raw = json.dumps(body if isinstance(body, dict | list) else {"query": body}).encode()
    message = Message("POST", "/graphql", query, {}, "application/json", len(raw))
    decoder = GraphqlDecoder(settings or GraphqlSettings())
    assert decoder.wants_body(message)
    return decoder.decode(message, raw, limits or Limits())


def get(**parameters):
    return get_raw(urlencode(parameters))


def get_raw(query, size=0):
    decoder = GraphqlDecoder(GraphqlSettings())
    message = Message("GET", "/graphql", query, {}, "", size)
    assert not decoder.wants_body(message)
    return decoder.decode(message, b"", Limits())


def names(actions):
    return [action.name.removeprefix("graphql:") for action in actions]


def reason(asking, *args, **kwargs):
    with pytest.raises(Refusal) as refusal:
        asking(*args, **kwargs)
    return refusal.value.reason


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ user { id } }", ["query:user"]),
        ("query Q { a b }", ["query:a", "query:b"]),
        (CREATE, ["mutation:createUser"]),
        ("subscription { events }", ["subscription:events"]),
        ("mutation { user: deleteUser(id: 1) }", ["mutation:deleteUser"]),
        ("mutation M { ...F } fragment F on Mutation { deleteUser }", ["mutation:deleteUser"]),
        ("{ ...F a } fragment F on Query { ...G b } fragment G on Query { c ...F }", ["query:c", "query:b", "query:a"]),
        ("{ ... on Query { ... { a } } ... @include(if: false) { b } }", ["query:a", "query:b"]),
        ("{ a @skip(if: true) b @include(if: false) }", ["query:a", "query:b"]),
        ("{ __schema { types { name } } __typename }", ["query:__schema", "query:__typename"]),
        ("# mutation { x }\n{ a }", ["query:a"]),
        ('{ a(x: "mutation { x }") }', ["query:a"]),
    ],
)
def test_top_level_fields(document, expected):
    assert names(ask(document)) == expected


def test_the_named_operation_is_the_one_that_counts():
    both = "query Harmless { a } mutation Harm { b }"
    assert names(ask({"query": both, "operationName": "Harmless"})) == ["query:a"]
    assert names(ask({"query": both, "operationName": "Harm"})) == ["mutation:b"]
    for name in (None, "harm", "Other"):
        assert reason(ask, {"query": both, "operationName": name}) is Reason.BODY_MALFORMED
    assert reason(ask, {"query": "query Q { a }", "operationName": "R"}) is Reason.BODY_MALFORMED
    assert reason(ask, {"query": both, "operationName": ""}) is Reason.BODY_AMBIGUOUS


def test_arguments_are_those_that_will_be_used():
    document = """mutation Pay($amount: Int!, $to: String = "bob", $more: [Int], $none: Int) {
      transfer(amount: $amount, to: $to, currency: EUR, rate: 1.5, urgent: true, note: null,
               deep: {a: [1, $amount, $none], b: $none}, gone: $none, list: $more)
    }"""
    [action] = ask({"query": document, "variables": {"amount": 5, "more": [1, 2]}})
    assert action.args == {
        "amount": 5,
        "to": "bob",
        "currency": "EUR",
        "rate": 1.5,
        "urgent": True,
        "note": None,
        "deep": {"a": [1, 5, None]},
        "list": [1, 2],
    }
    assert action.tool == "transfer"
    [action] = ask({"query": document, "variables": {"amount": 5, "to": None}})
    assert action.args["to"] is None


def test_one_field_under_two_aliases_is_two_actions():
    actions = ask("mutation { a: pay(amount: 1) b: pay(amount: 1000) }")
    assert [action.args["amount"] for action in actions] == [1, 1000]


@pytest.mark.parametrize(
    "body",
    [
        {"query": "query Q { a } query Q { b }", "operationName": "Q"},
        {"query": "query Q { a } { b }", "operationName": "Q"},
        "{ ...F } fragment F on Query { a } fragment F on Query { b }",
        "{ a(x: 1, x: 2) }",
        "{ a(x: {y: 1, y: 2}) }",
        "query Q($x: Int = 1, $x: Int = 2) { a(x: $x) }",
        "{ a(x: 9007199254740993) }",
        "{ a(x: 1e999) }",
        "{ a(x: 0.1000000000000000055) }",
        '{ a(x: "b\\u0000") }',
        "\ufeff{ a }",
        {"query": "{ a }", "documentId": "x"},
        {"query": "{ a }", "Query": "{ b }"},
        {"query": "{ a }", "operationname": "x"},
        {"query": "{ a }", "extensions": {"PersistedQuery": {}}},
        {"query": "{ a }", "extensions": {"persistedQuery": {"sha256Hash": "x", "Version": 1}}},
    ],
)
def test_what_servers_could_read_differently_is_ambiguous(body):
    assert reason(ask, body) is Reason.BODY_AMBIGUOUS


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": 1},
        {"query": "{ a }", "variables": [1]},
        {"query": "{ a }", "variables": "{}"},
        {"query": "{ a }", "operationName": 1},
        {"query": "{ a }", "extensions": {"persistedQuery": {}}},
        "{ a",
        "{ }",
        "{ a } }",
        "fragment F on Query { a }",
        "{ ...Missing }",
        "{ ...F } fragment F on Query { ...F }",
        "{ a(x: $undefined) }",
        "type Query { a: Int } { a }",
        '{ a(x: "\\uD800") }',
        7,
    ],
)
def test_what_is_not_graphql_is_malformed(body):
    assert reason(ask, body if not isinstance(body, int) else [body], settings=GraphqlSettings(batches=True)) is (
        Reason.BODY_MALFORMED
    )


def test_another_member_is_unknown():
    assert reason(ask, {"query": "{ a }", "map": {}}) is Reason.BODY_UNKNOWN


def test_limits_hold():
    assert len(ask("{ " + "a " * 16 + "}")) == 16
    assert reason(ask, "{ " + "a " * 17 + "}") is Reason.BODY_TOO_LARGE
    assert reason(ask, "{ a { " + "b " * 3_000 + "} }") is Reason.BODY_TOO_LARGE
    assert ask("{ a { " + "b " * 6 + "} }", settings=GraphqlSettings(max_tokens=11))
    assert reason(ask, "{ a { " + "b " * 7 + "} }", settings=GraphqlSettings(max_tokens=10)) is Reason.BODY_TOO_LARGE
    deep = "{ a " * 5_000 + "}" * 5_000
    assert reason(ask, deep, settings=GraphqlSettings(max_tokens=100_000)) is Reason.BODY_TOO_LARGE
    nested = "{ a(x: " + "[" * 5_000 + "]" * 5_000 + ") }"
    assert reason(ask, nested, settings=GraphqlSettings(max_tokens=100_000)) is Reason.BODY_TOO_LARGE


def test_fragments_that_spread_each_other_end():
    rounds = " ".join(f"fragment F{n} on Q {{ ...F{n + 1} ...F{n + 1} }}" for n in range(30))
    assert names(ask("{ ...F0 } " + rounds + " fragment F30 on Q { a ...F0 }")) == ["query:a"]


def test_batches_are_read_where_configured_only():
    batch = [{"query": "{ a }"}, {"query": CREATE}]
    assert reason(ask, batch) is Reason.BODY_UNKNOWN
    on = GraphqlSettings(batches=True)
    assert names(ask(batch, settings=on)) == ["query:a", "mutation:createUser"]
    assert reason(ask, [], settings=on) is Reason.BODY_TOO_LARGE
    assert reason(ask, batch, settings=on, limits=Limits(max_batch=1)) is Reason.BODY_TOO_LARGE


def test_persisted_documents_are_those_configured():
    settings = GraphqlSettings(persisted={"doc-1": CREATE})
    assert names(ask({"documentId": "doc-1"}, settings=settings)) == ["mutation:createUser"]
    assert names(ask({"extensions": {"persistedQuery": {"sha256Hash": "doc-1"}}}, settings=settings)) == [
        "mutation:createUser"
    ]
    assert reason(ask, {"documentId": "doc-2"}, settings=settings) is Reason.BODY_UNKNOWN
    assert reason(ask, {"documentId": "doc-1", "id": "doc-2"}, settings=settings) is Reason.BODY_MALFORMED
    own = hashlib.sha256(b"{ a }").hexdigest()
    assert names(ask({"query": "{ a }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": own}}})) == [
        "query:a"
    ]
    other = {"query": CREATE, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": own}}}
    assert reason(ask, other) is Reason.BODY_MISMATCH


def test_a_get_has_its_request_in_the_url():
    [action] = get(query="query Q($x: Int) { a(x: $x) }", variables='{"x": 3}', operationName="Q")
    assert (action.name, action.args) == ("graphql:query:a", {"x": 3})
    assert reason(get, query=CREATE) is Reason.BODY_UNKNOWN
    assert reason(get, query="{ a }", variables='{"x":1,"x":2}') is Reason.BODY_AMBIGUOUS
    assert reason(get, query="{ a }", other="1") is Reason.BODY_UNKNOWN
    assert reason(get_raw, "query={a}&query={b}") is Reason.BODY_AMBIGUOUS
    assert reason(get_raw, "query={a}&Query={b}") is Reason.BODY_AMBIGUOUS
    assert reason(get_raw, "") is Reason.BODY_MALFORMED
    assert reason(get_raw, "query={a}&x") is Reason.BODY_MALFORMED
    assert reason(get_raw, "query=%ff") is Reason.BODY_MALFORMED
    assert reason(get_raw, "query={a}", size=3) is Reason.BODY_MALFORMED


@pytest.mark.parametrize("query", ["query={b}", "a=1&operationName=X", "%71uery={b}", "a=1;query={b}", "QUERY=x"])
def test_members_in_the_url_beside_a_body_are_refused(query):
    assert reason(ask, "{ a }", query=query) is Reason.BODY_AMBIGUOUS
    assert ask("{ a }", query="trace=1")


def test_other_methods_are_unknown():
    with pytest.raises(Refusal) as refusal:
        GraphqlDecoder(GraphqlSettings()).wants_body(Message("PUT", "/graphql"))
    assert refusal.value.reason is Reason.BODY_UNKNOWN


def test_a_variable_put_in_again_and_again_makes_no_more_of_a_body_than_arguments_may_be():
    """I12: 25 kB of body would be a list of 25 million numbers, walked through for the key of the decision."""
    document = f"query Q($v: X) {{ a(x: [{'$v ' * 900}]) }}"
    body = {"query": document, "variables": {"v": [1] * 10_000}}
    assert reason(ask, body) is Reason.BODY_TOO_LARGE
    again = f'query Q($v: X = "{"x" * 1000}") {{ a(x: [{"$v " * 70}]) }}'
    assert reason(ask, again) is Reason.BODY_TOO_LARGE
    twice = {"query": "query Q($v: X) { a(x: $v) b(x: $v) }", "variables": {"v": "x" * 60_000}}
    assert names(ask(twice)) == ["query:a", "query:b"]


def test_a_semicolon_in_the_url_is_refused_for_some_servers_read_another_query_behind_it():
    assert reason(get_raw, "query=%7Ba%7D%23;query=%7Bsecret%7D") is Reason.BODY_AMBIGUOUS
    assert reason(get_raw, "query=%7Ba%7D;operationName=B") is Reason.BODY_AMBIGUOUS
    assert names(get_raw("query=%7Ba(x:%22%3B%22)%7D")) == ["query:a"]
