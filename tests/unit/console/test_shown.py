"""Text of others, made fit to be looked at."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import Markup

from authz.console.shown import looks_alike, runs, shown

HOSTILE = "".join(
    chr(code) for code in (0, 7, 10, 13, 27, 0x7F, 0x85, 0xAD, 0x200B, 0x200D, 0x202E, 0x2028, 0x2066, 0xFEFF, 0xE0041)
)


@given(st.text())
@example(HOSTILE)
@example("<script>alert(1)</script>")
@example("\ud800")
@example("a\u00a0b\u3000c")
def test_nothing_is_markup_and_nothing_hides(text):
    made = shown(text, 100)
    assert isinstance(made, Markup)
    plain = "".join(run.text for run in runs(text, 100))
    assert all(unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for letter in plain)
    assert "<script" not in made.lower()
    outside = str(made)
    for tag in ('<span class="mark">', '<span class="cut">', "</span>"):
        outside = outside.replace(tag, "")
    if not looks_alike(text[:100]):
        assert "<" not in outside


@given(st.text(max_size=30))
def test_different_texts_are_shown_differently_or_say_that_they_are_cut(text):
    other = text + "\u200b"
    assert shown(text, 100) != shown(other, 100)


def test_what_is_invisible_is_named():
    assert shown("a\u202eb") == 'a<span class="mark">[U+202E]</span>b'
    assert shown("one\ntwo\tthree") == 'one<span class="mark">⏎</span>two<span class="mark">⇥</span>three'
    assert shown("\x1b[31mred") == '<span class="mark">[U+001B]</span>[31mred'


def test_a_megabyte_is_cut():
    made = shown("x" * 1_000_000, 2_000)
    assert len(made) < 2_200
    assert "998,000 more characters are not shown" in made


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("spiffe://demo.internal/ns/agents/sa/payer", ""),
        ("Zoë Müller", ""),
        ("pаyer", "mixes letters that look alike: Cyrillic, Latin"),
        ("раура", "has letters other than Latin: Cyrillic"),
        ("東京 office", "has letters other than Latin: Cjk"),
    ],
)
def test_letters_that_pass_for_others_are_pointed_at(text, why):
    assert looks_alike(text) == why
    assert ("look-alike letters" in shown(text)) is bool(why)
