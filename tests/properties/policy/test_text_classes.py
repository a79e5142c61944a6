"""I3: texts of one class are told apart by no pattern, although the index leads a text to few of them."""

from hypothesis import given
from hypothesis import strategies as st

from authz.policy.classes import TextClasses
from authz.policy.functions import registry
from authz.policy.uses import AttributeUse

FUNCTIONS = registry(None, {})
NAMES = ("keyMatch", "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5", "regexMatch", "globMatch")
PARTS = [
    "a",
    "ab",
    "v1",
    ":x",
    "{x}",
    "*",
    "**",
    "a*",
    "?",
    "a?",
    "[ab]",
    "{a,b}",
    "a.",
    ".*",
    "[a-z]+",
    "a|b",
    "(a|b)",
    "^a",
    "a{0,1}",
    "ab?",
    "a+",
    "$",
    "%2F",
]
WORDS = ["a", "ab", "abc", "v1", "", "b", "1", "?q", "a?b", "%2F", "a\n", "é", "\ud800", ":x", "*"]
PATTERNS = st.builds(
    lambda name, start, parts: (name, start + "/".join(parts)),
    st.sampled_from(NAMES),
    st.sampled_from(["/", "/", "/", "", "^/"]),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4),
)
TEXTS = st.builds(
    lambda start, parts: start + "/".join(parts),
    st.sampled_from(["/", "/", ""]),
    st.lists(st.sampled_from(WORDS), max_size=4),
)


def answers(use, text):
    found = []
    for predicate in use.patterns.values():
        try:
            found.append(predicate(text))
        except UnicodeEncodeError as error:
            found.append(type(error))
    return found, text if text in use.texts else None


@given(st.lists(PATTERNS, max_size=30), st.sets(TEXTS, max_size=2), st.lists(TEXTS, min_size=2, max_size=30))
def test_texts_of_one_class_get_the_same_answer_from_every_pattern(patterns, equal, texts):
    use = AttributeUse(matched=True, texts=equal)
    for name, pattern in patterns:
        try:
            use.patterns[name, pattern] = FUNCTIONS[name].bind(pattern)
        except ValueError:
            continue  # no pattern: such a rule does not load
    classes = TextClasses(use, FUNCTIONS)
    first = {}
    for text in texts:
        other = first.setdefault(classes.of(text), text)
        assert answers(use, text) == answers(use, other), (text, other)
