"""Whether a regular expression has quantifiers within quantifiers, which hang the engines that backtrack."""

_OPEN_ENDED = "*+"


def nested_quantifiers(pattern: str) -> bool:
    """Whether something that repeats without bound stands in a group that does too: `(a+)+`, `(a|b*)*`.

    The pattern is one that compiles; on RE2, which evaluates it here, such a pattern is as quick as any.
    """
    repeats: list[bool] = [False]
    closed = False
    """Whether what was just read is a group in which something repeats."""
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        quantified = _unbounded(pattern, at)
        if quantified:
            if closed:
                return True
            repeats[-1] = True
        closed = False
        if sign == "\\":
            at += 1
        elif sign == "[":
            at = _class_end(pattern, at)
        elif sign == "(":
            repeats.append(False)
        elif sign == ")" and len(repeats) > 1:
            closed = repeats.pop()
            repeats[-1] = repeats[-1] or closed
        at += 1
    return False


def _unbounded(pattern: str, at: int) -> bool:
    """Whether a quantifier without upper bound stands here."""
    if pattern[at] in _OPEN_ENDED:
        return True
    inner, brace, _ = pattern[at + 1 :].partition("}")
    return pattern[at] == "{" and bool(brace) and inner[:-1].isdigit() and inner.endswith(",")


def _class_end(pattern: str, at: int) -> int:
    """Where the class that starts here ends."""
    at += 1
    if pattern[at : at + 1] == "^":
        at += 1
    first = at
    while at < len(pattern) and (pattern[at] != "]" or at == first):
        at += 2 if pattern[at] == "\\" else 1
    return at
