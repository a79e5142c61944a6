"""One reading of a request's method, host and path, or a refusal of the ambiguous (I6).

Peers were bypassed exactly here: an authorizer read `//admin` or `/admin;x` one way and the upstream another. So
whatever two parties could read differently is refused, unless configuration names the form that the upstream reads.

Sources: RFC 3986 sections 2, 3.3 and 6.2.2; RFC 9110 sections 4.2, 7.2 and 9.1. docs/canonical-requests.md tells which
Envoy settings this expects in front.
"""

import re
from typing import Annotated, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from authz.errors import Reason, Refusal
from authz.memo import Memo
from authz.model import CheckCall, Target

_SEGMENT = r"[A-Za-z0-9._~$&'()*+,=:@-]"
# Nothing here needs a second look: absolute, no empty or dot segment, no escape, no delimiter with two readings.
_PLAIN_PATH = re.compile(rf"/|(?:/(?!\.{{1,2}}(?:/|\Z)){_SEGMENT}+)+/?")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_ENCODED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
# Escaped or not, these are the same to whoever reads a path segment; the canonical form is the plain one. Every other
# character is escaped in the canonical form.
_LITERAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~!$&'()*+,=:@")
_UNESCAPED = re.compile(r"[^A-Za-z0-9._~!$&'()*+,=:@/;%\\-]")
_DOTS = frozenset({".", ".."})
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_HOST_PORT = re.compile(
    r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9_])?)\.?(?::([0-9]{1,5}))?"
)
_MAX_PORT = 65535
_MEMO_CHARS = 512
"""Longer paths are not remembered: the memory is for what comes again, and is bounded in bytes by this (I12)."""
_GUARDED = {
    ".": ("encoded_dots", Reason.PATH_ENCODED_DOT),
    "/": ("encoded_slashes", Reason.PATH_ENCODED_SLASH),
    "\\": ("backslashes", Reason.PATH_BACKSLASH),
    ";": ("parameters", Reason.PATH_PARAMETER),
    "?": ("encoded_delimiters", Reason.PATH_ENCODED_DELIMITER),
    "#": ("encoded_delimiters", Reason.PATH_ENCODED_DELIMITER),
    "%": ("encoded_percent", Reason.PATH_ENCODED_PERCENT),
}


class PathRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do with each part of a path that could be read in two ways.

    "refuse" is always safe. Any other value is a statement about the upstream: it must read the path in that way too.
    Control characters, broken escapes, fragments and relative paths are refused always.
    """

    max_path_bytes: int = 8192
    """Longest path with query, in bytes; longer is refused."""
    empty_segments: Literal["refuse", "merge", "keep"] = "refuse"
    """`//`: refuse, merge into one slash, or keep as it is."""
    dot_segments: Literal["refuse", "resolve"] = "refuse"
    """`/./` and `/../`: refuse, or resolve as RFC 3986 section 5.2.4 does."""
    encoded_dots: Literal["refuse", "decode"] = "refuse"
    """`%2e`: refuse, or decode before dot segments are looked for."""
    encoded_slashes: Literal["refuse", "decode", "keep"] = "refuse"
    """`%2F`: refuse, decode into a separator, or keep as a character of its segment."""
    backslashes: Literal["refuse", "slash", "keep"] = "refuse"
    r"""`\` and `%5C`: refuse, read as a slash, or keep."""
    parameters: Literal["refuse", "strip", "keep"] = "refuse"
    """`;` and `%3B`: refuse, strip from the `;` to the end of each segment, or keep as an ordinary character."""
    encoded_delimiters: Literal["refuse", "keep"] = "refuse"
    """`%3F` and `%23`: refuse, or keep escaped."""
    encoded_percent: Literal["refuse", "keep"] = "refuse"
    """`%25`, which a second decoding would turn into another escape: refuse, or keep escaped."""
    invalid_utf8: Literal["refuse", "keep"] = "refuse"
    """Escapes that do not decode to UTF-8: refuse, or keep escaped."""
    replaced_bytes: Literal["refuse", "keep"] = "refuse"
    """`!` where Envoy may have put it in place of bytes that are not UTF-8 (only without `encode_raw_headers`)."""
    trailing_slash: Literal["keep", "strip", "refuse"] = "keep"
    """`/x/`: a path of its own, the same as `/x`, or refused."""


class RequestRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the method, host and path of a request are brought into one form."""

    path: PathRules = PathRules()
    """What is done with each ambiguity of a path."""
    method_override_headers: tuple[str, ...] = ("x-http-method-override", "x-http-method", "x-method-override")
    """Headers by which some frameworks replace the method; refused unless they repeat it. Empty: not looked at."""
    max_memo_entries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 8_192
    """How many different methods, hosts and paths are remembered in their canonical form."""


class Canonicaliser:
    """Brings calls into their one form, and remembers the forms of those that come again."""

    def __init__(self, rules: RequestRules) -> None:
        """`rules`: what is done with each ambiguity."""
        self._rules = rules
        self._overrides = rules.method_override_headers
        self._targets: Memo[tuple[str, str, str, bool], Target] = Memo(rules.max_memo_entries)

    def __call__(self, call: CheckCall) -> Target:
        """Name what an HTTP call asks for in its canonical form; for the network filter, the destination.

        Raises:
            Refusal: with the reason of the first ambiguity met.

        Cost: half a microsecond for what was asked before, three for a new path.
        """
        if call.layer != "http":
            return Target(method="CONNECT", host=call.destination_address, port=call.destination_port)
        _check_headers(call, self._overrides)
        if len(call.path) > self._rules.path.max_path_bytes:
            raise Refusal(Reason.PATH_TOO_LONG)
        path, _, query = call.path.partition("?")
        key = (call.method, call.host, path, call.raw_headers)
        target = self._targets.get(key)
        if target is None:
            target = _target(call, path, self._rules)
            if len(path) <= _MEMO_CHARS:
                self._targets.put(key, target)
        if query:
            _check_query(query)
            return msgspec.structs.replace(target, query=query)
        return target


def canonicalise(call: CheckCall, rules: RequestRules) -> Target:
    """As `Canonicaliser` does, once.

    Raises:
        Refusal: with the reason of the first ambiguity met.
    """
    return Canonicaliser(rules)(call)


def _check_headers(call: CheckCall, overrides: tuple[str, ...]) -> None:
    """Refuse a header that names another method or host than the request line does."""
    headers, host = call.headers, call.host
    for name in overrides:
        if name in headers and headers[name].upper() != call.method:
            raise Refusal(Reason.METHOD_OVERRIDE, name)
    for name in ("host", ":authority"):
        if headers.get(name, host) != host:
            raise Refusal(Reason.HOST_MISMATCH, name)


def _target(call: CheckCall, path: str, rules: RequestRules) -> Target:
    if not _METHOD.fullmatch(call.method):
        raise Refusal(Reason.METHOD_MALFORMED)
    host, port = _host(call.host)
    return Target(
        method=call.method, host=host, port=port, path=_path(path, rules.path, bytes_visible=call.raw_headers)
    )


def _host(text: str) -> tuple[str, int]:
    match = _HOST_PORT.fullmatch(text)
    # HTTP/1.1 clients may send two Host headers, which Envoy joins by a comma: that never matches here.
    if match is None or ".." in text:
        raise Refusal(Reason.HOST_MALFORMED)
    name, port = match.group(1), int(match.group(2) or 0)
    if port > _MAX_PORT:
        raise Refusal(Reason.HOST_MALFORMED)
    return name.lower(), port


def _check_query(query: str) -> None:
    if _CONTROL.search(query):
        raise Refusal(Reason.PATH_CONTROL_CHARACTER, "query")
    if "#" in query:
        raise Refusal(Reason.PATH_FRAGMENT)


def canonical_path(target: str, rules: PathRules, *, bytes_visible: bool) -> tuple[str, str]:
    """Split a request target into its canonical path and its query.

    `bytes_visible`: the proxy sent raw header values, so `!` is what the client wrote and not a replacement.

    Raises:
        Refusal: PATH_*, by the first rule that refuses.
    """
    if len(target) > rules.max_path_bytes:
        raise Refusal(Reason.PATH_TOO_LONG)
    path, _, query = target.partition("?")
    path = _path(path, rules, bytes_visible=bytes_visible)
    if query:
        _check_query(query)
    return path, query


def _path(path: str, rules: PathRules, *, bytes_visible: bool) -> str:
    if not _PLAIN_PATH.fullmatch(path):
        path = _settle(path, rules, bytes_visible=bytes_visible)
    if path != "/" and path.endswith("/") and rules.trailing_slash != "keep":
        if rules.trailing_slash == "refuse":
            raise Refusal(Reason.PATH_TRAILING_SLASH)
        path = path.rstrip("/") or "/"
    return path


def _settle(path: str, rules: PathRules, *, bytes_visible: bool) -> str:
    """Apply the rules to a path that is not plain; the order matters: what decoding uncovers is checked after it."""
    if "#" in path:
        raise Refusal(Reason.PATH_FRAGMENT)
    if not path.startswith("/"):
        raise Refusal(Reason.PATH_NOT_ABSOLUTE)
    if _CONTROL.search(path) or _ENCODED_CONTROL.search(path):
        raise Refusal(Reason.PATH_CONTROL_CHARACTER)
    if _BAD_ESCAPE.search(path):
        raise Refusal(Reason.PATH_BAD_ESCAPE)
    if "!" in path and not bytes_visible and rules.replaced_bytes == "refuse":
        raise Refusal(Reason.PATH_REPLACED_BYTES)
    _check_utf8(path, rules)
    path = _ESCAPE.sub(lambda escape: _escape(escape.group().upper(), rules), path)
    path = _UNESCAPED.sub(lambda char: _percent(char.group()), path)
    if "\\" in path:
        if rules.backslashes == "refuse":
            raise Refusal(Reason.PATH_BACKSLASH)
        path = path.replace("\\", "/" if rules.backslashes == "slash" else "%5C")
    return _settle_segments(path, rules)


def _check_utf8(path: str, rules: PathRules) -> None:
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeError:  # a lone surrogate fails to encode, a broken sequence to decode
        if rules.invalid_utf8 == "refuse":
            raise Refusal(Reason.PATH_BAD_UTF8) from None


def _escape(escape: str, rules: PathRules) -> str:
    """Answer one escape (upper case) in its canonical form."""
    char = chr(int(escape[1:], 16))
    if char in _GUARDED:
        setting, reason = _GUARDED[char]
        choice = getattr(rules, setting)
        if choice == "refuse":
            raise Refusal(reason)
        # A kept `;` is an ordinary character: its two spellings are one. The others keep apart what they escape.
        return escape if choice == "keep" and char != ";" else char
    return char if char in _LITERAL else escape


def _settle_segments(path: str, rules: PathRules) -> str:
    if ";" in path:
        if rules.parameters == "refuse":
            raise Refusal(Reason.PATH_PARAMETER)
        if rules.parameters == "strip":
            path = "/".join(segment.partition(";")[0] for segment in path.split("/"))
    segments = path.split("/")[1:]
    empty = "" in segments[:-1]
    if empty and rules.empty_segments == "refuse":
        raise Refusal(Reason.PATH_EMPTY_SEGMENT)
    # `.;x` and `..;x` are dots to servers that strip parameters, so they are never an ordinary name.
    if any(segment.startswith((".;", "..;")) for segment in segments):
        raise Refusal(Reason.PATH_DOT_SEGMENT)
    if not _DOTS.isdisjoint(segments):
        # `/a//../b` is /a/b or /b, by whether slashes merge before or after: no setting settles that.
        if rules.dot_segments == "refuse" or empty:
            raise Refusal(Reason.PATH_DOT_SEGMENT)
        segments = _without_dots(segments)
    elif empty and rules.empty_segments == "merge":
        segments = [segment for segment in segments[:-1] if segment] + segments[-1:]
    return "/" + "/".join(segments)


def _without_dots(segments: list[str]) -> list[str]:
    """RFC 3986 section 5.2.4 on a list of segments; climbing above the root is refused, not clamped."""
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            if not kept:
                raise Refusal(Reason.PATH_DOT_SEGMENT, "above the root")
            kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in _DOTS:
        kept.append("")
    return kept


def _percent(text: str) -> str:
    return "".join(f"%{octet:02X}" for octet in text.encode("utf-8", "surrogatepass"))
