"""The checked expression tree: what a matcher or sub-rule can consist of, and nothing else.

A tree can only be built from these nodes, so whatever is not here (calls of methods, comprehensions, names outside the
request and the rule) cannot be evaluated. Nodes are frozen and compare by content: equal trees share compiled code.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TypeAlias

Constant: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant that stands in the text itself. True and 1 are two literals, although Python calls them equal."""

    value: Constant
    type: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", type(self.value).__name__)


@dataclass(frozen=True, slots=True)
class Param:
    """A constant lifted out of a sub-rule, so that sub-rules that differ only in constants share one tree."""

    at: int
    type: str


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the rule: `p.obj`. Always text."""

    name: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A constant of one rule in the compiled form, at its place in the rule's tuple of constants."""

    at: int
    type: str


@dataclass(frozen=True, slots=True)
class Switch:
    """A condition on the rule's own constants, decided when the rule is loaded."""

    at: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """A value of the request: `r.sub` (empty path) or an attribute within it, `r.sub.team`."""

    token: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """A tuple or list that is written out: `("read", "write")`."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """True when the operand is falsy."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """Python's `and`: operands are evaluated in order, up to the first falsy one."""

    operands: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """Python's `or`: operands are evaluated in order, up to the first truthy one."""

    operands: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison; `operator` is one of == != < <= > >= in, `not in`."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`+ - * / %` of numbers; `+` also joins two texts."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Negative:
    """The number with the other sign."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Call:
    """A registered function, or a role definition (`g`), on arguments."""

    function: str
    arguments: "tuple[Node, ...]"
    boolean: bool
    """Whether it can only answer true or false."""


@dataclass(frozen=True, slots=True)
class Test:
    """A function whose constant arguments were bound when the rule was loaded: the slot holds the rest of it."""

    function: str
    bound: "Node"
    subject: "Node | None"
    boolean: bool
    constants: "tuple[Node, ...]" = ()
    """The constant arguments, for those who read the tree; not evaluated."""


@dataclass(frozen=True, slots=True)
class SubRule:
    """`eval(p.column)`: the text in that column of the rule is an expression that takes this place."""

    field: str


Node: TypeAlias = (
    Literal
    | Param
    | Field
    | Slot
    | Switch
    | Attribute
    | Items
    | Not
    | And
    | Or
    | Compare
    | Arithmetic
    | Negative
    | Call
    | Test
    | SubRule
)


def is_role(function: str) -> bool:
    """Whether a called name is a role definition, `g` or `g2`, and no function."""
    return function[:1] == "g" and (function[1:].isdigit() or len(function) == 1)


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below, in order of evaluation."""
    for part in fields(node):
        value = getattr(node, part.name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, Node))


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def rewrite(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """The tree with every node replaced for which `change` gives another; what it replaces is not descended into."""
    changed = change(node)
    if changed is not None:
        return changed
    values: dict[str, object] = {}
    for part in fields(node):
        value = getattr(node, part.name)
        if isinstance(value, Node):
            values[part.name] = rewrite(value, change)
        elif isinstance(value, tuple) and value and isinstance(value[0], Node):
            values[part.name] = tuple(rewrite(item, change) for item in value)
    return replace(node, **values) if values else node  # type: ignore[arg-type]  # the same node type, by field


def boolean(node: Node) -> bool:
    """Whether the expression can only yield True or False (or fail)."""
    match node:
        case Compare() | Not() | Switch():
            return True
        case Call(boolean=known) | Test(boolean=known):
            return known
        case And(operands) | Or(operands):
            return all(boolean(operand) for operand in operands)
        case Literal(value):
            return isinstance(value, bool)
        case _:
            return False


def conjunction(operands: tuple[Node, ...]) -> Node:
    """`and` of the operands, without nesting and without what changes nothing.

    Only what leaves the value the same, not just its truth, is left out: a matcher whose value is a text is an error.
    """
    return _flat(operands, And, neutral=True)


def disjunction(operands: tuple[Node, ...]) -> Node:
    """`or` of the operands; see `conjunction`."""
    return _flat(operands, Or, neutral=False)


def _flat(operands: tuple[Node, ...], kind: type[And] | type[Or], *, neutral: bool) -> Node:
    flat: list[Node] = []
    for operand in operands:
        flat.extend(operand.operands if isinstance(operand, kind) else (operand,))
    kept: list[Node] = []
    for place, operand in enumerate(flat):
        if operand == Literal(neutral):
            last = place == len(flat) - 1
            if not last or (kept and boolean(kept[-1])):
                continue
        kept.append(operand)
        if operand == Literal(not neutral):
            break
    if len(kept) == 1:
        return kept[0]
    return kind(tuple(kept)) if kept else Literal(neutral)
