"""What a rule demands besides allowing: the cell of a policy column named `obligations`."""

import re

from authz.model import Obligations

COLUMN = "obligations"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
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
        found[name] = value
    return tuple(found.items())
