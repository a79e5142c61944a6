"""Reads policies as Go Casbin and its relatives write them: CSV with quotes, one rule or grant a line.

There a column in quotes may hold commas, and `""` stands for a quote; blanks before a column are dropped, those behind
it are part of it. Our files know no quotes, so what needed them is written otherwise, or left out.
"""

from collections.abc import Collection, Iterator, Mapping

from authz.policy.importing.imported import Imported, Left
from authz.policy.importing.writing import Untranslatable, column

_QUOTE = '"'
_DENY = "deny"


def import_casbin(text: str, sub_rules: Mapping[str, Collection[int]], columns: Mapping[str, int]) -> Imported:
    """Translate a policy file; comments, blank lines and the order stay.

    `sub_rules`: for each policy type the columns (from 1) that hold expressions. `columns`: how many columns each
    policy type has; empty: not checked.
    """
    lines: list[str] = []
    left: list[Left] = []
    missing: list[Left] = []
    some_deny = _DENY in text
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            lines.append(line)
            continue
        try:
            lines.append(_row(list(_cells(line)), sub_rules, columns))
        except Untranslatable as error:
            ptype = line.partition(",")[0].strip(' "')
            # A role that is not granted keeps a rule about it from denying, too.
            denies = _DENY in line or (some_deny and ptype.startswith("g"))
            (missing if denies else left).append(Left(number, 1, ptype, str(error)))
    return Imported(tuple(lines), tuple(left), tuple(missing))


def _row(cells: list[str], sub_rules: Mapping[str, Collection[int]], columns: Mapping[str, int]) -> str:
    ptype = cells[0]
    if columns and ptype not in columns:
        raise Untranslatable(f"the model has no {ptype!r}; it has {', '.join(columns)}")
    if columns and len(cells) - 1 != columns[ptype]:
        raise Untranslatable(f"{len(cells) - 1} columns where {ptype} has {columns[ptype]}")
    chosen = sub_rules.get(ptype, ())
    written = [_expression(cell) if at in chosen else column(cell) for at, cell in enumerate(cells)]
    return ", ".join(written).rstrip()


def _expression(cell: str) -> str:
    """An expression as a column: in brackets where it holds a comma outside of any."""
    stripped = cell.strip()
    if any(ord(character) < ord(" ") for character in stripped):
        raise Untranslatable("a control character in an expression")
    depth = 0
    for character in stripped:
        depth += (character in "([") - (character in ")]")
        if depth < 0:
            break
        if character == "," and not depth:
            return _expression(f"({stripped})")
    if depth:
        raise Untranslatable("brackets in an expression that do not pair up, be it inside quotes")
    if " #" in stripped or stripped.startswith("#"):
        raise Untranslatable("a # in an expression would be taken for a comment")
    return stripped


def _cells(line: str) -> Iterator[str]:
    """The columns of one line of CSV, as Go's reader takes it apart."""
    at = 0
    while True:
        while at < len(line) and line[at] in " \t":
            at += 1
        if line.startswith(_QUOTE, at):
            cell, at = _quoted(line, at + 1)
        else:
            end = line.find(",", at)
            end = len(line) if end < 0 else end
            cell, at = line[at:end], end
            if _QUOTE in cell:
                raise Untranslatable("a quote inside a column that does not begin with one")
        yield cell
        if at >= len(line):
            return
        at += 1


def _quoted(line: str, at: int) -> tuple[str, int]:
    """The column whose opening quote stands before `at`, and where it ends."""
    parts: list[str] = []
    while True:
        end = line.find(_QUOTE, at)
        if end < 0:
            raise Untranslatable("a quote does not end on its line")
        parts.append(line[at:end])
        at = end + 1
        if line.startswith(_QUOTE, at):
            parts.append(_QUOTE)
            at += 1
            continue
        if at < len(line) and line[at] != ",":
            raise Untranslatable("text behind a closing quote")
        return "".join(parts), at
