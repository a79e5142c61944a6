"""What could make an expression fail, as conditions on the request that can be checked before anything is evaluated.

The index may leave out a rule only when evaluating it would neither match nor fail. `needs` gives, for an expression,
guards such that, while all hold for a request, evaluating the expression cannot fail; or None when there is no such
set. Guards err on the safe side: one that does not hold only means that the rule is evaluated after all.
"""

from collections.abc import Callable, Collection, Mapping
from collections.abc import Mapping as MappingValue
from dataclasses import dataclass
from typing import TypeAlias

from authz.policy.functions import Function, RuleError, parse_address
from authz.policy.tree import (
    And,
    Arithmetic,
    Attribute,
    Call,
    Compare,
    Items,
    Literal,
    Negative,
    Node,
    Not,
    Or,
    Slot,
    Test,
    boolean,
    is_role,
    walk,
)

MISSING = object()
"""Stands for an attribute that the request does not have."""
_MAX_OPERATIONS = 8
_MAX_NUMBER = 2**53
_ORDER = frozenset(("<", "<=", ">", ">="))


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on what stands at an attribute of the request."""

    kind: str
    attribute: Attribute


Needs: TypeAlias = "frozenset[Guard] | None"
NOTHING: frozenset[Guard] = frozenset()


def needs(node: Node, functions: Mapping[str, Function], unsure: Collection[str] = ()) -> Needs:
    """Guards under which a conjunct of a matcher cannot fail, neither itself nor as the matcher's value.

    `unsure` are the role definitions whose conditions can fail.
    """
    if any(isinstance(part, Call) and part.function in unsure for part in walk(node)):
        return None
    found = _evaluated(node, functions)
    if boolean(node) or found is None:
        return found
    # A matcher's value may be that of any conjunct, and it must be a truth value.
    return found | {Guard("truth", node)} if isinstance(node, Attribute) else None


def _evaluated(node: Node, functions: Mapping[str, Function]) -> Needs:
    match node:
        case Literal() | Slot():
            return NOTHING
        case Attribute(path=path):
            return frozenset((Guard("present", node),)) if path else NOTHING
        case Items(operands) | And(operands) | Or(operands):
            return _all(*(_evaluated(operand, functions) for operand in operands))
        case Not(operand):
            return _evaluated(operand, functions)
        case Compare(operator, left, right):
            return _compared(operator, left, right, functions)
        case Test():
            return _tested(node, functions)
        case Call(name, arguments) if is_role(name):
            return _all(*(_text(argument) for argument in arguments))
        case _:
            return None


def _compared(operator: str, left: Node, right: Node, functions: Mapping[str, Function]) -> Needs:
    if operator in _ORDER:
        if "text" in (_type(left), _type(right)):
            return _all(_text(left), _text(right))
        return _all(_number(left), _number(right))
    if operator in ("==", "!="):
        return _all(
            *(_number(side) if _type(side) == "number" else _evaluated(side, functions) for side in (left, right))
        )
    if isinstance(right, Attribute):
        return _all(_text(left), frozenset((Guard("collection", right),)))
    if isinstance(right, Items) or (isinstance(right, Slot) and right.type in ("texts", "items")):
        return _all(_evaluated(left, functions), _evaluated(right, functions))
    return None


def _tested(node: Test, functions: Mapping[str, Function]) -> Needs:
    function = functions[node.function]
    if not function.total:
        return None
    if node.subject is None:
        return NOTHING
    if function.address:
        subject = node.subject
        return frozenset((Guard("address", subject),)) if isinstance(subject, Attribute) else None
    if function.listed:
        subject = node.subject
        return frozenset((Guard("list", subject),)) if isinstance(subject, Attribute) else None
    return _text(node.subject)


def _all(*parts: Needs) -> Needs:
    found: frozenset[Guard] = NOTHING
    for part in parts:
        if part is None:
            return None
        found |= part
    return found


def _type(node: Node) -> str:
    """What the node is sure to be when it can be evaluated: "text", "number", or "" for anything."""
    match node:
        case Slot(type=known):
            return known if known in ("text", "number") else ""
        case Literal(value):
            return "text" if isinstance(value, str) else "number" if type(value) in (int, float) else ""
        case Arithmetic() | Negative():
            return "number"
        case _:
            return ""


def _text(node: Node) -> Needs:
    """Guards under which the node is a text."""
    if isinstance(node, Attribute):
        return frozenset((Guard("text", node),))
    return NOTHING if _type(node) == "text" else None


def _number(node: Node) -> Needs:
    """Guards under which the node is a number, and no operation in it overflows."""
    operations = sum(isinstance(part, Arithmetic) for part in walk(node))
    if operations and any(isinstance(part, Slot) for part in walk(node)):
        return None  # the constant is not known here, and could be 0 behind a division, or huge
    return _operand(node) if operations <= _MAX_OPERATIONS else None


def _operand(node: Node) -> Needs:
    match node:
        case Attribute():
            return frozenset((Guard("number", node),))
        case Negative(operand):
            return _operand(operand)
        case Arithmetic("+" | "-" | "*", left, right):
            return _all(_operand(left), _operand(right))
        case Arithmetic("/" | "%", left, Literal(value) as right) if value:
            return _all(_operand(left), _operand(right))
        case Literal(int() | float() as value) if abs(value) <= _MAX_NUMBER:
            return NOTHING
        case Slot(type="number"):
            return NOTHING
        case _:
            return None


def _is_text(value: object) -> bool:
    if type(value) is not str:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which RE2 cannot read
        return False
    return True


def _is_number(value: object) -> bool:
    return type(value) in (float, bool) or (type(value) is int and -_MAX_NUMBER <= value <= _MAX_NUMBER)


def _is_collection(value: object) -> bool:
    return isinstance(value, list | tuple | set | frozenset | MappingValue)


def _is_address(value: object) -> bool:
    try:
        parse_address(value)
    except RuleError:
        return False
    return True


CHECKS: Mapping[str, Callable[[object], bool]] = {
    "present": lambda value: value is not MISSING,
    "text": _is_text,
    "number": _is_number,
    "truth": lambda value: type(value) is bool,
    "collection": _is_collection,
    "list": lambda value: isinstance(value, list | tuple),
    "address": _is_address,
}
"""For each kind of guard, the check of what stands at the attribute (MISSING: nothing does)."""
