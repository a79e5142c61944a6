"""Turns a checked expression tree into a Python code object.

Code is built as a syntax tree, node by node; no text of a policy is ever parsed as Python, and a constant of a rule
reaches the code only as a value, through the rule's tuple of constants. Nothing but the names given here is in reach
of the code.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Mapping as MappingValue
from types import CodeType

from authz.policy.functions import RuleError
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
    Param,
    Slot,
    Test,
    is_role,
)

Code = Callable[..., object]

_OPERATORS: Mapping[str, ast.cmpop] = {
    "==": ast.Eq(),
    "!=": ast.NotEq(),
    "<": ast.Lt(),
    "<=": ast.LtE(),
    ">": ast.Gt(),
    ">=": ast.GtE(),
    "in": ast.In(),
    "not in": ast.NotIn(),
}
_ARITHMETIC: Mapping[str, str] = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "remainder"}
REACH = "reach_"
"""Prefix of the name by which code calls for the roles that a subject holds."""
HOLDS = "holds_"
"""Prefix of the name by which code asks whether a subject holds a role."""
CALL = "call_"
"""Prefix of the name by which code calls a function."""


def request_code(node: Node, tokens: Sequence[str], names: Mapping[str, object]) -> Code:
    """A function of the request's values, in the order of `tokens`, and a rule's constants."""
    places = {token: f"r{place}" for place, token in enumerate(tokens)}

    def leaf(leaf: Node) -> ast.expr:
        match leaf:
            case Attribute(token, path):
                return _path(_name(places[token]), path)
            case Slot(at):
                return _item(_name("c"), at)
        raise TypeError(f"{type(leaf).__name__} cannot stand in a rule's code")

    return _function([*places.values(), "c"], _expression(node, leaf), names)


def rule_code(node: Node, columns: Sequence[str], names: Mapping[str, object]) -> Code:
    """A function of a rule's columns and of the constants lifted out of its sub-rules, run when the rule loads."""

    def leaf(leaf: Node) -> ast.expr:
        match leaf:
            case Field(name):
                return _item(_name("p"), columns.index(name))
            case Param(at):
                return _item(_name("q"), at)
        raise TypeError(f"{type(leaf).__name__} is no constant of a rule")

    return _function(["p", "q"], _expression(node, leaf), names)


def probe_code(
    paths: Sequence[Attribute],
    checks: Sequence[tuple[int, Callable[[object], bool]]],
    tokens: Sequence[str],
    missing: object,
) -> Callable[..., tuple[int, tuple[object, ...]]]:
    """A function of the request's values: which of `checks` fail, one bit each, and what stands at `paths`.

    A check is the place of a path and a test of what is there. A path that leads nowhere yields `missing`.
    """
    body: list[ast.stmt] = [_assign("failed", ast.Constant(0))]
    names: dict[str, object] = {"missing": missing, "absent": (KeyError, TypeError, IndexError)}
    for place, attribute in enumerate(paths):
        value = _path(_name(f"r{tokens.index(attribute.token)}"), attribute.path)
        body.append(_guarded(f"v{place}", value) if attribute.path else _assign(f"v{place}", value))
    for bit, (place, check) in enumerate(checks):
        names[f"check{bit}"] = check
        failed = ast.UnaryOp(ast.Not(), _call(f"check{bit}", [_name(f"v{place}")]))
        raised = ast.AugAssign(ast.Name("failed", ast.Store()), ast.BitOr(), ast.Constant(1 << bit))
        body.append(ast.If(failed, [raised], []))
    found = ast.Tuple([_name(f"v{place}") for place in range(len(paths))], ast.Load())
    body.append(ast.Return(ast.Tuple([_name("failed"), found], ast.Load())))
    arguments = _arguments([f"r{place}" for place in range(len(tokens))])
    function = ast.FunctionDef("probe", arguments, body, [])
    module = ast.fix_missing_locations(ast.Module([function], []))
    namespace: dict[str, object] = {"__builtins__": {}, **names}
    exec(compile(module, "<probe>", "exec"), namespace)  # noqa: S102  # built above from checked nodes, no text
    return namespace["probe"]  # type: ignore[return-value]  # the function defined one line above


def _function(parameters: list[str], body: ast.expr, names: Mapping[str, object]) -> Code:
    code = ast.Expression(ast.Lambda(_arguments(parameters), body))
    compiled: CodeType = compile(ast.fix_missing_locations(code), "<policy>", "eval")
    namespace = {"__builtins__": {}, **_HELPERS, **names}
    function: Code = eval(compiled, namespace)  # noqa: S307  # a code object built from checked nodes, no text
    return function


def _expression(node: Node, leaf: Callable[[Node], ast.expr]) -> ast.expr:
    match node:
        case Literal(value):
            return ast.Constant(value)
        case Items(items):
            return ast.Tuple([_expression(item, leaf) for item in items], ast.Load())
        case Not(operand):
            return ast.UnaryOp(ast.Not(), _expression(operand, leaf))
        case And(operands) | Or(operands):
            operator = ast.And() if isinstance(node, And) else ast.Or()
            return ast.BoolOp(operator, [_expression(operand, leaf) for operand in operands])
        case Compare(sign, left, right):
            return _comparison(sign, _expression(left, leaf), right, _expression(right, leaf))
        case Arithmetic(sign, left, right):
            return _call(_ARITHMETIC[sign], [_expression(left, leaf), _expression(right, leaf)])
        case Negative(operand):
            return _call("negative", [_expression(operand, leaf)])
        case Test(bound=bound, subject=subject):
            arguments = [] if subject is None else [_expression(subject, leaf)]
            return ast.Call(_expression(bound, leaf), arguments, [])
        case Call(function, arguments):
            return _emitted_call(function, [_expression(argument, leaf) for argument in arguments], node)
        case _:
            return leaf(node)


def _comparison(sign: str, left: ast.expr, node: Node, right: ast.expr) -> ast.expr:
    """A comparison with `right`, which is emitted from `node`."""
    if sign in ("in", "not in") and isinstance(node, Attribute):
        # Evaluated in the order in which they are written.
        contained = _call("contains", [left, right])
        return contained if sign == "in" else ast.UnaryOp(ast.Not(), contained)
    return ast.Compare(left, [_OPERATORS[sign]], [right])


def _emitted_call(function: str, arguments: list[ast.expr], node: Call) -> ast.expr:
    """A call; of a role definition on a role that the rule names, a look-up in the set of roles that are held."""
    if not is_role(function):
        return _call(CALL + function, arguments)
    if isinstance(node.arguments[1], Slot | Literal):
        reached = _call(REACH + function, [arguments[0], *arguments[2:]])
        return ast.Compare(arguments[1], [ast.In()], [reached])
    return _call(HOLDS + function, arguments)


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _item(of: ast.expr, key: int | str) -> ast.expr:
    return ast.Subscript(of, ast.Constant(key), ast.Load())


def _path(start: ast.expr, path: Sequence[str]) -> ast.expr:
    for step in path:
        start = _item(start, step)
    return start


def _call(name: str, arguments: list[ast.expr]) -> ast.expr:
    return ast.Call(_name(name), arguments, [])


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _guarded(name: str, value: ast.expr) -> ast.stmt:
    handler = ast.ExceptHandler(_name("absent"), None, [_assign(name, _name("missing"))])
    return ast.Try([_assign(name, value)], [handler], [], [])


def _arguments(names: Sequence[str]) -> ast.arguments:
    return ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, [])


def _numbers(left: object, right: object) -> tuple[int | float, int | float]:
    # `%` of a text formats it and `*` repeats it, up to any size: arithmetic is for numbers.
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left, right
    raise RuleError("arithmetic on what is no number")


def _contains(member: object, collection: object) -> bool:
    if isinstance(collection, list | tuple | set | frozenset | MappingValue):
        return member in collection
    # In a text, Python would look for a part of it: "" and "ali" are in "alice".
    raise RuleError("`in` before what is no collection")


def _add(left: object, right: object) -> object:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    first, second = _numbers(left, right)
    return first + second


def _subtract(left: object, right: object) -> object:
    first, second = _numbers(left, right)
    return first - second


def _multiply(left: object, right: object) -> object:
    first, second = _numbers(left, right)
    return first * second


def _divide(left: object, right: object) -> object:
    first, second = _numbers(left, right)
    return first / second


def _remainder(left: object, right: object) -> object:
    first, second = _numbers(left, right)
    return first % second


def _negative(operand: object) -> object:
    return -_numbers(operand, 0)[0]


_HELPERS: Mapping[str, object] = {
    "contains": _contains,
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "remainder": _remainder,
    "negative": _negative,
}
