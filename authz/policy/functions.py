"""The functions that a policy may call: Casbin's own, and those that configuration registers.

A pattern function takes its pattern from the rule, never from the request: a caller who could choose the pattern would
match whatever it likes, so that reversed arguments are refused at load. The pattern is bound when the rule loads; what
is left at request time is one call on the request's value.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from ipaddress import ip_address, ip_network
from types import MappingProxyType, UnionType

import msgspec

from authz.policy import patterns
from authz.policy.expr import Signature
from authz.policy.glob import glob_match, glob_outline
from authz.policy.regex import regex_match, regex_outline
from authz.policy.trie import Outline
from authz.policy.via import via

_TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})")
_REMEMBERED_ADDRESSES = 1024


class RuleError(Exception):
    """A rule cannot be evaluated for this request, which denies; the text quotes nothing of the request."""


class Function(msgspec.Struct, frozen=True):
    """One function that rules may call."""

    signature: Signature
    bind: Callable[..., Callable[..., object]]
    """Takes the constant arguments, those behind the first `subjects`, and gives a function of the others.

    Raises ValueError for a constant that cannot be one.
    """
    subjects: int = 1
    """How many leading arguments the request supplies; the rest must be constants of the rule."""
    outline: Callable[[str], Outline] | None = None
    """The outline of the pattern that is its second argument."""
    strips_query: bool = False
    """Whether it looks only at what stands before a `?`."""
    address: bool = False
    """Whether its subject must be an IP address; else a text."""
    listed: bool = False
    """Whether its subject must be a list; else a text."""
    total: bool = True
    """Whether it never fails on a subject of that kind."""
    timed: bool = False
    """Whether the answer depends on the time."""


class UserFunction(msgspec.Struct, frozen=True):
    """A function that configuration registers: pure, quick, and of the stated types, which every call checks."""

    call: Callable[..., object]
    parameters: tuple[type | UnionType, ...]
    returns: type


def registry(clock: Callable[[], float] | None, user: Mapping[str, UserFunction]) -> Mapping[str, Function]:
    """The functions by name; `clock` gives the seconds since the epoch, without one there is no timeMatch.

    Raises:
        ValueError: A registered function takes the name of another.
    """
    functions = dict(_BUILT_IN)
    if clock is not None:
        functions["timeMatch"] = Function(Signature(2, 2), partial(_time_match, clock), subjects=0, timed=True)
    for name, function in user.items():
        if name in functions or not re.fullmatch(r"(?!eval$|[rpgem][0-9]*(_|$))[A-Za-z][A-Za-z0-9_]*", name):
            raise ValueError(f"a function cannot be registered as {name!r}")
        arity = len(function.parameters)
        signature = Signature(arity, arity, function.returns is bool)
        functions[name] = Function(signature, partial(_checked, function), subjects=arity, total=False)
    return MappingProxyType(functions)


def time_match(now: float, start: float | None, end: float | None) -> bool:
    """Whether `now` lies between the two, themselves excluded."""
    return (start is None or now > start) and (end is None or now < end)


def parse_time(text: str) -> float | None:
    """The time that timeMatch's arguments name, in UTC; None for `_`, which is no bound.

    Raises:
        ValueError: It is not of the form `2026-01-31 23:59:59`.
    """
    if text == "_":
        return None
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a time of the form 2026-01-31 23:59:59, nor _")
    year, month, day, hour, minute, second = map(int, found.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()


@lru_cache(maxsize=_REMEMBERED_ADDRESSES)
def parse_address(text: str) -> tuple[int, int]:
    """IP version and number of an address.

    Raises:
        RuleError: It is none.
    """
    if not isinstance(text, str):
        raise RuleError("ipMatch was asked about what is no text")
    try:
        address = ip_address(text)
    except ValueError:
        raise RuleError("ipMatch was asked about what is no IP address") from None
    return address.version, int(address)


def _ip_match(network: str) -> Callable[[str], bool]:
    """ipMatch: an address, or every address of a network such as 10.0.0.0/8."""
    parsed = ip_network(network, strict=False)
    return partial(_inside, parsed.version, int(parsed.network_address), int(parsed.netmask))


def _inside(version: int, network: int, mask: int, text: str) -> bool:
    family, number = parse_address(text)
    return family == version and number & mask == network


def _time_match(clock: Callable[[], float], start: str, end: str) -> Callable[[], bool]:
    """timeMatch: the time lies between the two, in UTC (pycasbin: in whatever zone the machine is set to)."""
    first, last = parse_time(start), parse_time(end)
    return lambda: time_match(clock(), first, last)


def _checked(function: UserFunction) -> Callable[..., object]:
    def call(*arguments: object) -> object:
        for argument, wanted in zip(arguments, function.parameters, strict=True):
            if not isinstance(argument, wanted):
                raise RuleError("a function was called with a value of another type")
        try:
            answer = function.call(*arguments)
        except Exception as error:  # noqa: BLE001  # it is foreign; its text could quote the request (I10)
            raise RuleError(f"a function failed with {type(error).__name__}") from None
        if type(answer) is not function.returns:
            raise RuleError("a function answered with a value of another type")
        return answer

    return call


def _pattern(
    bind: Callable[[str], Callable[[str], bool]], outline: Callable[[str], Outline], *, strips_query: bool = False
) -> Function:
    return Function(Signature(2, 2), bind, outline=outline, strips_query=strips_query)


_BUILT_IN = MappingProxyType(
    {
        "keyMatch": _pattern(patterns.key_match, patterns.key_match_outline),
        "keyMatch2": _pattern(patterns.key_match2, patterns.key_match2_outline),
        "keyMatch3": _pattern(patterns.key_match3, patterns.key_match3_outline),
        "keyMatch4": _pattern(patterns.key_match4, patterns.key_match4_outline),
        "keyMatch5": _pattern(patterns.key_match5, patterns.key_match4_outline, strips_query=True),
        "keyGet": Function(Signature(2, 2, boolean=False), patterns.key_get),
        "keyGet2": Function(Signature(3, 3, boolean=False), patterns.key_get2),
        "keyGet3": Function(Signature(3, 3, boolean=False), patterns.key_get3),
        "regexMatch": _pattern(regex_match, regex_outline),
        "globMatch": _pattern(glob_match, glob_outline),
        "via": Function(Signature(2, 2), via, listed=True),
        "ipMatch": Function(Signature(2, 2), _ip_match, address=True),
    }
)
