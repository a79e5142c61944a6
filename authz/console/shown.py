"""Makes text of others fit to be looked at: nothing in it is markup, hides, reorders, or passes for something else.

What an approver reads was mostly written by the one who wants a yes. So what is invisible is made visible, what is too
long is cut and says so, and letters that are easily taken for others are pointed at.
"""

import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Final

import msgspec
from markupsafe import Markup, escape

_HIDING: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's general categories of what is not seen, or not known."""
_SPACES: Final = frozenset({"Zs"})
_NEAR: Final = frozenset({"HIRAGANA", "KATAKANA", "CJK", "HANGUL", "BOPOMOFO", "KATAKANA-HIRAGANA"})
"""Scripts that are written together, also with Latin."""


class Run(msgspec.Struct, frozen=True):
    """A piece of text and what it is: "" plain, "mark" a character made visible, "cut" what was left out."""

    text: str
    kind: str = ""


def runs(text: str, most: int) -> list[Run]:
    """Answer the text in pieces that can be shown as they are; longer than `most` characters is cut."""
    found = [
        Run("".join(map(_name, part)), "mark") if hidden else Run("".join(part))
        for hidden, part in groupby(text[:most], _hides)
    ]
    if len(text) > most:
        found.append(Run(f"… {len(text) - most:,} more characters are not shown", "cut"))
    return found


def looks_alike(text: str) -> str:
    """Answer why a name may pass for another, in words; "" when nothing speaks for it.

    Identifiers are ASCII almost everywhere; one that is not deserves a second look, mixed scripts even more.
    """
    if text.isascii():
        return ""
    for word in text.split():
        scripts = set(_scripts(word))
        if len(scripts) > 1 and not scripts - {"LATIN"} <= _NEAR:
            return f"mixes letters that look alike: {', '.join(sorted(each.title() for each in scripts))}"
    foreign = sorted({each for each in _scripts(text) if each != "LATIN"})
    return f"has letters other than Latin: {', '.join(each.title() for each in foreign)}" if foreign else ""


def shown(value: object, most: int = 2_000) -> Markup:
    """Answer text of others as markup."""
    text = str(value)
    if text.isascii() and text.isprintable() and len(text) <= most:
        return escape(text)
    made = Markup("").join(_marked(run) for run in runs(text, most))
    why = looks_alike(text[:most])
    if why:
        made += Markup(' <span class="warn-mark" title="{0}">look-alike letters: {0}</span>').format(why)
    return made


def _marked(run: Run) -> Markup:
    return Markup('<span class="{}">{}</span>').format(run.kind, run.text) if run.kind else escape(run.text)


def _hides(letter: str) -> bool:
    if letter == " ":
        return False
    category = unicodedata.category(letter)
    # Of the spaces only the plain one is one; marks that combine may pile up, but do not leave their line's start.
    return category in _HIDING or category in _SPACES


def _name(letter: str) -> str:
    return {"\n": "⏎", "\t": "⇥", "\r": "␍"}.get(letter, f"[U+{ord(letter):04X}]")


def _scripts(text: str) -> Iterator[str]:
    for letter in text:
        if letter.isalpha():
            yield unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
