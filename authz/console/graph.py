"""Draws the chains of a task: who handed it on to whom, from the one who opened it on the left."""

from collections.abc import Iterable, Sequence

import msgspec
from markupsafe import Markup

from authz.console.shown import runs

_COLUMN, _ROW = 280, 64
_BOX_WIDTH, _BOX_HEIGHT = 220, 40
_MARGIN = 12
_MAX_LABEL = 25
MAX_NODES = 200
"""More parties than this are not drawn (I12); the table below has them all."""


class Link(msgspec.Struct, frozen=True):
    """One handing on of the task: a grant."""

    giver: str
    taker: str
    grant: str
    state: str
    """ "active", "expired", "completed" or "revoked"."""


def links(owner: str, grants: Iterable[tuple[str, Sequence[str], str, str]]) -> list[Link]:
    """Answer who got the task from whom. `grants`: (holder, delegators with the nearest first, id, state)."""
    return [
        Link(delegators[0] if delegators else owner, holder, grant, state)
        for holder, delegators, grant, state in grants
    ]


def draw(owner: str, chain: Sequence[Link], title: str) -> Markup:
    """Answer the drawing as SVG for a page: no style or script of its own, every text of others escaped and cut."""
    places = _places(owner, chain)
    if not places:
        return Markup()
    width = max(x for x, _ in places.values()) + _BOX_WIDTH + _MARGIN
    height = max(y for _, y in places.values()) + _BOX_HEIGHT + _MARGIN
    parts = [
        Markup('<svg class="chain" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img">').format(width, height),
        Markup("<title>{}</title>").format(_label(title, 200)),
        Markup(
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0L8 4L0 8z"/></marker></defs>'
        ),
    ]
    drawn: set[tuple[str, str, str]] = set()
    for link in chain:
        key = link.giver, link.taker, link.state
        own = link.giver == link.taker  # what one opened for oneself goes through no other hands
        if not own and key not in drawn and link.giver in places and link.taker in places:
            drawn.add(key)
            parts.append(_line(places[link.giver], places[link.taker], link))
    parts.extend(_box(name, x, y, first=name == owner) for name, (x, y) in places.items())
    return Markup("\n").join([*parts, Markup("</svg>")])


def _places(owner: str, chain: Sequence[Link]) -> dict[str, tuple[int, int]]:
    """Each party with its corner: the column says how many hands away from the owner it is, by the shortest way."""
    depth = {owner: 0}
    rest = list(chain)
    while rest and len(depth) < MAX_NODES:
        later = []
        grew = False
        for link in rest:
            if link.giver not in depth:
                later.append(link)
            elif link.taker not in depth and len(depth) < MAX_NODES:
                depth[link.taker] = depth[link.giver] + 1
                grew = True
        if not grew:
            if not later:
                break
            depth.setdefault(later[0].giver, 1)  # its own giver is not among the grants that are kept
        rest = later
    rows: dict[int, int] = {}
    places = {}
    for name, column in depth.items():
        row = rows.get(column, 0)
        rows[column] = row + 1
        places[name] = (_MARGIN + _COLUMN * column, _MARGIN + _ROW * row)
    return places


def _line(start: tuple[int, int], end: tuple[int, int], link: Link) -> Markup:
    middle = _BOX_HEIGHT // 2
    x1, y1, x2, y2 = start[0] + _BOX_WIDTH, start[1] + middle, end[0], end[1] + middle
    if x2 <= x1:  # back, or to itself: an arc below
        path = f"M{start[0] + 40} {start[1] + _BOX_HEIGHT} q 0 20 {end[0] - start[0] + 60} {end[1] - start[1]}"
    else:
        bend = (x1 + x2) // 2
        path = f"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}"
    told = f"{link.giver} gave {link.taker} the grant {link.grant} ({link.state})"
    return Markup('<path class="link {}" d="{}" marker-end="url(#tip)"><title>{}</title></path>').format(
        link.state, path, _label(told, 400)
    )


def _box(name: str, x: int, y: int, *, first: bool) -> Markup:
    tail = name if len(name) <= _MAX_LABEL else f"…{name[-_MAX_LABEL + 1 :]}"
    return Markup(
        '<g class="party{}"><rect x="{}" y="{}" width="{}" height="{}" rx="6"/>'
        '<text x="{}" y="{}">{}</text><title>{}</title></g>'
    ).format(
        " first" if first else "",
        x,
        y,
        _BOX_WIDTH,
        _BOX_HEIGHT,
        x + 10,
        y + 25,
        _label(tail, _MAX_LABEL),
        _label(name, 400),
    )


def _label(text: str, most: int) -> str:
    return "".join(run.text for run in runs(text, most))
