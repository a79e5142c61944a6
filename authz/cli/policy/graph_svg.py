"""Draws who can do what: subjects on the left, resources on the right, a line where something is allowed."""

from collections.abc import Iterator, Sequence
from html import escape

import msgspec

from authz.decision.access_table import Answer, Cell

_ROW = 26
_TOP = 64
_CHAR = 7
_MARGIN = 16
_GAP = 320
_MAX_LABEL_CHARS = 80
_STYLE = (
    "text{font:13px sans-serif;fill:#1b1f24}.small{font-size:11px;fill:#57606a}"
    ".yes{stroke:#1a7f37;stroke-width:1.6}.depends{stroke:#9a6700;stroke-width:1.6;stroke-dasharray:5 4}"
    "line:hover{stroke-width:4}"
)


class _Edge(msgspec.Struct, frozen=True):
    subject: str
    resource: str
    answer: Answer
    methods: tuple[str, ...]
    told: str


def draw(cells: Sequence[Cell], title: str) -> str:
    """The drawing, as an SVG document; a solid line is an allow, a dashed one depends on more."""
    edges = list(_edges(cells))
    left = _placed(edge.subject for edge in edges)
    right = _placed(edge.resource for edge in edges)
    height = _TOP + _ROW * max(len(left), len(right), 1) + _MARGIN
    near = _MARGIN + _CHAR * max((min(len(name), _MAX_LABEL_CHARS) for name in left), default=0) + 8
    far = near + _GAP
    width = far + _CHAR * max((min(len(name), _MAX_LABEL_CHARS) for name in right), default=0) + _MARGIN + 8
    size = f'width="{width}" height="{height}"'
    legend = (
        "solid: allowed; dashed: allowed under further conditions; hold the pointer over a line for methods and rules"
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}" role="img">',
        f"<title>{_text(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect {size} fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="24">{_text(title)}</text>',
        f'<text class="small" x="{_MARGIN}" y="42">{legend}</text>',
    ]
    for edge in edges:
        start, end = left[edge.subject], right[edge.resource]
        lines.append(
            f'<line class="{edge.answer.value}" x1="{near}" y1="{start - 4}" x2="{far}" y2="{end - 4}">'
            f"<title>{_text(edge.told)}</title></line>"
        )
    for edge, (x, y) in zip(edges, _label_places(edges, left, right, near), strict=True):
        lines.append(f'<text class="small" x="{x}" y="{y}" text-anchor="end">{_text(" ".join(edge.methods))}</text>')
    lines += [f'<text x="{near - 8}" y="{y}" text-anchor="end">{_label(name)}</text>' for name, y in left.items()]
    lines += [f'<text x="{far + 8}" y="{y}">{_label(name)}</text>' for name, y in right.items()]
    return "\n".join([*lines, "</svg>", ""])


def _edges(cells: Sequence[Cell]) -> Iterator[_Edge]:
    """One line for each subject, resource and answer, with all its methods."""
    grouped: dict[tuple[str, str, Answer], list[Cell]] = {}
    for cell in cells:
        if cell.answer is not Answer.NO:
            grouped.setdefault((cell.subject.id, cell.resource.name, cell.answer), []).append(cell)
    for (subject, resource, answer), found in grouped.items():
        told = [f"{subject} -> {resource}"]
        for cell in found:
            why = "; ".join(cell.needs) if answer is Answer.DEPENDS else cell.rule.id if cell.rule else ""
            told.append(f"{cell.method}: {answer.value} {why}".rstrip())
        yield _Edge(subject, resource, answer, tuple(cell.method for cell in found), "\n".join(told))


def _placed(names: Iterator[str]) -> dict[str, int]:
    """Each name with the height at which it stands."""
    return {name: _TOP + _ROW * place + 14 for place, name in enumerate(dict.fromkeys(names))}


def _label_places(
    edges: Sequence[_Edge], left: dict[str, int], right: dict[str, int], near: int
) -> Iterator[tuple[int, int]]:
    """Where the methods of each line are written: before its end, where lines are farthest apart."""
    for edge in edges:
        start, end = left[edge.subject], right[edge.resource]
        share = 0.97 if edge.answer is Answer.YES else 0.8
        yield near + int(_GAP * share), int(start + (end - start) * share) - 7


def _label(name: str) -> str:
    shown = name if len(name) <= _MAX_LABEL_CHARS else f"{name[: _MAX_LABEL_CHARS - 1]}…"
    return f"{_text(shown)}<title>{_text(name)}</title>" if shown != name else _text(shown)


def _text(text: str) -> str:
    """The text for an SVG document: nothing in it is markup, nor a character that XML forbids."""
    clean = "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
    return escape(clean, quote=True)
