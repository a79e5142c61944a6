"""What a decision rests on, as a key: requests with equal keys are decided alike until `until` (I3, I4).

The key holds exactly what the rules of the snapshot read, each value with its type, absent ones too; plus who asks, by
the very proof, and what the answer to the proxy is made from. docs/caching.md says why each part is there.
"""

from bisect import bisect_left
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from authz.decision.bind import (
    CALL_ATTRIBUTES,
    DEFAULT_TOKENS,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    TIME_ATTRIBUTES,
    Binder,
    grant_age,
)
from authz.memo import Memo, size
from authz.model import NO_FACTS, NOT_SHARED, Asked, Attributes, CheckCall, Subject
from authz.policy.classes import TextClasses
from authz.policy.compile import CompiledEngine
from authz.policy.uses import AttributeUse, policy_use

_ARGS = ("args",)
_EXACT = 2.0**53
"""Below it every whole number is a float of its own."""
_EARLY_SECONDS = 0.001
"""A decision that rests on the time ends this much before it changes, so that no rounding of times carries it over."""
_MAX_CLASSES = 65_536
_MAX_ALIKE = 4_096
_AGE = ("sub", "credential", "age")
_TIME = ("env", "time")
_ENV = ("env",)
_TASK = ("env", "task")
_GRANT = ("env", "grant")
_GRANT_AGE = (*_GRANT, "age")
_MAX_CLASS_BYTES = 2048
"""What makes a larger class than this is not remembered, but stands for itself (I12)."""
_PLAIN = frozenset((str, type(None)))
_UNREAD = AttributeUse(matched=True)
"""Of what no rule looks at: all texts are alike, and everything else, what is absent too, is not."""

Path = tuple[str, ...]
Key = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Basis:
    """What decisions of one policy rest on, found by looking through its rules."""

    obj: "tuple[tuple[Path, Callable[[object], Hashable]], ...]" = ()
    """Of the resource: the path below `r.obj`, and how its value enters the key."""
    act: tuple[Path, ...] = ()
    amounts: "tuple[tuple[Path, tuple[float, ...]], ...]" = ()
    """Of the action: what is only compared with numbers, and the numbers in order."""
    env: tuple[Path, ...] = ()
    sharing: tuple[Path, ...] = ()
    """Of the subject: what of its sharing is read, by the path below `r.sub`."""
    moments: tuple[float, ...] = ()
    """Seconds since the epoch at which a decision may change, in order."""
    ages: tuple[float, ...] = ()
    """Ages of the credential, in seconds, at which one may change, in order."""
    grant_ages: tuple[float, ...] = ()
    """Ages of the grant, likewise."""
    steps: tuple[int, ...] = ()
    """Lengths in seconds of the periods, hours or days, at whose ends one may change."""
    facts: frozenset[str] = frozenset()
    """Which of `model.NO_FACTS`, what a task did so far, they look at."""
    reusable: bool = True
    """Whether decisions can be used again at all: not where a rule computes with the time in a way not seen through."""


NOTHING_REUSED = Basis(reusable=False, facts=frozenset(NO_FACTS))
"""For engines whose rules cannot be looked through."""


def basis_of(engines: Sequence[CompiledEngine], mapping: Mapping[str, str], shown: Iterable[str] = ()) -> Basis:
    """Look through the rules.

    `mapping`: what the model's request tokens stand for, as in the configuration. `shown`: further attributes
    ("obj.id") that what the proxy is told is made from.
    """
    found = _Collected()
    for engine in engines:
        use = policy_use(engine)
        found.reusable &= use.timeless
        found.moments |= use.moments
        for attribute, each in use.attributes.items():
            base = mapping.get(attribute.token, DEFAULT_TOKENS.get(attribute.token, attribute.token))
            classes = TextClasses(each, engine.source.functions) if each.only_matched else None
            found.add((*base.split("."), *attribute.path), each, classes)
        for unread in _unread(engine.tokens, {attribute.token for attribute in use.attributes}, mapping):
            found.add(unread, _UNREAD, TextClasses(_UNREAD, engine.source.functions))
    taken = AttributeUse(taken=True)
    for path in shown:
        found.add(tuple(path.split(".")), taken, None)
    return found.basis()


def _unread(tokens: Iterable[str], read: Container[str], mapping: Mapping[str, str]) -> Iterator[Path]:
    """What a request may lack of that which tokens stand for that no rule reads.

    It is looked up for every request all the same, and denies where it is absent.
    """
    for token in tokens:
        path = tuple(mapping.get(token, DEFAULT_TOKENS.get(token, token)).split("."))
        of_clock = path[0] == "env" and path[1:2] and path[1] in TIME_ATTRIBUTES
        if token not in read and len(path) > 1 and path[0] != "sub" and not of_clock:
            yield path


class _Collected:
    def __init__(self) -> None:
        self.reusable = True
        self.moments: set[float] = set()
        self._ages: set[float] = set()
        self._grant_ages: set[float] = set()
        self._steps: set[int] = set()
        self._obj: dict[Path, list[TextClasses] | None] = {}
        self._act: set[Path] = set()
        self._amounts: dict[Path, set[float]] = {}
        self._env: set[Path] = set()
        self._sharing: set[Path] = set()
        self._facts: set[str] = set()

    def add(self, path: Path, use: AttributeUse, classes: TextClasses | None) -> None:
        root, *rest = path
        below = tuple(rest)
        if root == "sub":
            self._add_subject(path, use)
        elif root == "act":
            self._add_action(below, use)
        elif root == "obj":
            ways = self._obj.setdefault(below, [])
            if classes is None or not classes.usable:
                self._obj[below] = None
            elif ways is not None:
                ways.append(classes)
        else:
            self._add_environment(path, use)

    def _add_action(self, below: Path, use: AttributeUse) -> None:
        if below[:1] == _ARGS and use.only_measured and all(abs(number) < _EXACT for number in use.numbers):
            self._amounts.setdefault(below, set()).update(use.numbers)
        else:
            self._act.add(below)

    def _add_subject(self, path: Path, use: AttributeUse) -> None:
        """The rest of a subject is in every key; only its age and its sharing are not, for they change."""
        if path[1:2] and path[1] in NOT_SHARED:
            self._sharing.add(path[1:])
        elif path == _AGE and use.only_measured:
            self._ages |= use.numbers
        elif path == _AGE[: len(path)]:
            self.reusable = False

    def _add_environment(self, path: Path, use: AttributeUse) -> None:
        name = path[1] if len(path) > 1 else ""
        if path in {_ENV, _TASK}:
            self._facts.update(NO_FACTS)
        elif name == "task" and path[2] in NO_FACTS:
            self._facts.add(path[2])
        if path == _TIME and use.only_measured:
            self.moments |= use.numbers
        elif path == _GRANT_AGE and use.only_measured:
            self._grant_ages |= use.numbers
        elif path in {_GRANT, _GRANT_AGE} or name == "state":
            self.reusable = False
        elif name == "grant":
            return  # the grant presented is in every key, and all but its age is fixed by it
        elif name == "hour":
            self._steps.add(SECONDS_PER_HOUR)
        elif name == "weekday":
            self._steps.add(SECONDS_PER_DAY)
        elif not name or name in TIME_ATTRIBUTES:
            self.reusable = False
        else:
            self._env.add(path[1:])

    def basis(self) -> Basis:
        return Basis(
            obj=tuple((path, _entering(classes)) for path, classes in sorted(self._obj.items())),
            act=tuple(sorted(self._act)),
            amounts=tuple(
                (path, tuple(sorted(numbers)))
                for path, numbers in sorted(self._amounts.items())
                if path not in self._act  # another rule, of other sections of the model, does more with it
            ),
            env=tuple(sorted(self._env)),
            sharing=tuple(sorted(self._sharing)),
            moments=tuple(sorted(self.moments)),
            ages=tuple(sorted(self._ages)),
            grant_ages=tuple(sorted(self._grant_ages)),
            steps=tuple(sorted(self._steps)),
            facts=frozenset(self._facts),
            reusable=self.reusable,
        )


class ResourceClasses:
    """Numbers the classes of resources: equal numbers for those that the rules do not tell apart."""

    def __init__(self, basis: Basis) -> None:
        self._entering = basis.obj
        self._numbers: Memo[Hashable, int] = Memo(_MAX_CLASSES)
        self._alike: Memo[Hashable, Hashable] = Memo(_MAX_ALIKE)
        self._next = count()

    def __call__(self, obj: Attributes) -> Hashable:
        """The number of a resource's class. A class that was forgotten gets a new number; none is ever given twice."""
        known = tuple([enter(_follow(obj, path)) for path, enter in self._entering])
        number = self._numbers.get(known)
        if number is None:
            if size(known) > _MAX_CLASS_BYTES:
                return known  # in a key, where the cache counts its bytes; here only the number of classes has a bound
            number = next(self._next)
            # Classes differ in a part or two: what they have in common is kept once, which is most of their memory.
            self._numbers.put(tuple(map(self._alike.same, known)), number)
        return number


class KeyMaker:
    """Makes the keys of one snapshot."""

    def __init__(self, basis: Basis, binder: Binder) -> None:
        """`binder` names the attributes that the rules read."""
        self._basis = basis
        self._readers = tuple(
            [_action_reader(path, binder) for path in basis.act]
            + [_amount_reader(path, numbers) for path, numbers in basis.amounts]
            + [_env_reader(path, binder) for path in basis.env]
            + [_sharing_reader(path) for path in basis.sharing]
        )
        self.facts = basis.facts
        """What the rules read of what a task did so far."""
        self._timed = bool(basis.moments or basis.ages or basis.grant_ages or basis.steps)

    def key(self, call: CheckCall, asked: Asked, subject: Subject, shape: Hashable) -> Key | None:
        """The key of a request, None where nothing may be used again.

        `shape`: what of the call the answer's form depends on. The subject enters as the very object that the resolver
        remembers for its proof; whoever keeps the key keeps the subject, so that no other can take its place.

        Raises:
            Refusal: a query that could be read in two ways, where the rules read it.
        """
        if not self._basis.reusable:
            return None
        task = str(asked.task["id"])
        if asked.batch or asked.offers:
            every = [self._one(call, each) for each in asked.every]
            return id(subject), asked.place, shape, task, asked.grant_key, *every
        if not self._readers:
            return id(subject), asked.place, shape, task, asked.grant_key
        return id(subject), asked.place, shape, task, asked.grant_key, *[read(call, asked) for read in self._readers]

    def _one(self, call: CheckCall, asked: Asked) -> Key:
        """What of one element of a batch decides: what the rules read of it, and what else it is to be asked about.

        And what it is called, whether a rule reads that or not: a denial says which of them it was.
        """
        read = [read(call, asked) for read in self._readers]
        return asked.place, asked.name, tuple([(each.name, each.tool) for each in asked.offers]), *read

    def until(self, subject: Subject, asked: Asked, now: float) -> float:
        """The moment up to which a decision made `now` holds, as far as subject, grant and time are concerned (I4)."""
        ends = min(subject.expires, asked.until)
        if not self._timed:
            return ends
        basis = self._basis
        ends = min(ends, _next(basis.moments, now, 0.0))
        credential = subject.credential or subject.token
        if credential is not None:
            ends = min(ends, _next(basis.ages, max(0.0, now - credential.not_before), credential.not_before))
        if asked.grant_key and basis.grant_ages:
            age = grant_age(asked, now)
            ends = min(ends, _next(basis.grant_ages, age, now - age))
        for step in basis.steps:
            ends = min(ends, (int(now) // step + 1) * step - _EARLY_SECONDS)
        return ends


def _next(marks: Sequence[float], value: float, start: float) -> float:
    """When a value that was 0 at `start` and rises with the time reaches the next mark that is not behind it."""
    at = bisect_left(marks, value)
    return start + marks[at] - _EARLY_SECONDS if at < len(marks) else float("inf")


def _entering(classes: list[TextClasses] | None) -> Callable[[object], Hashable]:
    if not classes:
        return frozen

    def enter(value: object) -> Hashable:
        return tuple([each.of(value) for each in classes]) if type(value) is str else frozen(value)

    return enter


def _action_reader(path: Path, binder: Binder) -> Callable[[CheckCall, Asked], Hashable]:
    match path:
        case ("method",):
            return lambda _, asked: asked.target.method
        case ("name",):
            return lambda _, asked: asked.name
        case ("protocol",):
            return lambda _, asked: asked.protocol
        case ("kind",):
            return lambda _, asked: asked.kind
        case ("tool",):
            return lambda _, asked: asked.tool
        case ("args", *below):
            inside = tuple(below)
            return lambda _, asked: frozen(_follow(asked.args, inside))
        case _:
            return lambda _, asked: frozen(_follow(binder.action(asked), path))


def _amount_reader(path: Path, numbers: tuple[float, ...]) -> Callable[[CheckCall, Asked], Hashable]:
    below = path[1:]

    def read(_: CheckCall, asked: Asked) -> Hashable:
        value = _follow(asked.args, below)
        if type(value) is not int and (type(value) is not float or value != value):  # noqa: PLR0124 - a NaN
            return frozen(value)
        at = bisect_left(numbers, value)
        return type(value), at, at < len(numbers) and numbers[at] == value

    return read


def _env_reader(path: Path, binder: Binder) -> Callable[[CheckCall, Asked], Hashable]:
    name, *rest = path
    below = tuple(rest)
    if name == "headers":
        return lambda call, _: frozen(_follow(binder.headers(call), below))
    if name == "zone":
        return lambda call, _: frozen(_follow(binder.zone(call), below))
    if name == "task":
        return lambda _, asked: frozen(_follow(asked.task, below))
    read = CALL_ATTRIBUTES.get(name)
    if read is None:
        return lambda *_: None  # no request ever has it
    return lambda call, _: frozen(_follow(read(call), below))


def _sharing_reader(path: Path) -> Callable[[CheckCall, Asked], Hashable]:
    return lambda _, asked: frozen(_follow(asked.sharing, path))


class _Absent:
    """Stands for what cannot be reached: how many steps could be taken, and the type of where they end."""

    __slots__ = ("_where",)

    def __init__(self, *where: object) -> None:
        self._where = where

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Absent) and self._where == other._where

    def __hash__(self) -> int:
        return hash(self._where)


def _follow(value: object, path: Path) -> object:
    for step, name in enumerate(path):
        if not isinstance(value, Mapping) or name not in value:
            return _Absent(step, type(value))
        value = value[name]
    return value


def frozen(value: object) -> Hashable:
    """A value as part of a key: hashable, and equal only to what is equal in type and content all the way down."""
    kind = type(value)
    if kind in _PLAIN or kind is _Absent:
        return value
    if isinstance(value, Mapping):
        return kind, frozenset([(frozen(name), frozen(each)) for name, each in value.items()])
    if isinstance(value, list | tuple):
        return kind, tuple([frozen(each) for each in value])
    if kind is float:
        # As a text: NaN equals nothing, -0.0 equals 0.0, and whoever chooses numbers can make their hashes collide.
        return kind, repr(value)
    return kind, value
