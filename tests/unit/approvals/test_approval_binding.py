"""What an approval is bound to: any difference, and nothing that is none, makes another digest."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.approvals.binding import Binding, arguments_digest, binding_digest, without_id
from authz.approvals.demand import Demand

BINDING = Binding(
    principal="spiffe://td/a",
    chain=("spiffe://td/o", "spiffe://td/a"),
    grant_id="g1",
    task=("t1", "pay", False),
    action="POST",
    method="POST",
    host="bank.internal",
    port=443,
    path="/v1/payments",
    query="a=1",
    resource={"type": "payment", "labels": {"pci": "yes"}},
    headers=(("content-type", "application/json"),),
    arguments="00",
    policy="p1",
    rule="policy.csv:1",
    demand=Demand(groups=("payments",)),
)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("principal", "spiffe://td/b"),
        ("chain", ("spiffe://td/a", "spiffe://td/o")),
        ("chain", ("spiffe://td/o", "spiffe://td/x", "spiffe://td/a")),
        ("grant_id", "g2"),
        ("task", ("t2", "pay", False)),
        ("task", ("t1", "pay", True)),
        ("action", "PUT"),
        ("method", "PUT"),
        ("host", "bank2.internal"),
        ("port", 8443),
        ("path", "/v1/payments/"),
        ("query", "a=2"),
        ("resource", {"type": "payment", "labels": {"pci": "no"}}),
        ("headers", (("content-type", "text/plain"),)),
        ("transaction", {"amount": 1}),
        ("arguments", "01"),
        ("policy", "p2"),
        ("rule", "policy.csv:2"),
        ("demand", Demand(groups=("payments",), persons=2)),
        ("beyond", (("budget pay", "100"),)),
    ],
)
def test_each_part_counts(field, other):
    assert binding_digest(msgspec.structs.replace(BINDING, **{field: other})) != binding_digest(BINDING)


def test_every_part_is_tried_above():
    tried = {mark.args[1][row][0] for mark in test_each_part_counts.pytestmark for row in range(len(mark.args[1]))}
    assert tried == set(Binding.__struct_fields__)


def test_the_order_in_which_a_resource_lists_its_attributes_does_not_count():
    same = msgspec.structs.replace(BINDING, resource={"labels": {"pci": "yes"}, "type": "payment"})
    assert binding_digest(same) == binding_digest(BINDING)


def test_no_part_can_pass_for_another():
    """What moves from the end of one part to the beginning of the next makes another question."""
    one = msgspec.structs.replace(BINDING, path="/v1/a", query="b")
    other = msgspec.structs.replace(BINDING, path="/v1/", query="ab")
    assert binding_digest(one) != binding_digest(other)


@given(st.binary(min_size=1, max_size=64), st.integers(0, 511))
def test_one_bit_of_the_body_counts(body, at):
    changed = bytearray(body)
    changed[at // 8 % len(body)] ^= 1 << at % 8
    assert arguments_digest(body, {}) != arguments_digest(bytes(changed), {})


def test_arguments_count_where_there_is_no_body_and_pass_for_none():
    assert arguments_digest(b"", {"a": 1}) != arguments_digest(b"", {"a": 2})
    assert arguments_digest(b'{"a":1}', {}) != arguments_digest(b"", {"a": 1})
    with pytest.raises(ValueError, match="not to be written"):
        arguments_digest(b"", {"a": object()})


def rpc(number, **more):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"id": 3}} | more).encode()


def test_another_id_makes_no_other_request_and_anything_else_does():
    assert without_id(rpc(1)) == without_id(rpc(22)) == without_id(rpc("a"))
    assert without_id(rpc(1, params={"id": 4})) != without_id(rpc(1))
    assert without_id(rpc(1)) != without_id(rpc(1) + b" ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"id": 1, "id": 2}',
        b'{"id": {"a": 1}}',
        b'{"id": [1]}',
        b'{"id" 1}',
        b'{"id": 1',
        b'{"id": 1]',
        b'{"a": 1}',
        b"\xff",
        b'{"id": 1.5}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_request_with_one_plain_id_stays_as_it_is(body):
    assert without_id(body) == body


@given(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=4), st.integers())
def test_two_bodies_that_differ_in_more_than_the_id_stay_different(members, number):
    first = json.dumps({**members, "id": number}).encode()
    second = json.dumps({**members, "id": number, "x-more": 1}).encode()
    assert without_id(first) != without_id(second)
