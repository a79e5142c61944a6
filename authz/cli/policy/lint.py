"""`authz policy lint`: what is wrong with a policy, or likely to be."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from authz.cli.policy.sources import Given, given, policy_options
from authz.composition import Composition
from authz.decision.bind import DEFAULT_TOKENS, BindSettings
from authz.decision.catalogue import parse_entries
from authz.decision.hops import PAIR
from authz.decision.vocabulary import sensitive, vocabulary
from authz.errors import PolicyError
from authz.loading import KNOWN_OBLIGATIONS
from authz.policy import perm
from authz.policy.lint.check import Ground, lint
from authz.policy.lint.finding import Finding, Severity
from authz.policy.lint.kinds import Vocabulary
from authz.policy.lint.whole import Sensitive, Standing
from authz.policy.source import CompileSettings, Sections, registered
from authz.stores.document_files import read_document
from authz.stores.user_functions import load_functions

_FOUND = 1
_RANK = [Severity.INFO, Severity.WARNING, Severity.ERROR]
_WHOLE_OBJECTS = frozenset(("sub", "obj", "act", "env"))
_MAX_SHOWN_CHARS = 100
_LEAD = 20


@click.command("lint")
@policy_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option(
    "--fail-on",
    type=click.Choice(["warning", "error"]),
    default="warning",
    show_default=True,
    help="From which severity on the exit code is 1.",
)
@click.option(
    "--show",
    type=click.Choice([each.value for each in _RANK]),
    default="info",
    show_default=True,
    help="The lowest severity that is shown.",
)
@click.option(
    "--sensitive",
    "sensitivities",
    multiple=True,
    default=("restricted", "confidential"),
    show_default=True,
    help="A sensitivity of the catalogue that wildcards should not take in; repeatable. Cardholder data always counts.",
)
@click.option(
    "--max-findings",
    type=click.IntRange(1, 1_000_000),
    default=500,
    show_default=True,
    help="Most findings that are shown.",
)
def lint_command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    config_path: Path | None,
    model: str | None,
    files: tuple[str, ...],
    fail_on: str,
    show: str,
    sensitivities: tuple[str, ...],
    max_findings: int,
    *,
    as_json: bool,
) -> None:
    """Find errors and likely mistakes in a model and its policies, all in one run.

    FILES are policy files or directories; without them, those of the configuration are read. The configuration also
    tells which headers and metadata policies see, and where the catalogue of resources is.

    A finding that is meant is allowed by a comment above the rule, `# lint: allow CODE - reason`. What each code means:
    docs/policy-tools.md. Exit codes: 0 clean, 1 findings, 2 the policy could not be read.
    """
    policy = given(config_path, model, files)
    found = lint(
        (policy.text.model_file, policy.text.model), policy.text.policies, _ground(policy, tuple(sensitivities))
    )
    if (
        policy.config is not None
        and policy.as_configured
        and all(each.severity is not Severity.ERROR for each in found)
    ):
        found = (*found, *_refused(policy))
    shown = [finding for finding in found if _RANK.index(finding.severity) >= _RANK.index(Severity(show))]
    counts = Counter(finding.severity.value for finding in found)
    if as_json:
        click.echo(_json(shown[:max_findings], counts))
    else:
        for line in _text(policy, shown[:max_findings]):
            click.echo(line)
        if len(shown) > max_findings:
            click.echo(f"... and {len(shown) - max_findings} more")
        told = ", ".join(
            f"{counts[each.value]} {each.value}{'s' * (counts[each.value] > 1)}"
            for each in reversed(_RANK)
            if counts[each.value]
        )
        click.echo(told or "clean", err=True)
    worst = max((_RANK.index(finding.severity) for finding in found), default=-1)
    sys.exit(_FOUND if worst >= _RANK.index(Severity(fail_on)) else 0)


def _ground(policy: Given, sensitivities: tuple[str, ...]) -> Ground:
    """What the configuration says of requests and resources."""
    config = policy.config
    try:
        tokens = perm.parse(policy.text.model, policy.text.model_file, policy.settings.limits).requests["r"]
    except (PolicyError, KeyError):
        tokens = ()  # the linter reports what is wrong with the model
    mapping = config.attributes.request if config else {}
    number = config.delegation.section if config else 0
    beside = Sections.numbered(number) if number > 1 else None
    known = vocabulary(
        # Without a configuration nobody says what `r.sub` is, but for a model of whole objects.
        tokens if config or set(tokens) >= _WHOLE_OBJECTS else (),
        mapping,
        config.attributes if config else BindSettings(),
        config.check_request.metadata_namespaces if config else (),
        config.check_request.route_metadata_namespaces if config else (),
    )
    return Ground(
        functions=registered(time.time, load_functions(policy.settings.functions)),
        vocabulary=known,
        standing=Standing({token: mapping.get(token, DEFAULT_TOKENS.get(token, token)) for token in tokens}),
        sensitive=_sensitive(policy, sensitivities),
        known_obligations=KNOWN_OBLIGATIONS,
        settings=CompileSettings(limits=policy.settings.limits),
        beside=beside,
        vocabulary_beside=_vocabulary_beside(policy, beside) if beside else {},
    )


def _vocabulary_beside(policy: Given, sections: Sections) -> Vocabulary:
    config = policy.config
    try:
        tokens = perm.parse(policy.text.model, policy.text.model_file, policy.settings.limits).requests[
            sections.request
        ]
    except (PolicyError, KeyError):
        return {}  # the linter reports what is wrong with the model
    return vocabulary(
        tokens,
        dict.fromkeys(PAIR, "sub"),
        config.attributes if config else BindSettings(),
        config.check_request.metadata_namespaces if config else (),
        config.check_request.route_metadata_namespaces if config else (),
    )


def _refused(policy: Given) -> Iterator[Finding]:
    """What only loading the whole finds, such as an obligation to apply changes that the configuration lacks."""
    if policy.config is not None:
        try:
            Composition(policy.config, policy.base).build_snapshot()
        except PolicyError as error:
            yield Finding(code="rule-refused", file=error.file, line=error.line, message=error.problem)


def _sensitive(policy: Given, sensitivities: tuple[str, ...]) -> tuple[Sensitive, ...]:
    if policy.config is None or not policy.config.catalogue.file:
        return ()
    settings = policy.config.catalogue
    document = read_document(policy.base / settings.file, settings.max_file_bytes)
    return sensitive(parse_entries(document, settings.file, settings), sensitivities)


def _json(findings: Sequence[Finding], counts: Counter[str]) -> str:
    told = {
        "findings": [{"severity": each.severity.value, **msgspec.structs.asdict(each)} for each in findings],
        "counts": {each.value: counts[each.value] for each in reversed(_RANK)},
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def _text(policy: Given, findings: Sequence[Finding]) -> Iterator[str]:
    """Each finding with its line, a caret line and advice."""
    lines = {name: text.split("\n") for name, text in (policy.text.policies)}
    lines[policy.text.model_file] = policy.text.model.split("\n")
    for finding in findings:
        yield f"{finding.place}: {finding.severity.value}: {_plain(finding.message)} [{finding.code}]"
        if finding.line:
            yield from _excerpt(lines[finding.file][finding.line - 1], finding)
        if finding.advice:
            yield f"      = {_plain(finding.advice)}"


def _excerpt(raw: str, finding: Finding) -> Iterator[str]:
    """The line, cut to what can be read at a glance, and below it carets under what is meant."""
    column = finding.column or len(raw) - len(raw.lstrip()) + 1
    end = finding.end or max(column, len(raw.rstrip()))
    start = max(0, min(column - 1 - _LEAD, len(raw.rstrip()) - _MAX_SHOWN_CHARS))
    shown = _plain(raw.rstrip()[start : start + _MAX_SHOWN_CHARS])
    before, after = ("..." if start else ""), ("..." if start + _MAX_SHOWN_CHARS < len(raw.rstrip()) else "")
    indent = len(before) + column - 1 - start
    carets = "^" * max(1, min(end, start + _MAX_SHOWN_CHARS) - column + 1)
    yield f"{finding.line:>5} | {before}{shown}{after}"
    yield f"      | {' ' * indent}{carets}"


def _plain(text: str) -> str:
    """The text with nothing in it that a terminal would obey."""
    return "".join(each if each.isprintable() else " " if each == "\t" else "?" for each in text)
