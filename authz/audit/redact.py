"""What never reaches a record, and how untrusted text is made fit for one (I10).

The sets and patterns here are code, not configuration: no setting can undo them. A record is text that people and log
pipelines read, so besides secrets this removes what could forge a second line or hide part of one.
"""

import re
from urllib.parse import unquote

CUT = "[cut]"
MASK = "[masked]"

_SECRET_NAMES = frozenset(
    {
        "dpop",
        "sec-websocket-protocol",  # browsers put bearer tokens there, for want of a header
        "x-forwarded-client-cert",
    }
)
_SECRET_WORDS = frozenset(
    {"auth", "code", "grant", "key", "keys", "otp", "pass", "pin", "pwd", "session", "sid", "sig"}
)
_SECRET_PARTS = re.compile(
    "apikey|assertion|authenti|authoriz|cookie|credential|jwt|passphrase|passwd|password|secret|sessionid|signature|token"
)
_WORD_BREAK = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")

_NOT_PLAIN = re.compile(
    # C0, DEL and C1; zero-width and bidirectional marks (they hide or reorder text); line and paragraph separators,
    # which JSON leaves alone and line readers do not; lone surrogates, which no encoder takes; the byte order mark.
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)

_TOKENS = re.compile(
    r"""
    (?i:eyJ)[A-Za-z0-9_+=-]{8,}(?:\.[A-Za-z0-9_+=-]*){0,4}     # base64 of a JSON object: a JWT, whole or in part
    | -----BEGIN.*                                             # PEM
    | \b(?i:gh[oprsu]_|github_pat_|glpat-|xox[a-z]-|hvs\.|sk-|npm_|pypi-|AIza|AKIA|ASIA)[A-Za-z0-9_.-]{8,}
    | (?P<scheme>\b(?i:bearer|dpop)[\s+:=]+)[^\s,;"'&]+
    | (?P<basic>\b(?i:basic)[\s+]+)(?=\S*[A-Z0-9=])[A-Za-z0-9+/=_-]{6,}
    | (?P<name>(?i:password|passwd|pwd|secret|token|api[_-]?key|signature|sig|credential|session|sessionid|sid)=)
      [^\s,;"'/&]+
    | (?P<url>://)[^/\s@]+@                                      # user and password in a URL
    """,
    re.VERBOSE | re.DOTALL,
)
_TOKEN_HINT = re.compile(
    r"eyj|-----b|gh[oprsu]_|github_pat|glpat-|xox|hvs\.|sk-|npm_|pypi-|aiza|akia|asia|bearer|basic|dpop|@|="
)
"""Of lower-case text: what does not have one of these has nothing that `_TOKENS` matches."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What request ids mostly are: of `_TOKENS` no part can be spelt in it."""
_DIGIT_GROUPS = re.compile(r"[0-9]+(?:[ _+-][0-9]+)*")
_DIGITS_HINT = re.compile(r"[0-9][0-9 _+-]{12}")
"""What does not have this has no card number. It costs a fourth of a search for 13 digits, most of all in UUIDs."""
_MIN_PAN_DIGITS, _MAX_PAN_DIGITS = 13, 19  # ISO/IEC 7812-1
_TRAILING_DIGITS = " _+-0123456789"
_MAX_DECODINGS = 3


def name_is_secret(name: str) -> bool:
    """Whether a header or parameter of this name may carry a credential, so that no setting makes its value recordable.

    It errs towards yes: an `idempotency-key` counts, too.
    """
    words = [word.lower() for word in _WORD_BREAK.split(name)]
    joined = "".join(words)
    return (
        name.strip().lower() in _SECRET_NAMES
        or not _SECRET_WORDS.isdisjoint(words)
        or _SECRET_PARTS.search(joined) is not None
    )


def plain(text: str, max_chars: int) -> str:
    r"""Answer the text in one line without control characters (written as `\u....`), cut to `max_chars`.

    For identifiers that something trusted gave (a verified subject, a rule): it does not look for secrets, since
    masking would make who did it unknown.
    """
    whole = len(text) <= max_chars
    if whole and text.isascii() and text.isprintable():
        return text
    shown = _NOT_PLAIN.sub(_escape, text[:max_chars])
    return shown if whole and len(shown) <= max_chars else shown[:max_chars] + CUT


def masked(text: str, max_chars: int) -> str:
    """Answer the text as `plain` does, with tokens, passwords and card numbers (PAN) masked wherever they stand.

    Cut first, so that the cost is bounded; a number that the cut may have halved goes whole (half a card number would
    not be recognised).
    """
    if len(text) > max_chars:
        return plain(_mask(text[:max_chars].rstrip(_TRAILING_DIGITS)), max_chars).removesuffix(CUT) + CUT
    return plain(_mask(text), max_chars)


def masked_path(path: str, max_chars: int) -> str:
    """Answer a path as `masked` does; a segment whose secret is hidden by percent-encoding goes whole."""
    if "%" not in path:
        return masked(path, max_chars)
    segments = path[:max_chars].split("/")
    shown = [_masked_segment(segment) for segment in segments]
    if len(path) <= max_chars:
        return masked("/".join(shown), max_chars)
    if "%" in segments[-1]:
        shown[-1] = MASK  # the cut may have halved what would have been recognised
    return masked("/".join(shown), max_chars).removesuffix(CUT) + CUT


def is_plain_uuid(text: str) -> bool:
    """Whether the text is a UUID of which `masked` leaves everything as it is, which it finds out for more."""
    return _UUID.fullmatch(text) is not None and _DIGITS_HINT.search(text) is None


def _masked_segment(segment: str) -> str:
    decoded = segment
    for _ in range(_MAX_DECODINGS):
        if "%" not in decoded:
            break
        decoded = unquote(decoded, errors="replace")
    return segment if _mask(decoded) == decoded else MASK


def _mask(text: str) -> str:
    # Nearly every text holds nothing to mask, and finding that out by the full patterns would cost four times as much.
    if not _UUID.fullmatch(text) and _TOKEN_HINT.search(text.lower()):
        text = _TOKENS.sub(_mask_token, text)
    if _DIGITS_HINT.search(text):
        text = _DIGIT_GROUPS.sub(_mask_numbers, text)
    return text


def _mask_token(match: re.Match[str]) -> str:
    kept = match["scheme"] or match["basic"] or match["name"]
    return "://" + MASK + "@" if match["url"] else (kept or "") + MASK


def _mask_numbers(match: re.Match[str]) -> str:
    """Mask the card numbers in groups of digits (`4111 1111 1111 1111`, or one run), leaving other numbers as they are.

    Groups count whole: a number may span several, but starts and ends at the edge of one.
    """
    text = match.group()
    if len(text) < _MIN_PAN_DIGITS:
        return text
    groups = [(m.start(), m.end()) for m in re.finditer("[0-9]+", text)]
    shown, done, at = [], 0, 0
    while at < len(groups):
        start = groups[at][0]
        end = _pan_end(text, groups, at)
        if end:
            shown += [text[done:start], MASK]
            done = end
        at += 1
        while at < len(groups) and groups[at][0] < done:
            at += 1
    return "".join([*shown, text[done:]])


def _pan_end(text: str, groups: list[tuple[int, int]], first: int) -> int:
    """Where the longest card number ends that starts with group `first`; 0: none does."""
    digits, found = "", 0
    for start, end in groups[first:]:
        digits += text[start:end]
        if len(digits) > _MAX_PAN_DIGITS:
            # One unbroken run too long for a card number may still hold one: it goes whole.
            return end if end - start == len(digits) else found
        if len(digits) >= _MIN_PAN_DIGITS and _is_pan(digits):
            found = end
    return found


def _is_pan(digits: str) -> bool:
    # No card scheme issues numbers that start with 0 or 1, and times in milli-, micro- and nanoseconds do.
    if digits[0] in "01":
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0  # Luhn, ISO/IEC 7812-1 annex B


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - the last of the basic plane
