"""Functions of the operator's own that policies may call: named in configuration, loaded when the server starts."""

import importlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from inspect import isclass
from types import UnionType
from typing import Annotated, Any, Literal

import msgspec

from authz.errors import ConfigError
from authz.policy.functions import UserFunction

_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*")
_TYPES: dict[str, "type | UnionType"] = {
    "str": str,
    "int": int,
    "float": int | float,
    "bool": bool,
    "list": list | tuple,
    "dict": Mapping,
}
_ANSWERS: dict[str, type] = {"bool": bool, "str": str, "int": int, "float": float}
_ROUNDS = 21


class FunctionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Python function that policies may call by this section's name.

    It is called on the path of a request: it must answer at once, from its arguments alone, the same for the same, and
    without any effect. What it raises, or an answer of another type, denies the request.
    """

    python: Annotated[str, msgspec.Meta(min_length=3)]
    """Where it is: `package.module:function`, importable by the server's Python."""
    parameters: Annotated[
        tuple[Literal["str", "int", "float", "bool", "list", "dict"], ...], msgspec.Meta(min_length=1, max_length=16)
    ]
    """The types of its arguments; a call with another type denies. `float` takes an int too."""
    returns: Literal["bool", "str", "int", "float"] = "bool"
    """The type of its answer."""
    max_microseconds: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 50.0
    """How long a call may take, in microseconds: what `authz config validate --time-functions` holds it to."""
    examples: Annotated[tuple[tuple[Any, ...], ...], msgspec.Meta(max_length=100)] = ()
    """Arguments to time it with, such as `[["/a/b", 3]]`; without any, a few plain values of the right types."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, message) for what the types cannot say."""
        if not _PATH.fullmatch(self.python):
            yield "python", "must be of the form package.module:function"
        for example in self.examples:
            if len(example) != len(self.parameters):
                yield "examples", f"an example has {len(example)} values; the function takes {len(self.parameters)}"
                return
            if not all(isinstance(v, _TYPES[kind]) for v, kind in zip(example, self.parameters, strict=True)):
                yield "examples", "a value is not of its parameter's type"
                return


def load_functions(settings: Mapping[str, FunctionSettings]) -> dict[str, UserFunction]:
    """Import every function.

    Raises:
        ConfigError: one cannot be had; it says which, and why.
    """
    return {name: _load(name, function) for name, function in settings.items()}


def _load(name: str, settings: FunctionSettings) -> UserFunction:
    where = f"policy.functions.{name}: {settings.python}"
    module_name, _, attribute = settings.python.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{where}: there is no module {error.name!r}; install it beside authz") from None
    except Exception as error:
        raise ConfigError(f"{where}: importing it failed: {type(error).__name__}: {error}") from error
    function = getattr(module, attribute, None)
    if function is None:
        raise ConfigError(f"{where}: the module has no {attribute!r}")
    if not callable(function) or isclass(function):
        raise ConfigError(f"{where}: not a function")
    _check_arity(where, function, len(settings.parameters))
    return UserFunction(
        call=function,
        parameters=tuple(_TYPES[kind] for kind in settings.parameters),
        returns=_ANSWERS[settings.returns],
    )


def _check_arity(where: str, function: Callable[..., object], count: int) -> None:
    import inspect  # noqa: PLC0415 - 10 ms that only those who have functions pay

    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"{where}: an async function; it must answer at once")
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return  # built in, without a signature
    try:
        signature.bind(*[None] * count)
    except TypeError:
        raise ConfigError(f"{where}: does not take {count} arguments: its signature is {signature}") from None


class Timing(msgspec.Struct, frozen=True):
    """How long one function took, over all its examples."""

    name: str
    microseconds: float
    """The median call of the slowest example."""
    allowed: float
    failure: str = ""
    """Why it gave no answer that counts; "" when it did."""

    @property
    def problem(self) -> str:
        """What is wrong with it; "" when nothing is."""
        if self.failure:
            return f"policy.functions.{self.name}: {self.failure}"
        if self.microseconds > self.allowed:
            return (
                f"policy.functions.{self.name}: took {self.microseconds:.0f} microseconds; "
                f"max_microseconds is {self.allowed:g}"
            )
        return ""


def time_function(
    name: str,
    settings: FunctionSettings,
    function: UserFunction,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Call a function with its examples, and say whether it keeps to its time and to its types."""
    slowest = 0.0
    for example in settings.examples or _plain_examples(settings):
        taken = []
        for _ in range(_ROUNDS):
            started = clock()
            try:
                answer = function.call(*example)
            except Exception as error:  # noqa: BLE001 - it is foreign
                return Timing(name, 0.0, settings.max_microseconds, f"failed with {type(error).__name__}")
            taken.append(clock() - started)
            if type(answer) is not function.returns:
                found = type(answer).__name__
                return Timing(name, 0.0, settings.max_microseconds, f"answered {found}, not {settings.returns}")
        slowest = max(slowest, sorted(taken)[_ROUNDS // 2] * 1e6)
    return Timing(name, slowest, settings.max_microseconds)


def _plain_examples(settings: FunctionSettings) -> tuple[tuple[object, ...], ...]:
    short: dict[str, object] = {"str": "", "int": 0, "float": 0.0, "bool": False, "list": (), "dict": {}}
    text = "spiffe://example.org/ns/default/sa/agent" * 8
    long: dict[str, object] = {"str": text, "int": 10**9, "float": 1e9, "bool": True, "list": (text,) * 8, "dict": {}}
    return tuple(tuple(values[kind] for kind in settings.parameters) for values in (short, long))
