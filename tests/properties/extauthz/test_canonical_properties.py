"""What holds for every path, whatever a client sends (I6)."""

import posixpath
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Refusal
from authz.extauthz.canonical import PathRules, canonical_path

FRAGMENTS = st.sampled_from(
    ["/", "//", ".", "..", "a", "B", "admin", "%2e", "%2E", "%2f", "%5C", "\\", ";", ";x=1", "%3b", "%00", "%61",
     "%C3%A9", "é", "%ff", "!", "%21", "%25", "%252e", "#", "?", "%3f", "%", " ", "\n", "~", "$", "%24",
     "{", "%7b", "…"]
)  # fmt: skip
PATHS = st.lists(FRAGMENTS, max_size=12).map(lambda parts: "/" + "".join(parts)) | st.text(max_size=40)
RULES = st.builds(
    PathRules,
    empty_segments=st.sampled_from(["refuse", "merge", "keep"]),
    dot_segments=st.sampled_from(["refuse", "resolve"]),
    encoded_dots=st.sampled_from(["refuse", "decode"]),
    encoded_slashes=st.sampled_from(["refuse", "decode", "keep"]),
    backslashes=st.sampled_from(["refuse", "slash", "keep"]),
    parameters=st.sampled_from(["refuse", "strip", "keep"]),
    encoded_delimiters=st.sampled_from(["refuse", "keep"]),
    encoded_percent=st.sampled_from(["refuse", "keep"]),
    invalid_utf8=st.sampled_from(["refuse", "keep"]),
    replaced_bytes=st.sampled_from(["refuse", "keep"]),
    trailing_slash=st.sampled_from(["keep", "strip", "refuse"]),
)


def settle(path, rules):
    try:
        return canonical_path(path, rules, bytes_visible=False)[0]
    except Refusal:
        return None


@given(PATHS, RULES)
def test_a_canonical_path_is_its_own_canonical_form(path, rules):
    first = settle(path, rules)
    if first is not None:
        keep = PathRules(
            encoded_slashes="keep", backslashes="keep", parameters="keep", encoded_delimiters="keep",
            encoded_percent="keep", invalid_utf8="keep", replaced_bytes="keep", empty_segments="keep",
        )  # fmt: skip
        assert settle(first, keep) == first


@given(PATHS)
def test_by_default_every_reader_agrees_on_what_is_let_through(path):
    canonical = settle(path, PathRules())
    if canonical is None:
        return
    raw = path.partition("?")[0]
    # An upstream that decodes and normalises, and one that does neither, must mean the same resource.
    assert unquote(raw) == unquote(canonical)
    assert posixpath.normpath(unquote(canonical)) == (unquote(canonical).rstrip("/") or "/")
    assert not set(unquote(canonical)) & set("\\;?#%\0")
    # Decoding twice changes nothing either.
    assert unquote(unquote(canonical)) == unquote(canonical)


@given(PATHS, RULES)
def test_no_rules_let_a_dot_segment_or_control_character_through(path, rules):
    canonical = settle(path, rules)
    if canonical is not None:
        assert canonical.startswith("/")
        assert canonical.isascii()
        assert canonical.isprintable()
        names = [segment.partition(";")[0] for segment in canonical.split("/")]
        assert "." not in names
        assert ".." not in names
