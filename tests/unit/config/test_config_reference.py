"""The reference names every setting, with its type, default and meaning."""

import re

import msgspec
import pytest

from authz.audit.settings import AuditSettings
from authz.config.docs import class_doc, field_docs
from authz.config.reference import reference, type_text
from authz.extauthz.canonical import PathRules


def test_every_setting_has_a_row_with_type_default_and_meaning(config_type):
    text = reference(config_type)
    assert '| `name` | text | `"authz"` | What this server calls itself. |' in text
    assert "| `max_streams` | integer, at least 1, at most 1000 | `100` | Most calls at once. |" in text
    assert "| `timeout_seconds` | number, more than 0 | `0.2` |  |" in text
    assert '| `transport` | `"h2corn"` or `"aio"` | `"h2corn"` | Which server. |' in text
    assert '| `colour` | `"red"` or `"blue"` | `"red"` |  |' in text
    assert "| `eager` | `true` or `false` | `false` |  |" in text
    assert "| `retries` | integer or unset | unset |  |" in text
    assert "| `certificate_file` | text | required | The chain, PEM. |" in text
    assert "| `labels` | table of text | `{}` | Free text. |" in text
    assert "| `matrix` | list of list of integer | `[]` |  |" in text


def test_every_section_has_a_heading_that_says_how_it_is_reached(config_type):
    headings = re.findall(r"^## `(.*)`$", reference(config_type), re.MULTILINE)
    assert headings == ["server", "server.tls", "issuers[]", "domains.<name>"]
    assert "## `server`\n\nWhere requests come in.\n\nA second paragraph.\n" in reference(config_type)


def test_a_bar_in_a_text_does_not_end_its_cell(config_type):
    assert "A \\| in the text. |" in reference(config_type)


def test_the_same_types_give_the_same_text(config_type):
    assert reference(config_type) == reference(config_type)


def test_meanings_are_read_from_the_docstrings_under_the_fields():
    docs = field_docs(PathRules)
    assert set(docs) == {field.name for field in msgspec.structs.fields(PathRules)}
    assert docs["backslashes"].startswith("`\\` and `%5C`")


def test_every_audit_setting_has_a_meaning():
    assert set(field_docs(AuditSettings)) == {field.name for field in msgspec.structs.fields(AuditSettings)}
    assert class_doc(AuditSettings).startswith("Where the record of every call goes")


def test_inherited_meanings_count_and_may_be_replaced():
    class Base(msgspec.Struct):
        one: int = 1
        """From the base."""
        two: int = 2
        """From the base."""

    class Derived(Base):
        two: int = 3
        """Replaced."""

    assert field_docs(Derived) == {"one": "From the base.", "two": "Replaced."}


def test_without_the_source_only_the_meanings_are_missing():
    made = msgspec.defstruct("Made", [("x", int, 1)], module="nowhere")
    assert field_docs(made) == {}
    assert "| `x` | integer | `1` |  |" in reference(made)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(list[str | None], "list of text or unset"), (dict[str, tuple[int, ...]], "table of list of integer")],
)
def test_types_are_put_in_words(kind, text):
    assert type_text(kind) == text
