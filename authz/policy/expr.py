"""Parses the text of a matcher or sub-rule into a checked expression tree.

The language is what Casbin documents and pycasbin can evaluate, less what a policy has no use for: comparisons (chained
ones too), `in`, `&&` `||` `!` (also `and` `or` `not`), `+ - * / %`, texts, numbers, True, False and None, attributes
of the request and columns of the rule, registered functions. Deliberate differences from pycasbin, all of them stricter
or plainer: operators and `#` inside quotes are text; `!` binds tightly, as Casbin documents it, and where pycasbin
would read the same text differently (`!a == b`) it is refused; `true` and `false` are constants; `in` with a text on
its right is refused (or is an error, when it is the request's), for it would test for a part of the text; no name
starts with an underscore.

Limits are checked while parsing, before anything is built or evaluated (I12).
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from authz.policy.lexer import ExpressionError, Token, tokens
from authz.policy.limits import PolicyLimits
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
    SubRule,
    boolean,
)

_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">=", "in", "not"))
_SUB_RULE = "eval"
_VIA = "via"


class Signature(msgspec.Struct, frozen=True, gc=False):
    """How a function may be called."""

    fewest: int
    most: int
    boolean: bool = True


class Scope(msgspec.Struct, frozen=True):
    """The names that an expression may use."""

    request: str
    """The request definition in force, `r` or `r2`."""
    tokens: tuple[str, ...]
    policy: str
    """The policy definition in force, `p` or `p2`."""
    fields: tuple[str, ...]
    functions: Mapping[str, Signature]


def parse(text: str, scope: Scope, limits: PolicyLimits) -> Node:
    """The tree of a matcher; it may hold `eval(p.column)` and end in a comment.

    Raises:
        ExpressionError: It is not an expression of the language, or beyond a limit.
    """
    return Parser(cut(text, limits, comments=True), scope, limits, matcher=True, lift=False).parse()


def parse_sub_rule(text: str, scope: Scope, limits: PolicyLimits) -> Node:
    """The tree of one sub-rule, its constants in place.

    Raises:
        ExpressionError: It is not an expression of the language, or beyond a limit.
    """
    return Parser(cut(text, limits, comments=False), scope, limits, matcher=False, lift=False).parse()


def cut(text: str, limits: PolicyLimits, *, comments: bool) -> list[Token]:
    """The tokens of an expression.

    Raises:
        ExpressionError: It is too long, or something in it is no token.
    """
    if len(text) > limits.max_expression_chars:
        raise ExpressionError(1, f"the expression is longer than {limits.max_expression_chars} characters")
    return tokens(text, comments=comments)


class Parser:
    """Recursive descent, one method per level of binding, loosest first."""

    def __init__(self, cut: list[Token], scope: Scope, limits: PolicyLimits, *, matcher: bool, lift: bool) -> None:
        self._cut = cut
        self._at = 0
        self._scope = scope
        self._limits = limits
        self._matcher = matcher
        self._lift = lift
        self._lifted = 0
        self._depth = 0
        self._nodes = 0

    def parse(self) -> Node:
        tree = self._either()
        if self._next.kind != "end":
            raise self._error("expected an operator, or the end")
        return tree

    @property
    def _next(self) -> Token:
        return self._cut[self._at]

    def _error(self, problem: str) -> ExpressionError:
        return ExpressionError(self._next.column, problem)

    def _take(self) -> Token:
        token = self._next
        self._at += 1
        self._nodes += 1
        if self._nodes > self._limits.max_expression_nodes:
            raise ExpressionError(token.column, f"the expression has over {self._limits.max_expression_nodes} parts")
        return token

    def _accept(self, *kinds: str) -> str:
        """The next token's kind, taken, if it is one of `kinds`; else ""."""
        return self._take().kind if self._next.kind in kinds else ""

    def _expect(self, kind: str) -> Token:
        if self._next.kind != kind:
            raise self._error(f"expected {kind}")
        return self._take()

    def _unknown(self, error: ExpressionError, name: str, known: Iterable[str]) -> None:  # noqa: ARG002 - for others
        """What to do about a name that nothing has: refuse the expression."""
        raise error

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > self._limits.max_expression_depth:
            raise self._error(f"the expression nests more than {self._limits.max_expression_depth} deep")

    def _either(self) -> Node:
        self._enter()
        operands = [self._both()]
        while self._accept("||"):
            operands.append(self._both())
        self._depth -= 1
        return operands[0] if len(operands) == 1 else Or(_spread(tuple(operands), Or))

    def _both(self) -> Node:
        operands = [self._negation()]
        while self._accept("&&"):
            operands.append(self._negation())
        return operands[0] if len(operands) == 1 else And(_spread(tuple(operands), And))

    def _negation(self) -> Node:
        if not self._accept("not"):
            return self._comparison()
        self._enter()
        operand = self._negation()
        self._depth -= 1
        return Not(operand)

    def _comparison(self) -> Node:
        bang = self._next.kind == "!"
        left = self._sum()
        if self._next.kind not in _COMPARISONS:
            return left
        if bang and isinstance(left, Not) and not boolean(left.operand):
            advice = "write !(a == b) to negate the comparison"
            raise self._error(
                f"`!` binds tighter than `{self._next.kind}`, and what it negates is no condition; {advice}"
            )
        links: list[Node] = []
        while operator := self._accept(*_COMPARISONS):
            if operator == "not":
                self._expect("in")
                operator = "not in"
            right = self._sum()
            if operator in ("in", "not in") and _is_text(right):
                advice = 'write ("alice",) for a tuple of one'
                problem = f"`in` with a text on its right tests for a part of the text; {advice}"
                raise ExpressionError(self._next.column, problem, "type-mismatch")
            links.append(Compare(operator, left, right))
            left = right
        return links[0] if len(links) == 1 else And(tuple(links))

    def _sum(self) -> Node:
        return self._arithmetic(self._product, "+", "-")

    def _product(self) -> Node:
        return self._arithmetic(self._unary, "*", "/", "%")

    def _arithmetic(self, operand: Callable[[], Node], *operators: str) -> Node:
        bang = self._next.kind == "!"
        left = operand()
        steps = 0
        while operator := self._accept(*operators):
            if bang:
                raise self._error("`!` before an operand of arithmetic")
            steps += 1
            self._enter()
            column = self._cut[self._at - 1].column
            right = operand()
            if operator != "+" and (_is_text(left) or _is_text(right)):
                raise ExpressionError(column, "arithmetic on a text", "type-mismatch")
            left = Arithmetic(operator, left, right)
        self._depth -= steps
        return left

    def _unary(self) -> Node:
        sign = self._accept("!", "-")
        if not sign:
            return self._primary()
        self._enter()
        operand = self._unary()
        self._depth -= 1
        return Not(operand) if sign == "!" else Negative(operand)

    def _primary(self) -> Node:
        token = self._take()
        if token.kind == "constant":
            return Literal(token.value)
        if token.literal:
            return self._literal(token)
        if token.kind == "name":
            return self._name(token)
        if token.kind in ("(", "["):
            return self._bracketed(token)
        raise ExpressionError(token.column, "expected a value")

    def _literal(self, token: Token) -> Node:
        if not self._lift:
            return Literal(token.value)
        self._lifted += 1
        return Param(self._lifted - 1, token.kind)

    def _bracketed(self, opening: Token) -> Node:
        closing = ")" if opening.kind == "(" else "]"
        items, tuple_ = self._listed(closing)
        if opening.kind == "(" and not tuple_:
            if not items:
                raise ExpressionError(opening.column, "expected a value between the brackets")
            return items[0]
        return Items(items)

    def _listed(self, closing: str) -> tuple[tuple[Node, ...], bool]:
        """The expressions up to `closing`, and whether there was a comma."""
        items: list[Node] = []
        comma = False
        while not self._accept(closing):
            items.append(self._either())
            if self._next.kind != closing:
                self._expect(",")
                comma = True
        return tuple(items), comma

    def _name(self, token: Token) -> Node:
        name, scope = str(token.value), self._scope
        if name.startswith("_"):
            raise ExpressionError(token.column, "a name cannot start with an underscore")
        if name in (scope.request, scope.policy) and self._next.kind == ".":
            self._take()
            return self._member(name, self._expect("name"))
        for section in (scope.request, scope.policy):
            if name.startswith(f"{section}_"):
                return self._member(section, Token("name", name.removeprefix(f"{section}_"), token.column))
        if self._next.kind == "(":
            return self._call(name, token.column)
        advice = f"expected {scope.request}. or {scope.policy}. and a name, or a function"
        raise ExpressionError(token.column, f"unknown name {name!r}; {advice}")

    def _member(self, section: str, token: Token) -> Node:
        """`r.sub.team` or `p.obj`, from the name behind the first dot."""
        name, scope = str(token.value), self._scope
        known = scope.tokens if section == scope.request else scope.fields
        if name not in known:
            problem = f"{section} has no {name!r}; it has {', '.join(known)}"
            self._unknown(ExpressionError(token.column, problem, "unknown-attribute"), name, known)
        path = self._path()
        if self._next.kind == "(":
            if section == scope.request and path[-1:] == (_VIA,):
                return self._via(Attribute(name, (*path[:-1], "chain")))
            raise self._error("methods cannot be called")
        if section == scope.request:
            return Attribute(name, path)
        if path:
            raise ExpressionError(token.column, f"{section}.{name} is a text and has no attributes")
        return Field(name)

    def _via(self, chain: Attribute) -> Node:
        """`r.sub.via("spiffe://...")`, another spelling of `via(r.sub.chain, "spiffe://...")`."""
        column = self._next.column
        self._take()
        arguments, _ = self._listed(")")
        if len(arguments) != 1:
            raise ExpressionError(column, f"{_VIA} takes one pattern, such as 'spiffe://prod.example/ns/agents/*'")
        return Call(_VIA, (chain, *arguments), boolean=True)

    def _path(self) -> tuple[str, ...]:
        path: list[str] = []
        while opening := self._accept(".", "["):
            token = self._expect("name" if opening == "." else "text")
            if opening == "[":
                self._expect("]")
            path.append(str(token.value))
            if path[-1].startswith("_"):
                raise ExpressionError(token.column, "an attribute's name cannot start with an underscore")
        return tuple(path)

    def _call(self, name: str, column: int) -> Node:
        self._take()
        if name == _SUB_RULE:
            return self._sub_rule(column)
        signature = self._scope.functions.get(name)
        if signature is None:
            known = self._scope.functions
            self._unknown(ExpressionError(column, f"unknown function {name!r}", "unknown-function"), name, known)
            signature = Signature(0, self._limits.max_expression_nodes)
        arguments, _ = self._listed(")")
        if not signature.fewest <= len(arguments) <= signature.most:
            wanted = f"{signature.fewest}" if signature.fewest == signature.most else f"at least {signature.fewest}"
            raise ExpressionError(column, f"{name} takes {wanted} arguments, not {len(arguments)}")
        return Call(name, arguments, signature.boolean)

    def _sub_rule(self, column: int) -> Node:
        if not self._matcher:
            raise ExpressionError(column, "a sub-rule cannot hold another eval()")
        arguments, _ = self._listed(")")
        match arguments:
            case (Field(name),):
                return SubRule(name)
        # What a request says must never be run as a rule.
        raise ExpressionError(
            column, f"eval() takes one column of the rule, such as eval({self._scope.policy}.sub_rule)"
        )


def _is_text(node: Node) -> bool:
    match node:
        case Field() | Literal(str()):
            return True
        case Param(type=kind):
            return kind == "text"
        case _:
            return False


def _spread(operands: tuple[Node, ...], kind: type[And] | type[Or]) -> tuple[Node, ...]:
    """`(a && b) && c` as three operands; evaluation is the same."""
    flat: list[Node] = []
    for operand in operands:
        flat.extend(operand.operands if isinstance(operand, kind) else (operand,))
    return tuple(flat)
