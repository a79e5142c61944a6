"""Patterns of hosts and paths, as the catalogue and the scopes of grants write them.

Made of whole labels and whole segments, so that whether one pattern lies within another is a comparison, not a proof.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

# RFC 1123 names and underscores, in lower case as a canonical host is; IPv4 by the same rule; IPv6 with or without [ ].
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"\*|(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\]|[0-9a-f]*:[0-9a-f:.]{{1,45}}")
_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()+,=@:-]|%[0-9A-F]{2})*")
_ESCAPE = re.compile(r"%[0-9A-F]{2}")
_NEVER_ESCAPED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@")
_CAPTURE = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)\}|:([A-Za-z][A-Za-z0-9_]*)")
_CONNECTION = re.compile(r"tcp:(?:\*|[0-9]{1,5})")
_MAX_SEGMENTS = 32
_MAX_HOST_LABELS = 128


class PathPattern(msgspec.Struct, frozen=True, gc=False):
    """A path, segment by segment: `/v1/accounts/{id}` or `/v1/*`; for connections `tcp:5432` or `tcp:*`."""

    segments: tuple[str | None, ...]
    """Literal text, or None for any one segment that is not empty."""
    open_ended: bool
    """A `*` stands at the end: any segments follow, or none."""
    id_position: int
    """Which segment `{id}` is; -1: none."""

    @property
    def rank(self) -> tuple[object, ...]:
        """Smaller is more specific; equal only where the same paths are meant."""
        literals = sum(segment is not None for segment in self.segments)
        shape = tuple(segment is None for segment in self.segments)
        return (-literals, -len(self.segments), self.open_ended, shape)

    def matches(self, segments: Sequence[str]) -> bool:
        """Whether it means a path, taken apart by `path_segments`."""
        own = self.segments
        if len(segments) != len(own) and not (self.open_ended and len(segments) > len(own)):
            return False
        # Shorter than `segments` where the end is open: what follows may be anything.
        for wanted, segment in zip(own, segments, strict=False):
            if segment != wanted if wanted is not None else not segment:
                return False
        return True

    def within(self, outer: "PathPattern") -> bool:
        """Whether every path that it means, `outer` means too; exact."""
        mine, theirs = self.segments, outer.segments
        if len(mine) < len(theirs) or (not outer.open_ended and (self.open_ended or len(mine) > len(theirs))):
            return False
        return all(wanted is None or wanted == segment for wanted, segment in zip(theirs, mine, strict=False))


def parse_path(text: str) -> PathPattern:
    """Read a path pattern.

    Raises:
        ValueError: with what is wrong, in words for its author.
    """
    if not text.startswith("/") and not _CONNECTION.fullmatch(text):
        raise ValueError("a path starts with a slash; a connection is written tcp:<port> or tcp:*")
    root, *parts = path_segments(text)
    open_ended = parts[-1:] == ["*"]
    if open_ended:
        parts.pop()
    if len(parts) > _MAX_SEGMENTS:
        raise ValueError(f"more than {_MAX_SEGMENTS} segments")
    if "" in parts:
        raise ValueError("an empty segment //")
    names = [_captured(part) for part in parts]
    if any(name and names.count(name) > 1 for name in names):
        raise ValueError("a name in { } stands twice")
    return PathPattern(
        segments=(root, *(_segment(part) for part in parts)),
        open_ended=open_ended,
        id_position=names.index("id") + 1 if "id" in names else -1,
    )


def path_segments(path: str) -> list[str]:
    """A canonical path, taken apart: ["", "v1", "accounts"], and ["tcp:", "5432"] for a connection.

    Without a slash at the end: an upstream that ignores it would serve the same resource under a milder description.
    """
    return path.removesuffix("/").split("/") if path.startswith("/") else ["tcp:", path.removeprefix("tcp:")]


def check_host(text: str) -> str:
    """A host pattern that is in order: `accounts.demo.internal`, `*.demo.internal` or `*`.

    Raises:
        ValueError: with what is wrong, in words for its author.
    """
    if text != text.lower():
        raise ValueError("a host is written in lower case")
    if not _HOST.fullmatch(text):
        raise ValueError("not a host name, *.suffix or *; a port does not belong to it")
    return text


def host_patterns(host: str) -> Iterator[str]:
    """Every pattern that means this host, the most specific first."""
    yield host
    rest = host
    for _ in range(min(host.count("."), _MAX_HOST_LABELS)):
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    yield "*"


def _segment(part: str) -> str | None:
    if _CAPTURE.fullmatch(part):
        return None
    if not _SEGMENT.fullmatch(part) or part in (".", ".."):
        raise ValueError(
            f"the segment {part!r} is neither plain text (escapes as %2F), nor {{name}}, nor a * at the end"
        )
    for escape in _ESCAPE.findall(part):
        if chr(int(escape[1:], 16)) in _NEVER_ESCAPED:
            raise ValueError(f"{escape} is never escaped in a canonical path; write the character itself")
    return part


def _captured(part: str) -> str:
    found = _CAPTURE.fullmatch(part)
    return (found.group(1) or found.group(2)) if found else ""
