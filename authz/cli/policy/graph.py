"""`authz policy graph`: who can do what."""

import csv
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from authz.cli.options import base_of, config_option, read_config
from authz.cli.policy.graph_svg import draw
from authz.cli.policy.samples import distinct, granted, resources, rule_facts, subjects
from authz.composition import Composition
from authz.config.settings import Config
from authz.decision.access_table import AccessTable, Answer, Cell, TableResource, TableSubject
from authz.decision.bind import DEFAULT_TOKENS
from authz.decision.catalogue import ResourceEntry, parse_entries
from authz.decision.snapshot import Snapshot
from authz.errors import AuthzError, ConfigError, Refusal
from authz.identity.inventory import EMPTY_INVENTORY, Inventory, parse_inventory
from authz.identity.patterns import parse_spiffe_pattern
from authz.identity.subjects import SubjectFactory
from authz.model import AccessRequest, CheckCall, Credential, Subject, Target
from authz.policy.compile import CompiledEngine
from authz.policy.lint.whole import Standing
from authz.policy.rule import CompiledRule
from authz.spiffe import parse_spiffe_id
from authz.stores.document_files import read_document

_MAX_WORK = 20_000_000
_AGE, _LIFETIME = 60.0, 3_600.0
_FORMULA = ("=", "+", "-", "@")
_SAMPLED = (
    "Each subject is taken to have proved its identity by a certificate issued a minute ago for an hour, without a "
    "token; each pattern is asked about by one example path and host; the rest of the request is empty. Answers that "
    "such things could change are marked as depending on them. A rule that errs denies; it is seen to err only for "
    "these requests."
)


@click.command("graph")
@config_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw it into this file besides.")
@click.option("--all", "show_all", is_flag=True, help="Show what is denied too.")
@click.option("--subject", "named", multiple=True, help="Ask for this SPIFFE ID too; repeatable.")
@click.option("--only", is_flag=True, help="Ask only for those of --subject.")
@click.option("--method", "methods", multiple=True, help="Ask for this method only; repeatable.")
@click.option("--at", type=float, help="As of this moment (seconds since the epoch) instead of now.")
@click.option("--max-subjects", type=click.IntRange(1, 10_000), default=200, show_default=True)
@click.option("--max-resources", type=click.IntRange(1, 10_000), default=200, show_default=True)
def graph_command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    config_path: Path | None,
    svg: Path | None,
    named: tuple[str, ...],
    methods: tuple[str, ...],
    at: float | None,
    max_subjects: int,
    max_resources: int,
    *,
    as_json: bool,
    as_csv: bool,
    show_all: bool,
    only: bool,
) -> None:
    """Show who can do what: a table of subjects, resources and methods, with the rule that decides.

    Subjects come from the inventory, and from identities that rules and role grants name; resources from the catalogue,
    and from paths that rules name. What is sampled is said with the table. Exit codes: 0 done, 2 it could not be made.
    """
    if as_json and as_csv:
        raise click.UsageError("--json or --csv, not both")
    if only and not named:
        raise click.UsageError("--only needs a --subject")
    config, base = read_config(config_path), base_of(config_path)
    asking = _Asking(config, base, time.time() if at is None else at)
    chosen = list(asking.subjects(named, only=only))
    found = list(asking.resources(methods))
    left = [
        f"{what}: the first {most} of {len(listed)} are shown; --max-{what} shows more"
        for what, listed, most in (("subjects", chosen, max_subjects), ("resources", found, max_resources))
        if len(listed) > most
    ]
    cells = list(asking.cells(chosen[:max_subjects], found[:max_resources]))
    shown = [cell for cell in cells if show_all or cell.answer is not Answer.NO]
    if svg is not None:
        _write(svg, draw(cells, f"Who can do what: policy {asking.version}"))
    if as_json:
        click.echo(_json(shown, asking.version, left))
    elif as_csv:
        click.echo(_csv(shown), nl=False)
    else:
        click.echo("\n".join(_text(shown)))
    if not as_json:
        for line in (*left, f"policy {asking.version}. {_SAMPLED}"):
            click.echo(line, err=True)


class _Asking:
    """A configuration, ready to be asked for whole tables."""

    def __init__(self, config: Config, base: Path, now: float) -> None:
        self._config = config
        self._base = base
        self._now = now
        self._snapshot: Snapshot = Composition(config, base).build_snapshot()
        engine = self._snapshot.engine
        if not isinstance(engine, CompiledEngine):
            raise AuthzError("this engine cannot be looked into")
        self._engine = engine
        self.version = self._snapshot.version
        self._snapshot.moment.now = now
        self._mapping = {**DEFAULT_TOKENS, **config.attributes.request}
        self._standing = Standing({token: self._mapping.get(token, token) for token in engine.tokens})
        self._facts = list(rule_facts(engine, self._standing))
        inventory, self._workloads = self._inventory()
        agents = [parse_spiffe_pattern(text) for text in config.identity.agents]
        self._factory = SubjectFactory(agents, inventory)

    def subjects(self, named: Sequence[str], *, only: bool) -> Iterator[TableSubject]:
        asked = (TableSubject(name, "asked for") for name in named)
        others = () if only else (*subjects(self._workloads, self._facts), *granted(self._engine, self._standing))
        yield from distinct((*asked, *others))

    def resources(self, methods: tuple[str, ...]) -> Iterator[TableResource]:
        yield from resources(self._catalogue(), self._facts, methods)

    def cells(self, subjects_: Sequence[TableSubject], resources_: Sequence[TableResource]) -> Iterator[Cell]:
        """Every answer.

        Raises:
            AuthzError: It would take too long.
        """
        operations = [(resource, method) for resource in resources_ for method in resource.methods]
        if len(self._engine.rules) * (len(subjects_) + len(operations)) > _MAX_WORK:
            raise AuthzError("too many rules, subjects and resources for one table; see --max-subjects, --only")
        if not subjects_ or not operations:
            return
        table = AccessTable(self._engine, self._mapping)
        known = {subject: self._subject(subject) for subject in subjects_}
        by_ordinal = {rule.ordinal: rule for rule in self._engine.rules}
        first = known[subjects_[0]]
        of_subject = {
            subject: table.possible(
                self._engine.rules, self._values(known[subject], *operations[0]), frozenset(("sub",))
            )
            for subject in subjects_
        }
        for resource, method in operations:
            values = self._values(first, resource, method)
            of_resource = table.possible(self._engine.rules, values, frozenset(("obj", "act")))
            for subject in subjects_:
                values = self._values(known[subject], resource, method)
                verdict = self._engine.evaluate(values, lambda: False)
                both: list[CompiledRule] = [by_ordinal[each] for each in sorted(of_resource & of_subject[subject])]
                yield table.cell(subject, resource, method, values, verdict, both)

    def _values(self, subject: Subject, resource: TableResource, method: str) -> tuple[object, ...]:
        connection = resource.path.startswith("tcp:")
        port = int(resource.path[4:]) if connection else 0
        call = CheckCall("tcp" if connection else "http", method=method, path=resource.path, host=resource.host)
        target = Target(method, resource.host, port, "" if connection else resource.path)
        binder = self._snapshot.binder.without_bodies()
        request: AccessRequest = binder.bind(call, binder.name(call, target), subject, self._now)
        return self._snapshot.read_tokens(request)

    def _subject(self, subject: TableSubject) -> Subject:
        credential = Credential("x509-svid", "", self._now - _AGE, self._now - _AGE + _LIFETIME)
        try:
            return self._factory.workload(parse_spiffe_id(subject.id), "certificate", credential)
        except Refusal:
            # Not a SPIFFE ID: the name that some token's issuer gives.
            return Subject(id=subject.id, sources=("token",), credential=credential, token=credential)

    def _inventory(self) -> tuple[Inventory, tuple[str, ...]]:
        settings = self._config.identity.inventory
        if not settings.file:
            return EMPTY_INVENTORY, ()
        document = read_document(self._base / settings.file, settings.max_file_bytes)
        workloads = document.get("workloads")
        names = tuple(workloads) if isinstance(workloads, dict) else ()
        return parse_inventory(document, settings.file, settings), names

    def _catalogue(self) -> Iterator[tuple[str, ResourceEntry]]:
        settings = self._config.catalogue
        if settings.file:
            document = read_document(self._base / settings.file, settings.max_file_bytes)
            yield from parse_entries(document, settings.file, settings)


def _text(cells: Sequence[Cell]) -> Iterator[str]:
    """By subject, the methods that are alike in one line."""
    grouped: dict[TableSubject, dict[tuple[str, ...], list[str]]] = {}
    for cell in cells:
        rule = cell.rule.id if cell.rule else ""
        described = f"{cell.resource.name}{f' ({cell.resource.description})' if cell.resource.description else ''}"
        key = (cell.answer.value, described, rule, *cell.needs)
        grouped.setdefault(cell.subject, {}).setdefault(key, []).append(cell.method)
    if not grouped:
        yield "none of those who were asked for can do anything"
    for subject, found in grouped.items():
        yield _plain(f"{subject.id}  ({subject.origin})")
        width = max(len(" ".join(methods)) for methods in found.values())
        name = max(len(key[1]) for key in found)
        for (answer, described, rule, *needs), methods in found.items():
            yield _plain(f"  {answer:<7}  {' '.join(methods):<{width}}  {described:<{name}}  {rule}").rstrip()
            for need in needs:
                yield _plain(f"           if {need}")
        yield ""


def _json(cells: Sequence[Cell], version: str, left: Sequence[str]) -> str:
    told = {"policy": version, "sampled": _SAMPLED, "left_out": list(left), "answers": msgspec.to_builtins(cells)}
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def _csv(cells: Sequence[Cell]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("subject", "origin", "resource", "host", "path", "method", "answer", "rule", "needs"))
    for cell in cells:
        resource, rule = cell.resource, cell.rule.id if cell.rule else ""
        row = (
            cell.subject.id,
            cell.subject.origin,
            resource.name,
            resource.host,
            resource.path,
            cell.method,
            cell.answer.value,
            rule,
            "; ".join(cell.needs),
        )
        # A spreadsheet would run what begins like a formula.
        writer.writerow([f"'{text}" if text.startswith(_FORMULA) else text for text in row])
    return file.getvalue()


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None
