"""Makes of a matcher and a rule's columns the expression that is left to evaluate for each request.

Whatever depends on the rule alone is settled when it loads: conditions such as `p.sub == "*"` become true or false and
fall away with what they make pointless, patterns are compiled, and the constants move into a tuple. Rules that are
alike but for their constants share one `Variant`, and with it the compiled code.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from authz.policy.emit import CALL, HOLDS, REACH, Code, request_code, rule_code
from authz.policy.functions import Function
from authz.policy.lexer import ExpressionError
from authz.policy.roles import Roles
from authz.policy.sub_rules import SubRules
from authz.policy.tree import (
    And,
    Attribute,
    Call,
    Field,
    Items,
    Literal,
    Node,
    Or,
    Param,
    Slot,
    SubRule,
    Switch,
    Test,
    boolean,
    children,
    conjunction,
    disjunction,
    is_role,
    rewrite,
    walk,
)

Constants = tuple[object, ...]


class Means:
    """What expressions of one policy are made with: names of the request and of the columns, functions and roles."""

    def __init__(
        self,
        tokens: Sequence[str],
        columns: Sequence[str],
        functions: Mapping[str, Function],
        roles: Mapping[str, Roles],
    ) -> None:
        self.tokens = tokens
        self.columns = columns
        self.functions = functions
        self.roles = roles
        self.names: dict[str, object] = {}
        """What compiled code may call."""
        for name, function in functions.items():
            whole = function.subjects >= function.signature.most
            self.names[CALL + name] = function.bind() if whole else partial(_called, function)
        for name, definition in roles.items():
            self.names[REACH + name] = definition.reach
            self.names[HOLDS + name] = definition.holds
        self._codes: dict[Node, Code] = {}
        self._bound: dict[tuple[object, ...], Callable[..., object]] = {}

    @property
    def shapes(self) -> int:
        """How many different expressions were compiled."""
        return len(self._codes)

    def code(self, tree: Node) -> Code:
        """The compiled form of an expression over the request; equal expressions share it."""
        if tree not in self._codes:
            self._codes[tree] = request_code(tree, self.tokens, self.names)
        return self._codes[tree]

    def bind(self, function: str, constants: Constants) -> Callable[..., object]:
        """The function with the constant arguments of a rule bound; rules with the same constants share it.

        Raises:
            ValueError: A constant is not of the kind that the function takes.
        """
        key = (function, *constants)
        bound = self._bound.get(key)
        if bound is None:
            if not all(isinstance(constant, str) for constant in constants):
                raise ValueError(f"{function} takes texts")
            bound = self._bound[key] = self.functions[function].bind(*constants)
        return bound

    def settle(self) -> None:
        """Forget what only loading needs."""
        self._bound.clear()

    def constant(self, node: Node) -> bool:
        """Whether the rule alone decides what this is: neither the request nor the time does."""
        match node:
            case Attribute() | Test():
                return False
            case Call(function) if is_role(function):
                if self.roles[function].conditional:
                    return False
            case Call(function):
                if self.functions[function].timed:
                    return False
        return all(self.constant(child) for child in children(node))


class Variant:
    """The expression of all rules that are alike but for their constants."""

    def __init__(self, tree: Node, means: Means) -> None:
        self._means = means
        self._values: list[Node] = []
        self._binds: list[tuple[str, tuple[int, ...]]] = []
        lifted = rewrite(tree, self._lift)
        count = len(self._values)
        # Bound functions stand behind the plain constants.
        self.tree = rewrite(
            lifted,
            lambda node: Slot(node.at + count, "bound") if node == Slot(getattr(node, "at", 0), "bound") else None,
        )
        self._read = rule_code(Items(tuple(self._values)), means.columns, means.names)
        self.code = means.code(self.tree)
        """Called with the request's values and a rule's constants."""

    def without(self, places: Collection[int]) -> Code:
        """The code for when the conjuncts at `places` are known to hold."""
        parts = self.tree.operands if isinstance(self.tree, And) else (self.tree,)
        rest = (Literal(True) if place in places else part for place, part in enumerate(parts))
        return self._means.code(conjunction(tuple(rest)))

    def constants(self, columns: Sequence[str], lifted: Constants) -> Constants:
        """The constants of one rule, in the order in which the expression numbers them.

        Raises:
            Exception: Whatever evaluating one of them raises; such a rule can only fail.
        """
        values: Constants = self._read(columns, lifted)  # type: ignore[assignment]  # the code of `Items` yields a tuple
        if not self._binds:
            return values
        bind = self._means.bind
        return (*values, *[bind(function, tuple([values[at] for at in places])) for function, places in self._binds])

    def _lift(self, node: Node) -> Node | None:
        means = self._means
        if isinstance(node, Literal):
            return node
        if means.constant(node):
            return self._slot(node)
        if isinstance(node, Call) and not is_role(node.function):
            function = means.functions[node.function]
            if function.subjects < len(node.arguments):
                return self._test(node, function)
        return None

    def _slot(self, node: Node) -> Slot:
        if node not in self._values:
            self._values.append(node)
        return Slot(self._values.index(node), _kind(node))

    def _test(self, node: Call, function: Function) -> Node:
        subjects, constants = node.arguments[: function.subjects], node.arguments[function.subjects :]
        slots = tuple(self._slot(argument) for argument in constants)
        bind = (node.function, tuple(slot.at for slot in slots))
        if bind not in self._binds:
            self._binds.append(bind)
        subject = rewrite(subjects[0], self._lift) if subjects else None
        return Test(node.function, Slot(self._binds.index(bind), "bound"), subject, node.boolean, slots)


class Template:
    """A matcher with the sub-rules of one shape in place, and which conditions in it the rule alone decides."""

    def __init__(self, tree: Node, means: Means) -> None:
        self._means = means
        self._conditions: list[Node] = []
        self._tree = rewrite(tree, self._switch)
        self._codes = [rule_code(condition, means.columns, means.names) for condition in self._conditions]
        self._variants: dict[tuple[bool | None, ...], Variant | None] = {}

    def variant(self, columns: Sequence[str], lifted: Constants) -> Variant | None:
        """The expression of a rule; None when it can only fail, whatever the request."""
        settled = tuple([_settle(code, columns, lifted) for code in self._codes])
        if settled not in self._variants:
            tree = simplify(rewrite(self._tree, lambda node: _settled(node, settled)))
            fails = any(isinstance(part, Switch) for part in walk(tree))
            self._variants[settled] = None if fails else Variant(tree, self._means)
        return self._variants[settled]

    def _switch(self, node: Node) -> Node | None:
        if not self._means.constant(node) or not boolean(node) or isinstance(node, Literal):
            return None
        self._conditions.append(node)
        return Switch(len(self._conditions) - 1)


class Templates:
    """The templates of a matcher, one for each combination of shapes of sub-rules."""

    def __init__(self, matcher: Node, sub_rules: SubRules, means: Means) -> None:
        """Prepare `matcher`.

        Raises:
            ExpressionError: A function is given a pattern or other constant that comes from the request.
        """
        self._matcher = matcher
        self._sub_rules = sub_rules
        self._means = means
        self._fields = list(dict.fromkeys(node.field for node in walk(matcher) if isinstance(node, SubRule)))
        self._places = [means.columns.index(field) for field in self._fields]
        self._templates: dict[tuple[Node, ...], Template] = {}
        self._known: dict[tuple[int, ...], Template] = {}
        """The same by the identity of the trees, which `sub_rules` keeps: quicker than by all that is in them."""
        _check(matcher, means)

    def of(self, columns: Sequence[str]) -> tuple[Template, Constants]:
        """The template of a rule, and the constants lifted out of its sub-rules.

        Raises:
            ExpressionError: A sub-rule is no expression, or draws a pattern from the request.
        """
        parsed = [self._sub_rules.parse(columns[place]) for place in self._places]
        known = tuple([id(tree) for tree, _ in parsed])
        template = self._known.get(known)
        if template is None:
            trees = tuple(tree for tree, _ in parsed)
            template = self._templates.get(trees)
            if template is None:
                template = self._templates[trees] = self._build(trees, [len(constants) for _, constants in parsed])
            self._known[known] = template
        return template, parsed[0][1] if len(parsed) == 1 else tuple([one for _, lifted in parsed for one in lifted])

    def _build(self, trees: tuple[Node, ...], counts: list[int]) -> Template:
        placed: dict[str, Node] = {}
        start = 0
        for field, tree, count in zip(self._fields, trees, counts, strict=True):
            _check(tree, self._means)
            placed[field] = rewrite(tree, partial(_shift, start))
            start += count
        return Template(simplify(rewrite(self._matcher, lambda node: _placed(node, placed))), self._means)


def simplify(node: Node) -> Node:
    """The expression without nested conjunctions, and without what constant conditions make pointless.

    Its value stays the same, and so does whether it fails.
    """
    match node:
        case And(operands):
            return conjunction(tuple(simplify(operand) for operand in operands))
        case Or(operands):
            return disjunction(tuple(simplify(operand) for operand in operands))
        case _:
            return rewrite(node, lambda child: simplify(child) if isinstance(child, And | Or) else None)


def _check(tree: Node, means: Means) -> None:
    """Refuse a call whose pattern, or other constant, the request would supply."""
    for node in walk(tree):
        if not isinstance(node, Call):
            continue
        if is_role(node.function):
            expected = 3 if means.roles[node.function].definition.domains else 2
            if len(node.arguments) != expected:
                raise ExpressionError(0, f"{node.function} takes {expected} arguments, as the model defines it")
            continue
        function = means.functions[node.function]
        constants = node.arguments[function.subjects :]
        if not all(means.constant(argument) for argument in constants):
            advice = "a caller who can choose the pattern matches whatever it likes"
            raise ExpressionError(
                1, f"{node.function} takes what it compares with from the rule, not the request: {advice}"
            )


def _shift(start: int, node: Node) -> Node | None:
    return Param(node.at + start, node.type) if isinstance(node, Param) else None


def _placed(node: Node, trees: Mapping[str, Node]) -> Node | None:
    return trees[node.field] if isinstance(node, SubRule) else None


def _settle(code: Code, columns: Sequence[str], lifted: Constants) -> bool | None:
    """What a condition on the rule alone comes to; None when evaluating it fails."""
    try:
        return bool(code(columns, lifted))
    except Exception:  # noqa: BLE001  # whatever it is, a rule that needs this condition can only fail
        return None


def _settled(node: Node, settled: Sequence[bool | None]) -> Node | None:
    if isinstance(node, Switch):
        value = settled[node.at]
        return None if value is None else Literal(value)
    return None


def _kind(node: Node) -> str:
    """What is known of a constant: "text", "number", "texts" (only texts in it), "items" or "any"."""
    match node:
        case Field():
            return "text"
        case Param(type=kind):
            return kind
        case Items(items):
            return "texts" if items and all(_kind(item) == "text" for item in items) else "items"
        case Literal(value):
            return "text" if isinstance(value, str) else "number" if type(value) in (int, float) else "any"
        case _:
            return "any"


def _called(function: Function, *arguments: object) -> object:
    """A call whose arguments are all there."""
    constants = arguments[function.subjects :]
    if not all(isinstance(constant, str) for constant in constants):
        raise ValueError("a pattern is a text")
    return function.bind(*constants)(*arguments[: function.subjects])
