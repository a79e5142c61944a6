"""What a rule demands besides allowing: the cell of a policy column named `obligations`."""

import re

from authz.model import Obligations

COLUMN = "obligations"
MAX_AGE = "max_age"
"""The obligation that bounds how long a decision is used again: `max_age=5s`; `max_age=0s`: never."""
APPLY = "apply"
"""The obligation that names a set of mutations: `apply=strip-credentials`."""
GRANT = "grant"
"""The obligation to present a grant: `grant=required`, or `grant=bound` for one bound to the caller's certificate."""
BOUND = "bound"
LOG = "log"
"""The obligation to record what the rules saw: `log=full`."""
FULL = "full"
_GRANT_KINDS = ("required", BOUND)
APPROVAL = "require_approval"
"""The obligation to have a human's word: `require_approval=<group>`. The others refine it."""
APPROVAL_PERSONS = "approval_persons"
"""How many persons of the group have to say yes: `approval_persons=2` is the two-person rule."""
APPROVAL_USES = "approval_uses"
"""The most uses that an approver may give, `approval_uses=3`, or `approval_uses=task`: as often as the task needs."""
APPROVAL_TTL = "approval_ttl"
"""How long what was approved may be used: `approval_ttl=10m`."""
APPROVAL_EXCLUDE = "approval_exclude"
"""Who must not decide: `approval_exclude=owner`, `origin`, or `owner+origin`."""
APPROVAL_OPTIONS = frozenset({APPROVAL_PERSONS, APPROVAL_USES, APPROVAL_TTL, APPROVAL_EXCLUDE})
FOR_TASK = "task"
MAX_PERSONS, MAX_APPROVAL_USES = 9, 1_000
_MIN_APPROVAL_SECONDS = 5.0
_EXCLUSIONS = ("owner", "origin")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_COUNT = re.compile(r"[0-9]{1,4}")
_DURATION = re.compile(r"([0-9]{1,6})(ms|s|m|h)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_VALUE = re.compile(r"[!-:<-~](?:[ -:<-~]*[!-:<-~])?")


def parse(cell: str, known: frozenset[str]) -> Obligations:
    """Read `name=value;name=value`; an empty cell demands nothing.

    Raises:
        ValueError: It is not of that form, repeats a name, or names an obligation that nobody here fulfils: ignoring
            that one would allow on weaker terms than its author wrote.
    """
    if not cell:
        return ()
    found: dict[str, str] = {}
    for part in cell.split(";"):
        name, equals, value = part.strip().partition("=")
        if not equals or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"the obligation {part.strip()!r} is not of the form name=value")
        if name not in known:
            raise ValueError(f"the obligation {name!r} is not known; known are: {', '.join(sorted(known)) or 'none'}")
        if name in found:
            raise ValueError(f"the obligation {name!r} is given twice")
        _check(name, value)
        found[name] = value
    if APPROVAL not in found and (alone := sorted(APPROVAL_OPTIONS & found.keys())):
        raise ValueError(f"the obligation {alone[0]!r} says how an approval is given: name the group, {APPROVAL}=...")
    if APPROVAL in found:
        found.setdefault(APPROVAL_USES, "1")  # said aloud, so that it binds where another rule would give more
    return tuple(found.items())


def _check(name: str, value: str) -> None:
    if name == MAX_AGE:
        seconds(value)
    if name == GRANT and value not in _GRANT_KINDS:
        raise ValueError(f"the obligation {name!r} is one of: {', '.join(_GRANT_KINDS)}")
    if name == LOG and value != FULL:
        raise ValueError(f"the obligation {name!r} is {LOG}={FULL}, or is left out")
    if name in APPROVAL_OPTIONS:
        _check_approval(name, value)


def _check_approval(name: str, value: str) -> None:
    if name == APPROVAL_PERSONS:
        approval_count(name, value, MAX_PERSONS)
    elif name == APPROVAL_USES and value != FOR_TASK:
        approval_count(name, value, MAX_APPROVAL_USES)
    elif name == APPROVAL_TTL and seconds(value) < _MIN_APPROVAL_SECONDS:
        raise ValueError(f"the obligation {name!r} leaves no time to try again: at least 5s")
    elif name == APPROVAL_EXCLUDE:
        given = value.split("+")
        if len(set(given)) != len(given) or not set(given) <= set(_EXCLUSIONS):
            raise ValueError(f"the obligation {name!r} is owner, origin, or owner+origin")


def approval_count(name: str, value: str, most: int) -> int:
    """The number that an obligation names.

    Raises:
        ValueError: It is none from 1 to `most`.
    """
    if not _COUNT.fullmatch(value) or not 1 <= int(value) <= most:
        raise ValueError(f"the obligation {name!r} is a number from 1 to {most}")
    return int(value)


def seconds(text: str) -> float:
    """The seconds that a duration names: `500ms`, `5s`, `2m`, `1h`.

    Raises:
        ValueError: It is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 5s, 2m or 1h")
    return int(match[1]) * _UNIT_SECONDS[match[2]]
