"""In which order rules are asked: as written, by their priority column, or by the hierarchy of their subjects.

The smaller a priority, the earlier; equal ones stay as written. By subject: the deepest in the role hierarchy first, so
that what is said about a person comes before what is said about its roles; who is in no grant counts as deepest.

Stricter than pycasbin: a priority is a whole number (there, other texts sort as texts, negative numbers too).
"""

import re
from collections.abc import Mapping, Sequence

from authz.policy.effect import Combining
from authz.policy.perm import Model
from authz.policy.rows import Row

_PRIORITY = "priority"
_DOMAIN = "dom"
_SUBJECT = "sub"
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def ordered(rows: Sequence[Row], policy: str, combining: Combining, model: Model, grants: Sequence[Row]) -> list[Row]:
    """The rules of the policy type `policy` in the order in which they are asked; `grants` are the rows of `g`.

    Raises:
        PolicyError: A priority is no number, or subjects form a circle.
    """
    fields = model.policies[policy]
    rules = list(rows)
    if combining is Combining.SUBJECT_PRIORITY:
        if "g" not in model.roles or fields[0] != _SUBJECT:
            raise model.refuse(0, f"subjectPriority needs a role definition g, and {policy} to start with {_SUBJECT}")
        levels = _levels(grants, domains=model.roles["g"].domains)
        domain = fields.index(_DOMAIN) if _DOMAIN in fields else -1
        rules.sort(key=lambda row: levels.get((row.cells[domain] if domain >= 0 else "", row.cells[0]), 0))
    if _PRIORITY in fields:
        column = fields.index(_PRIORITY)
        rules.sort(key=lambda row: _priority(row, column))
    return rules


def _priority(row: Row, column: int) -> int:
    if not _NUMBER.fullmatch(row.cells[column]):
        raise row.refuse(f"the priority {row.cells[column]!r} is not a whole number")
    return int(row.cells[column])


def _levels(grants: Sequence[Row], *, domains: bool) -> Mapping[tuple[str, str], int]:
    """How many grants lie at most below each subject of each domain: 0 for one that nobody is granted."""
    parents: dict[tuple[str, str], list[tuple[str, str]]] = {}
    waiting: dict[tuple[str, str], int] = {}
    for row in grants:
        domain = row.cells[2] if domains else ""
        child, parent = (domain, row.cells[0]), (domain, row.cells[1])
        parents.setdefault(child, []).append(parent)
        waiting.setdefault(child, 0)
        waiting[parent] = waiting.get(parent, 0) + 1
    levels = {subject: 0 for subject, below in waiting.items() if not below}
    ready = list(levels)
    while ready:
        child = ready.pop()
        for parent in parents.get(child, ()):
            levels[parent] = max(levels.get(parent, 0), levels[child] + 1)
            waiting[parent] -= 1
            if not waiting[parent]:
                ready.append(parent)
    for row in grants:
        domain = row.cells[2] if domains else ""
        if waiting[domain, row.cells[0]]:
            raise row.refuse(f"the subject {row.cells[0]!r} is above itself; subjectPriority has no order for that")
    return levels
