"""Which SPIFFE IDs a line of configuration means."""

import pytest

from authz.identity.patterns import PatternTable, parse_spiffe_pattern
from authz.spiffe import parse_spiffe_id


def table(**patterns):
    return PatternTable((parse_spiffe_pattern(text), value) for value, text in patterns.items())


def find(entries, text):
    return entries.find(parse_spiffe_id(text))


def test_an_exact_id_goes_before_any_prefix():
    entries = table(below="spiffe://td/ns/a/*", exact="spiffe://td/ns/a/sa/x")
    assert find(entries, "spiffe://td/ns/a/sa/x") == "exact"
    assert find(entries, "spiffe://td/ns/a/sa/y") == "below"


def test_the_longest_prefix_wins_whatever_the_order():
    entries = table(longest="spiffe://td/ns/a/sa/*", all="spiffe://td/*", middle="spiffe://td/ns/a/*")
    assert find(entries, "spiffe://td/ns/a/sa/x") == "longest"
    assert find(entries, "spiffe://td/ns/a/x") == "middle"
    assert find(entries, "spiffe://td/x") == "all"


def test_a_prefix_ends_at_a_segment_and_does_not_include_itself():
    entries = table(below="spiffe://td/ns/a/*")
    assert find(entries, "spiffe://td/ns/ab/x") is None
    assert find(entries, "spiffe://td/ns/a") is None
    assert find(entries, "spiffe://td/ns/a/x/y/z") == "below"


def test_a_prefix_holds_in_its_own_trust_domain_only():
    entries = table(below="spiffe://td/*")
    assert find(entries, "spiffe://td2/x") is None
    assert find(entries, "spiffe://td") is None


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "/*",
        "spiffe://*",
        "spiffe://td",
        "spiffe://td/a*",
        "spiffe://td/*/x",
        "spiffe://td/a/*x",
        "spiffe://td/a/**",
        "spiffe://td/a/*/*",
        "spiffe://*.td/a",
        "spiffe://TD/*",
        "spiffe://td/a/*\n",
    ],
)
def test_other_patterns_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_spiffe_pattern(text)
