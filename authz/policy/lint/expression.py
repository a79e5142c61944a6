"""Checks one expression, a matcher or the sub-rule of a rule: its names, the kinds of its values, its map keys."""

import difflib
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from authz.policy.functions import Function
from authz.policy.lint.kinds import (
    LIST,
    MAP,
    NUMBER,
    TEXT,
    TRUTH,
    Miss,
    Vocabulary,
    conditions,
    described,
    kinds,
    look_up,
    open_map,
    unlike,
)
from authz.policy.located import Located, Span, Unknown
from authz.policy.render import attribute_text
from authz.policy.tree import Arithmetic, Attribute, Call, Compare, Items, Literal, Node, is_role, walk

_ORDER = frozenset(("<", "<=", ">", ">="))
_TOOL = frozenset({("tool",), ("name",)})
"""What names the tool that an action's arguments are for."""
_MEMBERSHIP = frozenset(("in", "not in"))


class Problem(msgspec.Struct, frozen=True):
    """A finding that does not yet know its file: `span` counts in the expression."""

    code: str
    span: Span
    message: str
    advice: str = ""


class Names(msgspec.Struct, frozen=True):
    """What expressions may name."""

    section: str
    """The request definition, `r`."""
    vocabulary: Vocabulary
    functions: Mapping[str, Function]


def problems(located: Located, names: Names) -> Iterator[Problem]:
    """Everything that is wrong with an expression, in no order."""
    for unknown in located.unknown:
        yield Problem(unknown.code, _named(unknown), unknown.problem, did_you_mean(unknown.name, unknown.known))
    yield from _astray(located, names)
    for condition in conditions(located.tree):
        found = kinds(condition, names.vocabulary)
        if found and TRUTH not in found:
            advice = "compare it, for example with == or !="
            message = f"a condition must be true or false; this is {described(found)}"
            yield Problem("type-mismatch", located.span(condition, located.tree), message, advice)
    for node in walk(located.tree):
        match node:
            case Compare():
                yield from _compared(node, located, names)
            case Arithmetic(operator, left, right):
                found = kinds(left, names.vocabulary) | kinds(right, names.vocabulary)
                if found & {LIST, MAP} or (operator != "+" and found == {TEXT}) or found == {TEXT, NUMBER}:
                    message = f"`{operator}` of {_pair(left, right, names)}"
                    yield Problem("type-mismatch", located.span(node, left), message, "")
            case Call() if not is_role(node.function):
                yield from _called(node, located, names)
    yield from _unguarded(located, names)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Advice for who mistyped a name."""
    choice = list(known)
    folded = {each.lower(): each for each in choice}
    close = [folded[name.lower()]] if name.lower() in folded else difflib.get_close_matches(name, choice, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are {', '.join(sorted(choice))}" if choice else ""


def _named(unknown: Unknown) -> Span:
    return (unknown.column, unknown.column + len(unknown.name) - 1)


def _astray(located: Located, names: Names) -> Iterator[Problem]:
    """Attributes that no request has; each once."""
    for attribute in dict.fromkeys(node for node in walk(located.tree) if isinstance(node, Attribute)):
        missed = look_up(attribute, names.vocabulary)
        if isinstance(missed, Miss):
            parent = attribute_text(missed.parent, names.section)
            same = next(node for node in walk(located.tree) if node == attribute)
            advice = missed.advice or did_you_mean(missed.name, missed.known)
            if not missed.known and not missed.advice:
                advice = f"{parent} is a single value"
            message = f"no request has {attribute_text(attribute, names.section)}: {parent} has no {missed.name!r}"
            yield Problem("unknown-attribute", located.span(same), message, advice)


def _compared(node: Compare, located: Located, names: Names) -> Iterator[Problem]:
    left, right = kinds(node.left, names.vocabulary), kinds(node.right, names.vocabulary)
    span = located.span(node, node.left)
    pair = _pair(node.left, node.right, names)
    if node.operator in _MEMBERSHIP:
        if right and not right & {LIST, MAP}:
            message = f"`{node.operator}` needs a list or map on its right; this is {described(right)}"
            yield Problem("type-mismatch", located.span(node.right, node), message, "write ['a', 'b'] for a list")
        if isinstance(node.right, Items) and node.right.items:
            each = [kinds(item, names.vocabulary) for item in node.right.items]
            if all(unlike(left, found) for found in each):
                message = f"never the case: {described(left)} is compared with {described(each[0])}"
                yield Problem("type-mismatch", span, message, _quotes(left, each[0]))
    elif node.operator in _ORDER:
        if left & {LIST, MAP} or right & {LIST, MAP} or unlike(left, right):
            yield Problem("type-mismatch", span, f"{pair} have no order", _quotes(left, right))
    elif unlike(left, right):
        always = "never" if node.operator == "==" else "always"
        yield Problem("type-mismatch", span, f"{always} the case: it compares {pair}", _quotes(left, right))


def _pair(left: Node, right: Node, names: Names) -> str:
    told = [
        described(found) if found else "a value" for side in (left, right) for found in [kinds(side, names.vocabulary)]
    ]
    return " and ".join(told)


def _quotes(left: frozenset[str], right: frozenset[str]) -> str:
    both = left | right
    if both == {TEXT, NUMBER}:
        return "a number stands without quotes, a text in quotes"
    if both == {TEXT, TRUTH}:
        return "truth is True or False, without quotes"
    if MAP in both:
        return "name what is inside the map"
    return ""


def _called(node: Call, located: Located, names: Names) -> Iterator[Problem]:
    function = names.functions.get(node.function)
    if function is None:
        return
    for argument in node.arguments[: function.subjects] if function.total else ():
        found = kinds(argument, names.vocabulary)
        if found and (LIST if function.listed else TEXT) not in found:
            message = f"{node.function} looks at {'lists' if function.listed else 'texts'}; this is {described(found)}"
            yield Problem("type-mismatch", located.span(argument, node), message)
    for argument in node.arguments[function.subjects :]:
        if any(isinstance(part, Attribute) for part in walk(argument)):
            message = (
                f"{node.function} would take its pattern from the request: a caller who chooses it matches anything"
            )
            advice = "the value comes first, then the pattern, as a text or a column of the rule"
            yield Problem("request-controlled-pattern", located.span(argument, node), message, advice)


def _unguarded(located: Located, names: Names) -> Iterator[Problem]:
    """Keys of maps that are read without asking first whether they are there; each once."""
    asked = {
        (node.right, node.left.value)
        for node in walk(located.tree)
        if isinstance(node, Compare) and node.operator in _MEMBERSHIP and isinstance(node.left, Literal)
    }
    # A rule that asks for the tool reads the arguments of that tool; a call of it without them is to be denied.
    of_tool = {node.token for node in walk(located.tree) if isinstance(node, Attribute) and node.path in _TOOL}
    told: set[tuple[Attribute, str]] = set()
    for node in walk(located.tree):
        if not isinstance(node, Attribute) or isinstance(look_up(node, names.vocabulary), Miss):
            continue
        read = open_map(node, names.vocabulary)
        if read is None or read in asked or read in told:
            continue
        told.add(read)
        where, key = read
        if where.path[:1] == ("args",) and where.token in of_tool:
            continue
        parent = attribute_text(where, names.section)
        message = f"errs, and so denies, for every request whose {parent} has no {key!r}"
        yield Problem("unguarded-key", located.span(node), message, f"put {key!r} in {parent} && before it")
