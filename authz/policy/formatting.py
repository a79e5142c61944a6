"""Lays out model and policy files in one way: the same text for the same rules, whoever wrote them.

Comments, blank lines and the order of everything stay. What is written anew means the same: an expression is laid out
only if it is cut into the same tokens as before, and else left as it was.
"""

from collections.abc import Collection, Iterator, Mapping

from authz.policy import perm
from authz.policy.expr import parse
from authz.policy.lexer import ExpressionError, pieces, tokens
from authz.policy.limits import PolicyLimits
from authz.policy.perm import Model
from authz.policy.rows import cell_spans, read_line
from authz.policy.source import Sections, Source
from authz.policy.tree import Field, SubRule, walk

_TIGHT_AFTER = frozenset(("(", "[", ".", "!"))
_TIGHT_BEFORE = frozenset((")", "]", ",", "."))
_WORDS = frozenset(("in", "not", "and", "or"))
_OPERATORS = frozenset(("&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%")) | _WORDS
_INDENT = "    "


def format_policy(text: str, file: str, limits: PolicyLimits, sub_rules: Mapping[str, Collection[int]]) -> str:
    """A policy file, laid out: one blank behind each comma, none elsewhere around columns.

    `sub_rules`: for each policy type the columns (from 1) that hold expressions.

    Raises:
        PolicyError: A line is no row.
    """
    lines = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if read_line(raw, file, number, limits) is not None:
            cells = [line[start:end].strip() for start, end in cell_spans(line, file, number)]
            chosen = sub_rules.get(cells[0], ())
            laid_out = [format_expression(cell) if at in chosen else cell for at, cell in enumerate(cells)]
            line = ", ".join(laid_out).rstrip()
        lines.append(line)
    return _ended(lines)


def format_model(text: str, file: str, limits: PolicyLimits) -> str:
    """A model file, laid out: `name = value`, and a blank line before each section.

    Raises:
        PolicyError: It is no model.
    """
    perm.parse(text, file, limits)
    lines: list[str] = []
    kind = ""
    continued = False
    for raw in text.split("\n"):
        line = raw.strip()
        section = line.startswith("[") and line.endswith("]")
        if not line or line[0] in "#;" or section:
            continued = False
            if section:
                kind = line
                _open_up(lines)
        else:
            more = line.endswith("\\")
            content = line[:-1].strip() if more else line
            whole = not (more or continued)
            line = _INDENT + content if continued else _entry(content, kind, whole=whole)
            line = f"{line} \\" if more else line
            continued = more
        lines.append(line)
    return _ended(lines)


def sub_rule_columns(model: Model, limits: PolicyLimits, source: Source) -> Mapping[str, Collection[int]]:
    """Which columns (from 1) of a model's rules are evaluated, and read in no other way."""
    found: dict[str, set[int]] = {}
    for number, entry in enumerate(model.matchers.values(), 1):
        sections = Sections() if number == 1 else Sections.numbered(number)
        policy = sections.policy if sections.policy in model.policies else Sections().policy
        request = sections.request if sections.request in model.requests else Sections().request
        try:
            tree = parse(entry.value, source.scope(Sections(policy=policy, request=request)), limits)
        except ExpressionError:
            continue
        plain = {node.name for node in walk(tree) if isinstance(node, Field)}
        fields = {node.field for node in walk(tree) if isinstance(node, SubRule)} - plain
        found.setdefault(policy, set()).update(model.policies[policy].index(field) + 1 for field in fields)
    return found


def format_expression(text: str) -> str:
    """A matcher or sub-rule, laid out; one that is none is left as it is."""
    try:
        laid_out = "".join(_spaced(pieces(text)))
        before = [(token.kind, token.value) for token in tokens(text, comments=True)]
        after = [(token.kind, token.value) for token in tokens(laid_out, comments=True)]
    except ExpressionError:
        return text
    return laid_out if before == after else text


def _spaced(written: list[str]) -> Iterator[str]:
    """The pieces with blanks where they belong."""
    before = ""
    unary = True
    """Whether a sign here would belong to what follows, not stand between two operands."""
    tight = True
    for piece in written:
        opening = piece in ("(", "[") and not unary
        if not tight and piece not in _TIGHT_BEFORE and not (opening and before not in _WORDS):
            yield "  " if piece.startswith("#") else " "
        yield piece
        tight = piece in _TIGHT_AFTER or (piece == "-" and unary)
        unary = piece in _OPERATORS or piece in ("(", "[", ",", "!")
        before = piece


def _entry(content: str, section: str, *, whole: bool) -> str:
    """`name = value`; the value is laid out where all of it is here."""
    name, _, value = content.partition("=")
    name, value = name.strip(), value.strip()
    if whole and section == "[matchers]":
        value = format_expression(value)
    elif whole and section in ("[request_definition]", "[policy_definition]"):
        value = ", ".join(part.strip() for part in value.split(","))
    return f"{name} = {value}".rstrip()


def _open_up(lines: list[str]) -> None:
    """Put a blank line before the section that follows, and before the comment that belongs to it."""
    at = len(lines)
    while at and lines[at - 1][:1] in ("#", ";"):
        at -= 1
    if at and lines[at - 1]:
        lines.insert(at, "")


def _ended(lines: list[str]) -> str:
    """The text, with one line break at its end and no blank lines at either end."""
    return "\n".join(lines).strip("\n") + "\n"
