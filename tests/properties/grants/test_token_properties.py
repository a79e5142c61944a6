"""Any grant comes back as it was signed, and no token that was tampered with does."""

import pytest
from grant_kit import EC_KEY, ED_KEY, KEYS, NOW, grant, grant_id, settings
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Refusal
from authz.grants.grant import Task
from authz.grants.token import read_grant, sign_grant

SETTINGS = settings(max_delegations=16, max_lifetime_seconds=86_400, max_token_bytes=16_384)
names = st.integers(1, 40).map(lambda number: f"spiffe://prod.example/a{number}")
printable = st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just(" "), max_size=60)


@st.composite
def grants(draw):
    begins = draw(st.integers(0, 1_000))
    ids = draw(st.lists(st.integers(0, 99), min_size=1, max_size=5, unique=True))
    parties = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    return grant(
        id=grant_id(ids[0]),
        holder=parties[0],
        delegators=tuple(parties[1:]),
        ancestors=tuple(map(grant_id, ids[1:])),
        task=Task(f"t-{ids[0]}", draw(printable.filter(str.isprintable))),
        issued_at=NOW,
        not_before=NOW + begins,
        expires=NOW + begins + draw(st.integers(1, 80_000)),
        uses=draw(st.integers(0, 5)),
        certificate=draw(st.sampled_from(["", "ab" * 32])),
    )


@given(grants(), st.sampled_from([ED_KEY, EC_KEY]))
def test_a_grant_comes_back(made, key):
    assert read_grant(sign_grant(made, key), KEYS, SETTINGS) == made


TOKEN = sign_grant(grant(delegators=("spiffe://prod.example/a1",), uses=1), ED_KEY)


@given(st.integers(0, len(TOKEN) - 1), st.characters(max_codepoint=0x10FFFF))
def test_a_token_with_another_character_anywhere_is_refused(place, character):
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    if changed != TOKEN:
        with pytest.raises(Refusal):
            read_grant(changed, KEYS, SETTINGS)


@given(st.integers(0, len(TOKEN)), st.text(min_size=1, max_size=3))
def test_a_token_with_something_put_in_is_refused(place, text):
    with pytest.raises(Refusal):
        read_grant(TOKEN[:place] + text + TOKEN[place:], KEYS, SETTINGS)


@given(st.integers(0, len(TOKEN) - 1))
def test_a_token_cut_short_is_refused(length):
    with pytest.raises(Refusal):
        read_grant(TOKEN[:length], KEYS, SETTINGS)


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"))
def test_anything_at_all_is_refused_in_order(text):
    with pytest.raises(Refusal):
        read_grant(text, KEYS, SETTINGS)
