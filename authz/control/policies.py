"""The service `Policies`: what is in force, and how it changes."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec
from google.protobuf.message import Message

from authz.control.backing import Settle
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.faults import Code, ControlError, not_found, precondition
from authz.control.fields import Fields, timestamp
from authz.control.method import Call, Method, Methods
from authz.control.near_rules import tell_near
from authz.control.pages import read_page
from authz.control.settings import ControlSettings
from authz.control.v1 import policies_pb2 as pb
from authz.decision.snapshot import Snapshot
from authz.errors import AuthzError, ConfigError, PolicyError
from authz.policy.analysis import idle
from authz.policy.compile import CompiledEngine
from authz.policy.explain import Explanation
from authz.stores.database.errors import NotFoundError
from authz.stores.database.listing import Listed
from authz.stores.database.listing import Page as StorePage
from authz.stores.database.records import PolicyRevision
from authz.stores.policy_source import PolicyText

_MAX_FILES = 1_000
_MAX_RULES_SHOWN = 100
_DEFAULT_RULES_SHOWN = 5


class Revisions(Protocol):
    """Keeps what was applied; the store does."""

    async def apply_policy(self, revision: PolicyRevision, *, expected: int | None = None) -> PolicyRevision:
        """Keep a revision as the newest, and answer it with its number."""

    async def policy(self, number: int | None = None) -> PolicyRevision:
        """Answer a revision, or raise NotFoundError; None: the newest."""

    async def policies(self, page: StorePage) -> Listed[PolicyRevision]:
        """Answer a page of revisions, the newest first."""


class PolicySource(msgspec.Struct, frozen=True, kw_only=True):
    """What can be done with the policy that configuration names."""

    current: Callable[[], Snapshot]
    read: Callable[[], PolicyText]
    revision: Callable[[], int]
    """The number of the revision in force here; 0: it is the files'."""
    compile: Callable[[PolicyText], CompiledEngine]
    """Compile, or raise PolicyError."""
    explain: Callable[[bytes, int], tuple[str, Explanation]]
    """Explain a serialized CheckRequest: (reason, explanation); raise AuthzError for one that cannot be read."""
    clock: Callable[[], float]


class Policies:
    """Serves `authz.control.v1.Policies`."""

    def __init__(self, settings: ControlSettings, source: PolicySource, revisions: Revisions, settle: Settle) -> None:
        self._settings = settings
        self._settle = settle
        self._source = source
        self._revisions = revisions
        self._applying = asyncio.Lock()

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "Current": Method(pb.CurrentRequest, self._ask, self._current),
            "Validate": Method(pb.ValidateRequest, self._ask_files, self._validate),
            "Apply": Method(pb.ApplyRequest, self._ask_apply, self._apply, can_wait=True),
            "Rollback": Method(pb.RollbackRequest, self._ask_rollback, self._rollback, can_wait=True),
            "Explain": Method(pb.ExplainRequest, self._ask_explain, self._explain),
            "History": Method(pb.HistoryRequest, self._ask, self._history),
        }

    async def _ask(self, _: Message, __: Caller) -> Question:
        return Question("/policies", {"type": "policy"})

    async def _ask_files(self, request: pb.ValidateRequest, _: Caller) -> Question:
        fields = self._fields()
        _check_files(fields, request.files)
        fields.settle()
        return Question("/policies", {"type": "policy"})

    async def _ask_apply(self, request: pb.ApplyRequest, _: Caller) -> Question:
        fields = self._fields()
        _check_files(fields, request.files)
        fields.demand("files", len(request.files) > 0, "name at least one")
        _check_change(fields, request.expected_version, request.reason)
        fields.settle()
        names = tuple(sorted(file.name for file in request.files))
        return Question("/policies", {"type": "policy", "resources": names, "value": request.reason})

    async def _ask_rollback(self, request: pb.RollbackRequest, _: Caller) -> Question:
        fields = self._fields()
        fields.demand("revision", request.revision > 0, "must be positive")
        _check_change(fields, request.expected_version, request.reason)
        fields.settle()
        return Question("/policies", {"type": "policy", "id": str(request.revision), "value": request.reason})

    async def _ask_explain(self, request: pb.ExplainRequest, _: Caller) -> Question:
        fields = self._fields()
        fields.demand("check_request", len(request.check_request) > 0, "must not be empty")
        fields.demand("rules", 0 <= request.rules <= _MAX_RULES_SHOWN, f"expected 0 to {_MAX_RULES_SHOWN}")
        fields.settle()
        return Question("/policies", {"type": "policy"})

    async def _current(self, request: pb.CurrentRequest, _: Call) -> pb.CurrentResponse:
        snapshot = self._source.current()
        files = _files(await asyncio.to_thread(self._source.read)) if request.with_files else ()
        return pb.CurrentResponse(
            version=snapshot.version,
            loaded_at=timestamp(snapshot.loaded_at),
            rules=snapshot.engine.rule_count,
            files=[pb.PolicyFile(name=name, text=text) for name, text in files],
            policy_version=snapshot.engine.version,
        )

    async def _validate(self, request: pb.ValidateRequest, _: Call) -> pb.ValidateResponse:
        try:
            engine = (await self._compiled({file.name: file.text for file in request.files}))[1]
        except (PolicyError, ConfigError) as error:
            return pb.ValidateResponse(valid=False, problems=[_problem(error)])
        found = await asyncio.to_thread(idle, engine)
        return pb.ValidateResponse(
            valid=True,
            policy_version=engine.version,
            rules=engine.rule_count,
            problems=[
                pb.Problem(
                    file=each.rule.file,
                    line=each.rule.line,
                    message=f"this rule changes no decision: {each.why.value}",
                    warning=True,
                )
                for each in found.found
            ],
        )

    async def _apply(self, request: pb.ApplyRequest, call: Call) -> pb.ApplyResponse:
        changes = {file.name: file.text for file in request.files}
        number, snapshot = await self._put(changes, request.expected_version, request.reason, call)
        return pb.ApplyResponse(revision=number, version=snapshot.version, policy_version=snapshot.engine.version)

    async def _rollback(self, request: pb.RollbackRequest, call: Call) -> pb.RollbackResponse:
        try:
            found = await self._revisions.policy(request.revision)
        except NotFoundError:
            raise not_found("revision", str(request.revision)) from None
        number, snapshot = await self._put(
            found.content, request.expected_version, request.reason, call, restores=request.revision
        )
        return pb.RollbackResponse(revision=number, version=snapshot.version, policy_version=snapshot.engine.version)

    async def _put(
        self, changes: Mapping[str, str], expected: str, reason: str, call: Call, restores: int | None = None
    ) -> tuple[int, Snapshot]:
        """Put changed files in force, whole or not at all (I11)."""
        if not self._settings.apply_policies:
            raise precondition(
                "POLICIES_READ_ONLY", "policies", "policies come from files alone here: control.apply_policies is off"
            )
        async with self._applying:
            current = self._source.current()
            version = current.engine.version
            # Keys may have changed since the author looked, or since the change began to wait for a second person; of
            # what an author knows, the policy itself is all that must not have.
            if expected not in {version, current.version}:
                raise ControlError(
                    Code.ABORTED,
                    "VERSION_CONFLICT",
                    f"policy version {version} is in force, not {expected}: look at what changed, then ask again",
                    metadata={"version": current.version, "policy_version": version},
                )
            try:
                text, engine = await self._compiled(changes)
            except (PolicyError, ConfigError) as error:
                raise precondition("POLICY_INVALID", "policies", str(error)) from None
            revision = PolicyRevision(
                number=0,
                hash=engine.version,
                content=dict(_files(text)),
                author=call.caller.name,
                approver=call.approver,
                reason=reason,
                applied_at=call.now,
                restores=restores,
            )
            applied = await self._revisions.apply_policy(revision, expected=self._source.revision())
            await self._settle()
            if self._source.revision() != applied.number:
                raise ControlError(
                    Code.INTERNAL,
                    "POLICY_NOT_IN_FORCE",
                    f"revision {applied.number} is kept, but is not in force here; the server's log says why",
                )
            return applied.number, self._source.current()

    async def _compiled(self, changes: Mapping[str, str]) -> tuple[PolicyText, CompiledEngine]:
        text = changed(await asyncio.to_thread(self._source.read), changes)
        return text, await asyncio.to_thread(self._source.compile, text)

    async def _explain(self, request: pb.ExplainRequest, _: Call) -> pb.ExplainResponse:
        most = request.rules or _DEFAULT_RULES_SHOWN
        try:
            reason, found = self._source.explain(request.check_request, most)
        except AuthzError as error:
            raise precondition("NOT_EXPLAINABLE", "check_request", str(error)) from None
        response = pb.ExplainResponse(
            allowed=reason == "allowed", reason=reason, rule=found.verdict.rule.id if found.verdict.rule else ""
        )
        tell_near(found, response.near)
        return response

    async def _history(self, request: pb.HistoryRequest, _: Call) -> pb.HistoryResponse:
        page = read_page(request.page, self._settings, "history")
        found = await self._revisions.policies(StorePage(page.after, page.size))
        return pb.HistoryResponse(
            revisions=[_told(each, with_files=request.with_files) for each in found.items],
            next_page_token=page.token(found.next_page) if found.next_page else "",
        )

    def _fields(self) -> Fields:
        return Fields(self._settings.max_text_characters)


def _told(revision: PolicyRevision, *, with_files: bool) -> pb.Revision:
    return pb.Revision(
        revision=revision.number,
        policy_version=revision.hash,
        author=revision.author,
        approver=revision.approver,
        reason=revision.reason,
        applied_at=timestamp(revision.applied_at),
        files=[pb.PolicyFile(name=name, text=text) for name, text in revision.content.items()] if with_files else (),
    )


def _check_files(fields: Fields, files: Iterable[pb.PolicyFile]) -> None:
    names = [file.name for file in files]
    fields.count("files", names, _MAX_FILES)
    fields.demand("files", len(set(names)) == len(names), "a file is named twice")


def _check_change(fields: Fields, expected: str, reason: str) -> None:
    fields.demand("expected_version", bool(expected), "must not be empty: ask Current for it")
    fields.text("reason", reason, required=True)


def _files(text: PolicyText) -> Iterable[tuple[str, str]]:
    yield text.model_file, text.model
    yield from text.policies


def changed(text: PolicyText, changes: Mapping[str, str]) -> PolicyText:
    """Answer the policy with some files replaced; only files that it has can be."""
    for name in changes:
        if name not in dict(_files(text)):
            raise ConfigError(f"{name}: not a file of the policy; files are added where the policy is kept")
    return PolicyText(
        model_file=text.model_file,
        model=changes.get(text.model_file, text.model),
        policies=tuple((name, changes.get(name, old)) for name, old in text.policies),
    )


def _problem(error: AuthzError) -> pb.Problem:
    if isinstance(error, PolicyError):
        return pb.Problem(file=error.file, line=error.line, message=error.problem)
    return pb.Problem(message=str(error))
