"""Reads policy files: each line a rule or a role grant, in the columns that the model names.

A line is split at commas outside brackets, as pycasbin does; it is not CSV, and quotes are part of the value. What
pycasbin reads past, or trips over only when a request reaches the row, is refused here with file and line: an unknown
policy type, a row with too few or too many columns (a role grant with one column too many loses its domain there),
brackets that do not pair up, a comment behind a row (it would become part of the last column).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from authz.errors import PolicyError
from authz.model import RuleRef
from authz.policy.limits import PolicyLimits
from authz.policy.pace import no_pause, pausing
from authz.policy.perm import Model

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BRACKET = re.compile(r"[\[\](),]")


class Row(msgspec.Struct, frozen=True, gc=False):
    """One rule or grant: its policy type, its columns, and where it stands."""

    ptype: str
    file: str
    line: int
    cells: tuple[str, ...]

    @property
    def reference(self) -> RuleRef:
        """The name of this rule in verdicts and records."""
        return RuleRef(self.ptype, self.file, self.line, ", ".join((self.ptype, *self.cells)))

    def refuse(self, problem: str) -> PolicyError:
        """The error for a problem in this row."""
        return PolicyError(self.file, self.line, problem)


def parse(
    policies: Iterable[tuple[str, str]], model: Model, limits: PolicyLimits, pause: Callable[[], None] = no_pause
) -> tuple[Row, ...]:
    """Read policy files, given as (name, text), in order.

    Raises:
        PolicyError: A line is not a row of the model's, or there are more rows than `max_rules`.
    """
    columns = columns_of(model)
    rows: list[Row] = []
    for file, text in policies:
        for row in pausing(_rows(file, text, limits), pause):
            check(row, columns)
            rows.append(row)
            if len(rows) > limits.max_rules:
                raise row.refuse(f"more than {limits.max_rules} rows")
    return tuple(rows)


def columns_of(model: Model) -> Mapping[str, int]:
    """How many columns the rows of each policy type have."""
    columns = {name: len(fields) for name, fields in model.policies.items()}
    return columns | {name: role.columns for name, role in model.roles.items()}


def check(row: Row, columns: Mapping[str, int]) -> None:
    """Refuse a row that is none of the model's.

    Raises:
        PolicyError: Its policy type is unknown, it has too few or too many columns, or a comment behind it.
    """
    expected = columns.get(row.ptype)
    if expected is None:
        raise row.refuse(f"unknown policy type {row.ptype!r}; the model has {', '.join(columns)}")
    if len(row.cells) != expected:
        raise row.refuse(f"{len(row.cells)} columns where {row.ptype} has {expected}{_quote_hint(row)}")
    if "#" in "".join(row.cells) and any(" #" in cell or cell.startswith("#") for cell in row.cells):
        raise row.refuse("a comment needs a line of its own; here it would be part of the rule")


def read_line(raw: str, file: str, number: int, limits: PolicyLimits) -> Row | None:
    """The row that a line holds; None for a blank line and for a comment, which starts with `#`.

    Raises:
        PolicyError: It is none.
    """
    line = raw.strip()
    if not line or line[0] == "#":
        return None
    if len(line) > limits.max_line_chars:
        raise PolicyError(file, number, f"the line is longer than {limits.max_line_chars} characters")
    if not line.isprintable() and _CONTROL.search(line):
        raise PolicyError(file, number, "the line contains a control character")
    cells = _split(line, file, number)
    return Row(cells[0], file, number, tuple(cells[1:]))


def cell_spans(line: str, file: str, number: int) -> list[tuple[int, int]]:
    """Where each column of a line starts and ends, blanks around it included.

    Raises:
        PolicyError: Brackets do not pair up.
    """
    spans: list[tuple[int, int]] = []
    depth = start = 0
    for mark in _BRACKET.finditer(line):
        symbol = mark.group()
        if symbol in "[(":
            depth += 1
        elif symbol in ")]":
            depth -= 1
            if depth < 0:
                raise PolicyError(file, number, f"column {mark.start() + 1}: {symbol} closes nothing")
        elif not depth:
            spans.append((start, mark.start()))
            start = mark.end()
    if depth:
        raise PolicyError(file, number, "a bracket is not closed; the commas behind it would not separate columns")
    return [*spans, (start, len(line))]


def _rows(file: str, text: str, limits: PolicyLimits) -> Iterator[Row]:
    """The rows of one file."""
    for number, raw in enumerate(_lines(text), 1):
        row = read_line(raw, file, number, limits)
        if row is not None:
            yield row


def _lines(text: str) -> Iterator[str]:
    """The lines, one after the other: to split off 100,000 at once takes 10 ms in which nothing else can run."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _split(line: str, file: str, number: int) -> list[str]:
    """The columns of a line, trimmed."""
    if not ("(" in line or "[" in line or ")" in line or "]" in line):
        return [cell.strip() for cell in line.split(",")]
    return [line[start:end].strip() for start, end in cell_spans(line, file, number)]


def _quote_hint(row: Row) -> str:
    """Advice for the author who took a policy file for CSV."""
    if any(cell.startswith('"') and not (len(cell) > 1 and cell.endswith('"')) for cell in row.cells):
        return "; quotes do not protect a comma, only brackets do"
    return ""
