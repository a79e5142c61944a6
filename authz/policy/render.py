"""Writes an expression as its author would, with the constants of a rule in place."""

from collections.abc import Sequence

from authz.policy.tree import (
    And,
    Arithmetic,
    Attribute,
    Call,
    Compare,
    Field,
    Items,
    Literal,
    Node,
    Not,
    Or,
    Slot,
    SubRule,
    Test,
    children,
)


def attribute_text(attribute: Attribute, section: str) -> str:
    """`r.sub.team`, and `r.sub["my team"]` where a name is no identifier."""
    steps = [f".{name}" if name.isidentifier() else f"[{name!r}]" for name in (attribute.token, *attribute.path)]
    return section + "".join(steps)


def render(node: Node, constants: Sequence[object], section: str) -> str:
    """The text of an expression; `section` is the name of the request definition in force."""

    parts = [render(part, constants, section) for part in _arguments(node)]
    match node:
        case Literal(value):
            return repr(value)
        case Slot(at):
            return repr(constants[at])
        case Attribute():
            return attribute_text(node, section)
        case Field(name) | SubRule(name):
            return name
        case Call() | Test():
            return f"{node.function}({', '.join(parts)})"
        case Items():
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        case _:
            return _operation(node, [_bracketed(*pair) for pair in zip(_arguments(node), parts, strict=True)])


def _operation(node: Node, parts: Sequence[str]) -> str:
    match node:
        case And():
            return " && ".join(parts)
        case Or():
            return " || ".join(parts)
        case Compare(sign) | Arithmetic(sign):
            return f" {sign} ".join(parts)
        case _:
            return f"{'!' if isinstance(node, Not) else '-'}{parts[0]}"


def _bracketed(node: Node, text: str) -> str:
    return f"({text})" if isinstance(node, And | Or | Compare | Arithmetic) else text


def _arguments(node: Node) -> Sequence[Node]:
    """The parts that are written, in order."""
    if isinstance(node, Test):
        return node.constants if node.subject is None else (node.subject, *node.constants)
    return tuple(children(node))
