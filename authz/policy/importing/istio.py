"""Translates Istio's AuthorizationPolicy into rules for the model that ships.

Istio decides for one workload: a DENY policy that matches denies; else, where there are ALLOW policies, one of them
must match; where there are none, all is allowed. So rules are translated for one workload at a time. Nothing becomes
wider: an alternative of an ALLOW rule that cannot be said here is left out, and one of a DENY rule is told apart.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import msgspec

from authz.policy.importing.document import DocumentError, Misplaced, Spot, documents
from authz.policy.importing.imported import Imported, Left
from authz.policy.importing.istio_policy import IstioPolicy, Target, Workload, policies, refuse_unknown
from authz.policy.importing.istio_terms import (
    CONDITION_TERMS,
    HTTP_TERMS,
    PEER_TERMS,
    Term,
    check_path,
    header,
    matching,
    methods,
    ports,
    principals,
)
from authz.policy.importing.writing import Untranslatable, both, column, negated

_HEADER = re.compile(r"request\.headers\[([A-Za-z0-9!#$%&'*+.^_`|~-]+)\]")
_NAME = re.compile(r"[^A-Za-z0-9._/-]")
_ALLOW, _DENY = "ALLOW", "DENY"
_ANY_PATH, _HTTP_PATH, _TCP_PATH, _ANY_METHOD = "*", "/*", "tcp:*", "*"
_MAX_EXPRESSION_CHARS = 4_000
_CHUNK = 20
_Read = Callable[[Mapping[str, Spot]], "list[_Alternative]"]
_COLUMN = re.compile(r"[A-Za-z0-9._~!$&'+=:@/-]*\*?")


class IstioSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an import needs to know beside the policies."""

    trust_domain: str = ""
    """What `cluster.local` in a principal stands for; "": nobody said, and such principals are not translated."""
    workload: Workload | None = None
    """For which workload; None: all policies must be for the same ones."""
    root_namespace: str = "istio-system"
    """The namespace whose policies are for all."""
    exposed_headers: frozenset[str] = frozenset()
    """Request headers, in lower case, that the configuration lets policies see."""
    allow_rest: bool = False
    """Whether to allow the rest where Istio does: where no ALLOW policy is for the workload."""
    max_rows: int = 10_000
    """Most rules that may come out."""


class _Alternative(msgspec.Struct, frozen=True):
    """One way in which a rule of Istio's matches."""

    path: str = ""
    """For the path column; "": any."""
    method: str = ""
    http: tuple[str, ...] = ()
    """Conditions that only HTTP requests can meet."""
    any: tuple[str, ...] = ()
    """Conditions on connections too."""


def import_istio(text: str, settings: IstioSettings) -> Imported:
    """Translate the AuthorizationPolicy documents of a YAML stream.

    Raises:
        DocumentError: It is no YAML, or its policies are not for the same workloads.
    """
    run = _Run(settings)
    for document in documents(text):
        try:
            found = list(policies(document))
        except Misplaced as error:
            run.unclear(_left(error, "a document"))
            continue
        for each in found:
            if isinstance(each, IstioPolicy):
                run.take(each)
            else:
                run.note(each, "a document", "no AuthorizationPolicy of Istio's: passed over")
    return run.finish()


def _left(error: Misplaced, what: str) -> Left:
    return Left(error.line, error.column, what, str(error))


class _Run:
    """One import."""

    def __init__(self, settings: IstioSettings) -> None:
        self._settings = settings
        self._lines: list[str] = []
        self._rows: set[str] = set()
        self._targets: dict[Target, str] = {}
        self._allow_policies = 0
        self._left: list[Left] = []
        self._missing: list[Left] = []
        self._notes: list[Left] = []

    def note(self, spot: Spot, what: str, why: str) -> None:
        self._notes.append(Left(spot.line, spot.column, what, why))

    def unclear(self, left: Left) -> None:
        """Take in that there is something which may deny, or be the ALLOW policy without which the rest is allowed."""
        self._missing.append(left)
        self._allow_policies += 1

    def take(self, policy: IstioPolicy) -> None:
        """Translate one policy, if it is for the workload."""
        what = f"{policy.action} {policy.name}"
        if policy.dry_run:
            self.note(policy.spot, what, "a dry run: Istio does not enforce it, and it is passed over")
            return
        workload = self._settings.workload
        if workload is not None and policy.target.references:
            why = "targetRefs: whether it is for this workload is not known here"
            self.unclear(Left(policy.spot.line, policy.spot.column, what, why))
            return
        if workload is not None and not policy.target.means(workload, self._settings.root_namespace):
            self.note(policy.spot, what, f"for other workloads ({policy.target}): passed over")
            return
        self._targets.setdefault(policy.target, policy.name)
        if policy.action == "AUDIT":
            self.note(policy.spot, what, "AUDIT decides nothing: passed over")
            return
        if policy.action not in (_ALLOW, _DENY):
            why = f"the action {policy.action} is not translated; it may deny"
            self._missing.append(Left(policy.spot.line, policy.spot.column, what, why))
            return
        self._allow_policies += policy.action == _ALLOW
        self._lines += ["", _comment(f"{what}: {policy.target}")]
        if not policy.rules:
            self._lines.append("# It has no rules, so it matches nothing.")
        for number, rule in enumerate(policy.rules):
            self._rule(policy, number, rule)

    def finish(self) -> Imported:
        if self._settings.workload is None and len(self._targets) > 1:
            told = "; ".join(f"{name}: {target}" for target, name in self._targets.items())
            raise DocumentError(f"the policies are for different workloads; say for which one to import ({told})")
        if not self._allow_policies:
            self._rest()
        workload = self._settings.workload
        whom = f"namespace {workload.namespace}" if workload else next((str(each) for each in self._targets), "nobody")
        head = _comment(f"Imported from Istio authorization policies for {whom}.")
        return Imported((head, *self._lines), tuple(self._left), tuple(self._missing), tuple(self._notes))

    def _rest(self) -> None:
        if self._settings.allow_rest:
            self._lines += ["", "# No ALLOW policy is for this workload, so Istio allows what nothing denies."]
            self._lines.append("p, istio/allow-rest, True, *, *, allow,")
        else:
            why = "no ALLOW policy is for this workload, so Istio allows what nothing denies; here nothing is allowed"
            self._left.append(Left(1, 1, "the rest", why))

    def _rule(self, policy: IstioPolicy, number: int, rule: Spot) -> None:
        what = f"{policy.action} {policy.name}, rule {number + 1}"
        denies = policy.action == _DENY
        told = self._missing if denies else self._left
        reader = _Reader(self._settings, what, denies, told)
        name = _NAME.sub("-", f"istio/{policy.name}/{number + 1}")
        try:
            alternatives, http_only = reader.rule(rule)
            rows = list(_rows(name, policy.action, alternatives, http_only=http_only))
        except Misplaced as error:
            told.append(_left(error, what))
            return
        except Untranslatable as error:
            told.append(Left(rule.line, rule.column, what, str(error)))
            return
        for row in rows:
            content = row.partition(", ")[2].partition(", ")[2]
            if content not in self._rows:
                self._rows.add(content)
                self._lines.append(row)
        if len(self._rows) > self._settings.max_rows:
            raise DocumentError(f"more than {self._settings.max_rows} rules would come out")


class _Reader:
    """Reads one rule of a policy."""

    def __init__(self, settings: IstioSettings, what: str, denies: bool, told: list[Left]) -> None:  # noqa: FBT001 - what it is
        self._settings = settings
        self._what = what
        self._denies = denies
        self._told = told
        self._http_only = False

    def rule(self, rule: Spot) -> tuple[list[_Alternative], bool]:
        """The ways in which a rule matches, and whether some field of it is for HTTP only.

        Raises:
            Misplaced: It cannot be translated.
        """
        members = rule.mapping
        refuse_unknown(members, ("from", "to", "when"))
        sources = self._each(members.get("from"), "source", self._source)
        operations = self._each(members.get("to"), "operation", self._operation)
        conditions = [self._condition(each) for each in members["when"].items] if "when" in members else []
        found = [
            _Alternative(
                path=operation.path,
                method=operation.method,
                http=(*operation.http, *(part for each in conditions for part in each.http)),
                any=(*source.any, *operation.any, *(part for each in conditions for part in each.any)),
            )
            for source, operation in product(sources, operations)
        ]
        return found, self._http_only

    def _each(self, listed: Spot | None, name: str, read: _Read) -> list[_Alternative]:
        """The alternatives of `from` or `to`, less those of an ALLOW rule that cannot be translated."""
        if listed is None:
            return [_Alternative()]
        found: list[_Alternative] = []
        for item in listed.items:
            try:
                members = item.mapping
                refuse_unknown(members, (name,))
                if name not in members or not members[name].mapping:
                    raise item.refuse(f"an empty {name}")
                found += read(members[name].mapping)
            except Misplaced as error:
                # It may be for HTTP only; then Istio would ignore the whole rule where it allows connections.
                self._http_only = True
                self._told.append(_left(error, self._what))
        return found

    def _source(self, fields: Mapping[str, Spot]) -> list[_Alternative]:
        terms = {**PEER_TERMS, "principals": principals(self._settings.trust_domain)}
        refuse_unknown(fields, _with_negations(terms))
        ways: list[list[str]] = [[]]
        for name, spot in fields.items():
            term = terms.get(name)
            if term is None:
                ways = [[*way, negated(terms[_positive(name)](spot.items))] for way in ways]
            else:
                parts = [term(spot.items[at : at + _CHUNK]) for at in range(0, len(spot.items), _CHUNK)]
                ways = [[*way, part] for way in ways for part in parts]
            if len(ways) > self._settings.max_rows:
                raise spot.refuse("its lists give too many rules")
        return [_Alternative(any=tuple(way)) for way in ways]

    def _operation(self, fields: Mapping[str, Spot]) -> list[_Alternative]:
        refuse_unknown(fields, _with_negations({**HTTP_TERMS, "ports": ports}))
        http: list[str] = []
        anyhow: list[str] = []
        method = ""
        for name, spot in fields.items():
            if name in ("ports", "notPorts"):
                anyhow.append(ports(spot.items) if name == "ports" else negated(ports(spot.items)))
                continue
            self._http_only = True
            if name == "methods":
                method = _plain(spot.items)
                if not method:
                    http.append(methods(spot.items))
            elif name != "paths":
                term = HTTP_TERMS.get(name)
                http.append(term(spot.items) if term else negated(HTTP_TERMS[_positive(name)](spot.items)))
        found = []
        for path, more in self._paths(fields.get("paths")):
            found.append(_Alternative(path=path, method=method, http=(*more, *http), any=tuple(anyhow)))
        return found

    def _paths(self, spot: Spot | None) -> Iterator[tuple[str, Sequence[str]]]:
        """What goes into the path column, each with a condition where the column cannot say it."""
        if spot is None:
            yield "", ()
            return
        for each in spot.items:
            check_path(each)
            value = each.word
            if value == "*":
                yield _HTTP_PATH, ()
            elif _COLUMN.fullmatch(value) and not value.startswith("*"):
                yield column(value), ()
            else:
                yield _HTTP_PATH, (matching("r.obj.path", value, each),)

    def _condition(self, spot: Spot) -> _Alternative:
        fields = spot.mapping
        refuse_unknown(fields, ("key", "values", "notValues"))
        if "key" not in fields or ("values" not in fields and "notValues" not in fields):
            raise spot.refuse("a condition needs a key, and values or notValues")
        key = fields["key"].word
        found = _HEADER.fullmatch(key)
        http = found is not None
        self._http_only = self._http_only or http
        parts: list[str] = []
        for name in ("values", "notValues"):
            if name not in fields:
                continue
            lenient = self._denies == (name == "values")
            term = self._header(fields["key"], found[1], lenient=lenient) if found else self._term(fields["key"])
            parts.append(term(fields[name].items) if name == "values" else negated(term(fields[name].items)))
        return _Alternative(http=tuple(parts)) if http else _Alternative(any=tuple(parts))

    def _header(self, key: Spot, name: str, *, lenient: bool) -> Term:
        if name.lower() not in self._settings.exposed_headers:
            raise key.refuse(f"the header {name} is not visible to policies; expose it, and say so (--exposed-header)")
        return header(name.lower(), lenient=lenient)

    def _term(self, key: Spot) -> Term:
        if key.word == "source.principal":
            return principals(self._settings.trust_domain)
        term = CONDITION_TERMS.get(key.word)
        if term is None:
            raise key.refuse(f"a condition on {key.word} is not translated")
        return term


def _rows(name: str, action: str, alternatives: Sequence[_Alternative], *, http_only: bool) -> Iterator[str]:
    """The rules for the ways in which one of Istio's matches."""
    effect = action.lower()
    for each in alternatives:
        path = each.path or (_HTTP_PATH if http_only else _ANY_PATH)
        yield _row(name, (*each.any, *each.http), path, each.method or _ANY_METHOD, effect)
    if http_only and action == _DENY:
        # Of connections Istio ignores what is for HTTP only, so that a DENY rule denies more of them.
        for each in alternatives:
            yield _row(name, each.any, _TCP_PATH, _ANY_METHOD, effect)


def _row(name: str, parts: Sequence[str], path: str, method: str, effect: str) -> str:
    expression = both(parts)
    if len(expression) > _MAX_EXPRESSION_CHARS:
        raise Untranslatable("the condition is too long for one rule; split its lists into several rules")
    return f"p, {name}, {expression}, {path}, {method}, {effect},"


def _comment(text: str) -> str:
    """The text as a comment of one line, whatever is in it."""
    return f"# {''.join(each if each.isprintable() else '?' for each in text)}"


def _plain(values: Sequence[Spot]) -> str:
    """The one method that a column can hold; "" when there are several, or one with a wildcard at its start."""
    only = values[0].word if len(values) == 1 else ""
    return only if re.fullmatch(r"[A-Za-z-]+\*?", only) else ""


def _positive(name: str) -> str:
    """`notPaths` -> `paths`."""
    inner = name.removeprefix("not")
    return inner[:1].lower() + inner[1:]


def _with_negations(terms: Mapping[str, Term]) -> list[str]:
    return [*terms, *(f"not{name[0].upper()}{name[1:]}" for name in terms)]
