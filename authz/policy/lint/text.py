"""The lines of policy and model files as their authors see them: where a column stands, and what is exempted."""

import re
from collections.abc import Iterable, Iterator

import msgspec

from authz.policy.lint.finding import CODES, Finding, Severity
from authz.policy.located import Span
from authz.policy.perm import Entry
from authz.policy.rows import cell_spans

_EXEMPTION = re.compile(r"[#;]\s*lint:\s*(?P<what>.*)")
_FORM = re.compile(r"(?P<whole>allow|allow-file)\s+(?P<codes>[a-z-]+(?:\s*,\s*[a-z-]+)*)\s+-\s+(?P<reason>\S.*)")
_ADVICE = "write `# lint: allow CODE - reason` above the rule, or `# lint: allow-file CODE - reason`"


class Exemption(msgspec.Struct, frozen=True):
    """A comment by which an author takes findings of one code upon himself."""

    code: str
    file: str
    comment: int
    """The line of the comment."""
    line: int
    """The line that it speaks of; 0: the whole file."""


class File:
    """One file, line by line."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = text.split("\n")

    def cell(self, line: int, column: int) -> tuple[Span, str] | None:
        """Where a column (from 0: the policy type) of the rule at a line stands, and its text."""
        raw = self.lines[line - 1]
        indent = len(raw) - len(raw.lstrip())
        spans = cell_spans(raw.strip(), self.name, line)
        if column >= len(spans):
            return None
        start, end = (place + indent for place in spans[column])
        cell = raw[start:end]
        start += len(cell) - len(cell.lstrip())
        return (start + 1, start + max(1, len(cell.strip()))), cell.strip()

    def entry(self, entry: Entry) -> list[tuple[int, int]]:
        """For each character of a model entry's value its line and column; a line that is continued ends in a space."""
        joined = ""
        places: list[tuple[int, int]] = []
        for number in range(entry.line, len(self.lines) + 1):
            raw = self.lines[number - 1]
            indent = len(raw) - len(raw.lstrip())
            content = raw.strip()
            more = content.endswith("\\")
            kept = content[:-1].strip() + " " if more else content
            joined += kept
            places += [(number, indent + at + 1) for at in range(len(kept))]
            if not more:
                break
        start = joined.find(entry.value, joined.find("=") + 1)
        return places[start : start + len(entry.value)]

    def whole(self, line: int) -> Span:
        """Where the text of a line starts and ends."""
        raw = self.lines[line - 1]
        indent = len(raw) - len(raw.lstrip())
        return indent + 1, max(indent + 1, len(raw.rstrip()))

    def exemptions(self) -> "Iterator[Exemption | Finding]":
        """Every exemption of the file, and a finding for each comment that is meant as one and is not."""
        for number, raw in enumerate(self.lines, 1):
            found = _EXEMPTION.fullmatch(raw.strip())
            if found is None:
                continue
            form = _FORM.fullmatch(found["what"].strip())
            if form is None:
                message = "an exemption names what it allows, and after a hyphen the reason"
                yield self._malformed(number, message)
                continue
            for code in (code.strip() for code in form["codes"].split(",")):
                if code not in CODES:
                    yield self._malformed(number, f"there is no finding {code!r}")
                elif CODES[code] is Severity.ERROR:
                    yield self._malformed(number, f"{code!r} is an error: the policy would not load, or the rule err")
                else:
                    yield Exemption(
                        code, self.name, number, 0 if form["whole"] == "allow-file" else self._below(number)
                    )

    def _malformed(self, line: int, message: str) -> Finding:
        return Finding(code="malformed-exemption", file=self.name, line=line, message=message, advice=_ADVICE)

    def _below(self, line: int) -> int:
        """The first line below that is no comment."""
        for number in range(line + 1, len(self.lines) + 1):
            if self.lines[number - 1].strip()[:1] not in ("#", ";"):
                return number
        return line


def exempt(findings: Iterable[Finding], files: Iterable[File]) -> list[Finding]:
    """The findings that no comment exempts, and one for each exemption that exempts nothing."""
    exemptions: list[Exemption] = []
    left: list[Finding] = []
    for file in files:
        for found in file.exemptions():
            (left if isinstance(found, Finding) else exemptions).append(found)  # type: ignore[arg-type]  # each to its own
    used: set[Exemption] = set()
    for finding in findings:
        by = [each for each in exemptions if _exempts(each, finding)]
        used.update(by)
        if not by:
            left.append(finding)
    for exemption in exemptions:
        if exemption not in used:
            message = f"there is no {exemption.code!r} to allow here"
            advice = "remove it, so that it does not hide the next one"
            left.append(
                Finding(
                    code="useless-exemption",
                    file=exemption.file,
                    line=exemption.comment,
                    message=message,
                    advice=advice,
                )
            )
    return left


def _exempts(exemption: Exemption, finding: Finding) -> bool:
    return (
        exemption.file == finding.file
        and exemption.code == finding.code
        and finding.severity is not Severity.ERROR
        and exemption.line in (0, finding.line)
    )
