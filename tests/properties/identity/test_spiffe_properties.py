"""What holds for every SPIFFE ID and pattern."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Refusal
from authz.identity.patterns import PatternTable, SpiffePattern
from authz.spiffe import SpiffeId, TrustDomain, parse_spiffe_id

domains = st.text("abcz019._-", min_size=1, max_size=255)
segments = st.text("abcXYZ019._-", min_size=1, max_size=12).filter(lambda text: text not in (".", ".."))
paths = st.lists(segments, max_size=6).map(lambda parts: "".join(f"/{part}" for part in parts))
ids = st.builds(SpiffeId, domains.map(TrustDomain), paths)
few_ids = st.builds(
    SpiffeId,
    st.sampled_from([TrustDomain("a"), TrustDomain("b")]),
    st.lists(st.sampled_from(["x", "y"]), max_size=4).map(lambda parts: "".join(f"/{part}" for part in parts)),
)


@given(ids)
def test_every_id_reads_back_from_its_text(spiffe_id):
    assert parse_spiffe_id(str(spiffe_id)) == spiffe_id


@given(st.text() | st.text("spiffe:/.abAB%@\n ", max_size=30).map(lambda rest: f"spiffe://{rest}"))
def test_any_text_is_an_id_of_that_very_text_or_refused(text):
    try:
        spiffe_id = parse_spiffe_id(text)
    except Refusal:
        return
    assert str(spiffe_id) == text
    assert text.isascii()
    assert text.isprintable()


@given(ids, st.integers(0, 3000), st.characters())
def test_one_changed_character_gives_another_id_or_none(spiffe_id, position, character):
    text = str(spiffe_id)
    position %= len(text) + 1
    changed = text[:position] + character + text[position:]
    with suppress(Refusal):
        assert parse_spiffe_id(changed) != spiffe_id


@given(ids)
def test_no_id_equals_its_text(spiffe_id):
    assert spiffe_id != str(spiffe_id)
    assert spiffe_id.trust_domain != spiffe_id.trust_domain.name


@given(st.dictionaries(st.builds(SpiffePattern, few_ids, st.booleans()), st.integers()), few_ids)
def test_a_table_finds_what_a_plain_search_finds(entries, wanted):
    """The plain search: the exact pattern, else the longest prefix that ends at a segment."""
    fitting = [
        (not pattern.below, len(str(pattern.base)), value)
        for pattern, value in entries.items()
        if (str(wanted).startswith(f"{pattern.base}/") if pattern.below else pattern.base == wanted)
    ]
    expected = max(fitting)[2] if fitting else None
    assert PatternTable(entries.items()).find(wanted) == expected
