"""By which conditions of a rule it can be found: its keys.

A matcher is a conjunction; each conjunct that compares an attribute of the request with a constant of the rule is a
key: when the request's value leads elsewhere, that conjunct is false. Alternatives (`||`) give several ways to find a
rule, called arms: a rule can match only if every key of one arm fits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from authz.policy.functions import Function
from authz.policy.tree import And, Attribute, Call, Compare, Literal, Node, Or, Slot, Test, is_role

_MAX_ARMS = 8


@dataclass(frozen=True, slots=True)
class Dimension:
    """One way to look up rules: by what stands at an attribute, in one of four ways."""

    kind: str
    """"equal": it is the constant; "role": it holds the role; "member": the constant is in it; "path": it matches."""
    attribute: Attribute
    function: str = ""
    """For "role" the role definition."""
    domain: Attribute | None = None
    """For "role" where the domain stands, None when the definition has none."""
    strips_query: bool = False
    """For "path", whether only what stands before a `?` counts."""

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """What of the request a look-up reads."""
        return (self.attribute,) if self.domain is None else (self.attribute, self.domain)


@dataclass(frozen=True, slots=True)
class Key:
    """A conjunct as a look-up: the dimension, the constants that it compares with, and the conjunct's place."""

    dimension: Dimension
    values: tuple[Slot | Literal, ...]
    """Slots or literals, any of which may be the one; a slot of type "texts" holds several."""
    place: int
    function: str = ""
    """For "path", the pattern function."""


Arm: TypeAlias = tuple[Key, ...]


def conjuncts(tree: Node) -> tuple[Node, ...]:
    """The conditions that must all hold, in order of evaluation."""
    return tree.operands if isinstance(tree, And) else (tree,)


def equality(part: Node) -> Dimension | None:
    """The dimension in which finding a rule proves the conjunct; None when only evaluating it does."""
    match part:
        case Compare("==", Attribute() as attribute, other) | Compare("==", other, Attribute() as attribute):
            return Dimension("equal", attribute) if _text(other) else None
        case Compare("in", Attribute() as attribute, right):
            return Dimension("equal", attribute) if _texts(right) else None
        case _:
            return None


def arms(parts: Iterable[Node], functions: Mapping[str, Function]) -> tuple[Arm, ...]:
    """The ways in which all of the conjuncts `parts` can hold; one empty arm when nothing narrows them."""
    found: tuple[Arm, ...] = ((),)
    for place, part in enumerate(parts):
        ways = _arms(part, place, functions)
        combined = tuple(left + right for left in found for right in ways)
        found = combined if len(combined) <= _MAX_ARMS else found
    return found


def _arms(node: Node, place: int, functions: Mapping[str, Function]) -> tuple[Arm, ...]:
    match node:
        case And(operands):
            found: tuple[Arm, ...] = ((),)
            for operand in operands:
                combined = tuple(left + right for left in found for right in _arms(operand, place, functions))
                found = combined if len(combined) <= _MAX_ARMS else found
            return found
        case Or(operands):
            return tuple(arm for operand in operands for arm in _arms(operand, place, functions))
        case Literal(False):
            return ()
        case _:
            key = _key(node, place, functions)
            return ((),) if key is None else ((key,),)


def _key(node: Node, place: int, functions: Mapping[str, Function]) -> Key | None:
    match node:
        case Compare("==", Attribute() as attribute, other) | Compare("==", other, Attribute() as attribute):
            return _keyed(Dimension("equal", attribute), _text(other), place)
        case Compare("in", Attribute() as attribute, right):
            return _keyed(Dimension("equal", attribute), _texts(right), place)
        case Compare("in", other, Attribute() as attribute):
            return _keyed(Dimension("member", attribute), _text(other), place)
        case Call(function, (Attribute() as attribute, role)) if is_role(function):
            return _keyed(Dimension("role", attribute, function), _text(role), place)
        case Call(function, (Attribute() as attribute, role, Attribute() as domain)) if is_role(function):
            return _keyed(Dimension("role", attribute, function, domain), _text(role), place)
        case Test(function, subject=Attribute() as attribute, constants=(Slot() as pattern, *_)):
            if functions[function].outline is not None:
                dimension = Dimension("path", attribute, strips_query=functions[function].strips_query)
                return Key(dimension, (pattern,), place, function)
    return None


def _keyed(dimension: Dimension, values: tuple[Slot | Literal, ...], place: int) -> Key | None:
    return Key(dimension, values, place) if values else None


def _text(node: Node) -> tuple[Slot | Literal, ...]:
    """The node, if it is a constant text."""
    if isinstance(node, Slot) and node.type == "text":
        return (node,)
    return (node,) if isinstance(node, Literal) and isinstance(node.value, str) else ()


def _texts(node: Node) -> tuple[Slot | Literal, ...]:
    """The node, if it is a constant tuple of texts."""
    return (node,) if isinstance(node, Slot) and node.type == "texts" else ()
