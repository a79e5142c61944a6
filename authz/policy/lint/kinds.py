"""What values can be, so that comparing unlike ones shows: the attributes of requests, and the parts of expressions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from authz.policy.tree import (
    And,
    Arithmetic,
    Attribute,
    Call,
    Compare,
    Field,
    Items,
    Literal,
    Negative,
    Node,
    Not,
    Or,
)

TEXT, NUMBER, TRUTH, LIST, MAP = "text", "number", "truth value", "list", "map"
_ANYTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an attribute."""

    kinds: frozenset[str] = _ANYTHING
    """What its value can be; empty: anything."""
    members: Mapping[str, "Known"] = field(default_factory=dict)
    """Of a map, what it always has."""
    each: "Known | None" = None
    """Of a map that may have other keys, or lack them, what stands at one; None: it has no others."""
    only: frozenset[str] | None = None
    """Of such a map the keys that there can be; None: any."""
    advice: str = ""
    """What to do where a member is missed."""

    def member(self, name: str) -> "Known | None":
        """What is known of a member; None where there can be none of that name."""
        if name in self.members:
            return self.members[name]
        return self.each if self.only is None or name in self.only else None


Vocabulary = Mapping[str, Known]
"""What the tokens of the request definition stand for."""


@dataclass(frozen=True, slots=True)
class Miss:
    """An attribute that no request has: the name that is missing, and what there is instead."""

    parent: Attribute
    name: str
    known: tuple[str, ...]
    advice: str


def look_up(attribute: Attribute, vocabulary: Vocabulary) -> "Known | Miss":
    """What is known of an attribute, or where it goes astray."""
    known = vocabulary.get(attribute.token, Known())
    for depth, name in enumerate(attribute.path):
        if not known.kinds:
            return Known()
        member = known.member(name)
        if member is None:
            parent = Attribute(attribute.token, attribute.path[:depth])
            return Miss(parent, name, (*known.members, *(known.only or ())), known.advice)
        known = member
    return known


def open_map(attribute: Attribute, vocabulary: Vocabulary) -> tuple[Attribute, str] | None:
    """The map, and its key, that the attribute reads although a request may lack it; None when it reads none."""
    known = vocabulary.get(attribute.token, Known())
    for depth, name in enumerate(attribute.path):
        if name in known.members:
            known = known.members[name]
        elif known.each is not None:
            return Attribute(attribute.token, attribute.path[:depth]), name
        else:
            return None
    return None


def kinds(node: Node, vocabulary: Vocabulary) -> frozenset[str]:
    """What the value of an expression can be; empty: anything."""
    match node:
        case Attribute():
            known = look_up(node, vocabulary)
            return known.kinds if isinstance(known, Known) else _ANYTHING
        case Literal(value):
            return _of_constant(value)
        case Field():
            return frozenset((TEXT,))
        case Items():
            return frozenset((LIST,))
        case Compare() | Not() | Call(boolean=True):
            return frozenset((TRUTH,))
        case Call(function="keyGet" | "keyGet2" | "keyGet3"):
            return frozenset((TEXT,))
        case Arithmetic("+", left, right):
            both = kinds(left, vocabulary) | kinds(right, vocabulary)
            return both if both in ({TEXT}, {NUMBER}) else _ANYTHING
        case Arithmetic() | Negative():
            return frozenset((NUMBER,))
        case _:
            return _ANYTHING


def unlike(left: frozenset[str], right: frozenset[str]) -> bool:
    """Whether no value of one kind can equal one of the other; True and False are numbers too."""
    return bool(left and right) and not (_numeric(left) & _numeric(right))


def _numeric(found: frozenset[str]) -> frozenset[str]:
    return frozenset(NUMBER if kind == TRUTH else kind for kind in found)


def _of_constant(value: object) -> frozenset[str]:
    match value:
        case bool():
            return frozenset((TRUTH,))
        case str():
            return frozenset((TEXT,))
        case int() | float():
            return frozenset((NUMBER,))
        case _:
            return _ANYTHING


def described(found: frozenset[str]) -> str:
    """The kinds in words: `a number or a text`."""
    return " or ".join(f"a {kind}" for kind in sorted(found))


def conditions(node: Node) -> Iterator[Node]:
    """The parts whose value may become that of the matcher: the expression itself, or the operands of && and ||."""
    if isinstance(node, And | Or):
        for operand in node.operands:
            yield from conditions(operand)
    else:
        yield node
