"""The reasons a decision can have, and the errors that carry them.

One vocabulary serves the decision, the metric label, the audit record, the client's answer and the documentation
(docs/reasons.md is checked against it). A code, once released, is never renamed or reused.
"""

from enum import Enum
from typing import Self


class Reason(str, Enum):
    """Why a decision came out as it did.

    The value is the stable code. `http_status` is what the client gets, `summary` the only text that it sees: constant,
    so that a denial can carry neither a secret nor anything that helps to map the policy.
    """

    http_status: int
    summary: str

    def __new__(cls, code: str, http_status: int, summary: str) -> Self:
        """Make a member whose value is the code alone."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.http_status = http_status
        member.summary = summary
        return member

    def __str__(self) -> str:
        return str(self.value)

    # Policy
    ALLOWED = "allowed", 200, "allowed"
    DENIED_BY_RULE = "denied_by_rule", 403, "access denied"
    NO_MATCHING_RULE = "no_matching_rule", 403, "access denied"
    RULE_ERROR = "rule_error", 403, "access denied"
    OBLIGATION_UNKNOWN = "obligation_unknown", 403, "access denied"

    # Identity: nobody there
    IDENTITY_MISSING = "identity_missing", 401, "no verified identity"
    # Identity: X.509, principal
    PRINCIPAL_MALFORMED = "principal_malformed", 401, "identity not accepted"
    PRINCIPAL_WITHOUT_CERTIFICATE = "principal_without_certificate", 401, "identity not accepted"
    CERTIFICATE_MALFORMED = "certificate_malformed", 401, "identity not accepted"
    CERTIFICATE_TOO_LARGE = "certificate_too_large", 401, "identity not accepted"
    CERTIFICATE_WITHOUT_SPIFFE_ID = "certificate_without_spiffe_id", 401, "identity not accepted"
    CERTIFICATE_TWO_URI_SANS = "certificate_two_uri_sans", 401, "identity not accepted"
    CERTIFICATE_IS_CA = "certificate_is_ca", 401, "identity not accepted"
    CERTIFICATE_KEY_USAGE = "certificate_key_usage", 401, "identity not accepted"
    CERTIFICATE_EXPIRED = "certificate_expired", 401, "identity not accepted"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid", 401, "identity not accepted"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted", 401, "identity not accepted"
    SPIFFE_ID_MALFORMED = "spiffe_id_malformed", 401, "identity not accepted"
    SPIFFE_ID_WITHOUT_PATH = "spiffe_id_without_path", 401, "identity not accepted"
    TRUST_DOMAIN_NOT_ALLOWED = "trust_domain_not_allowed", 403, "identity not accepted"
    CREDENTIAL_TOO_LONG_LIVED = "credential_too_long_lived", 403, "credential not accepted"
    IDENTITY_CONFLICT = "identity_conflict", 403, "identity not accepted"
    # Identity: x-forwarded-client-cert
    XFCC_MALFORMED = "xfcc_malformed", 401, "identity not accepted"
    XFCC_TOO_LARGE = "xfcc_too_large", 401, "identity not accepted"
    XFCC_TOO_MANY_HOPS = "xfcc_too_many_hops", 401, "identity not accepted"
    XFCC_HOP_UNTRUSTED = "xfcc_hop_untrusted", 401, "identity not accepted"
    # Identity: tokens
    TOKEN_MALFORMED = "token_malformed", 401, "token not accepted"
    TOKEN_TOO_LARGE = "token_too_large", 401, "token not accepted"
    TOKEN_ALGORITHM = "token_algorithm", 401, "token not accepted"
    TOKEN_ISSUER_UNKNOWN = "token_issuer_unknown", 401, "token not accepted"
    TOKEN_KEY_UNKNOWN = "token_key_unknown", 401, "token not accepted"
    TOKEN_SIGNATURE = "token_signature", 401, "token not accepted"
    TOKEN_AUDIENCE = "token_audience", 401, "token not accepted"
    TOKEN_EXPIRED = "token_expired", 401, "token not accepted"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid", 401, "token not accepted"
    TOKEN_SUBJECT = "token_subject", 401, "token not accepted"
    TOKEN_REPLAYED = "token_replayed", 401, "token not accepted"

    # Grants: the token. Never 401: who calls is proved, and another identity would not help.
    GRANT_MALFORMED = "grant_malformed", 403, "grant not accepted"
    GRANT_TOO_LARGE = "grant_too_large", 403, "grant not accepted"
    GRANT_ALGORITHM = "grant_algorithm", 403, "grant not accepted"
    GRANT_KEY_UNKNOWN = "grant_key_unknown", 403, "grant not accepted"
    GRANT_SIGNATURE = "grant_signature", 403, "grant not accepted"
    GRANT_ISSUER = "grant_issuer", 403, "grant not accepted"
    GRANT_AUDIENCE = "grant_audience", 403, "grant not accepted"
    GRANT_EXPIRED = "grant_expired", 403, "grant has expired"
    GRANT_NOT_YET_VALID = "grant_not_yet_valid", 403, "grant not accepted"
    GRANT_TOO_LONG_LIVED = "grant_too_long_lived", 403, "grant not accepted"
    # Grants: what they are used for
    GRANT_HOLDER = "grant_holder", 403, "grant not accepted"
    GRANT_CERTIFICATE = "grant_certificate", 403, "grant not accepted"
    GRANT_REQUIRED = "grant_required", 403, "a grant is required"
    GRANT_SCOPE = "grant_scope", 403, "the grant does not cover this"
    GRANT_USED_UP = "grant_used_up", 403, "the grant is used up"
    # Delegation: the chain from whom it all started for to the caller
    CHAIN_CONFLICT = "chain_conflict", 403, "delegation not accepted"
    TASK_CONFLICT = "task_conflict", 403, "delegation not accepted"
    CHAIN_LOOP = "chain_loop", 403, "delegation not accepted"
    CHAIN_TOO_DEEP = "chain_too_deep", 403, "delegation not accepted"
    HOP_NOT_ACCEPTED = "hop_not_accepted", 403, "delegation not accepted"
    HOP_DENIED = "hop_denied", 403, "access denied"
    DELEGATION_DENIED = "delegation_denied", 403, "access denied"
    # Approvals
    APPROVAL_REQUIRED = "approval_required", 403, "a human has to approve this"
    APPROVAL_REJECTED = "approval_rejected", 403, "a human has rejected this"
    APPROVAL_LIMIT = "approval_limit", 429, "too many requests wait for approval already"
    APPROVER_NOT_HUMAN = "approver_not_human", 403, "only a human, proved by the OpenID provider, decides this"
    APPROVER_NOT_ALLOWED = "approver_not_allowed", 403, "this human may not decide this"
    # Revocations
    GRANT_REVOKED = "grant_revoked", 403, "the grant is revoked"
    TASK_COMPLETED = "task_completed", 403, "the task is over"
    TASK_REVOKED = "task_revoked", 403, "the task is over"
    PRINCIPAL_REVOKED = "principal_revoked", 403, "access denied"
    CREDENTIAL_REVOKED = "credential_revoked", 403, "access denied"
    TRUST_DOMAIN_REVOKED = "trust_domain_revoked", 403, "access denied"
    ISSUED_BEFORE_CUTOFF = "issued_before_cutoff", 403, "access denied"
    BREAK_GLASS = "break_glass", 403, "access denied"

    # Control plane: changes that two have to want
    SECOND_PERSON_REFUSED = "second_person_refused", 403, "access denied"
    # Budgets
    BUDGET_EXCEEDED = "budget_exceeded", 429, "the budget is used up for now"
    BUDGET_ARGUMENT = "budget_argument", 400, "an amount of this request cannot be counted"
    BUDGET_UNTRACKED = "budget_untracked", 503, "not able to decide"
    TASK_LIMIT = "task_limit", 403, "the limit of the task is reached"
    TASK_SUSPENDED = "task_suspended", 429, "the task is suspended"

    # Request: could be read in two ways, or not at all
    REQUEST_MALFORMED = "request_malformed", 400, "request not accepted"
    REQUEST_TOO_LARGE = "request_too_large", 413, "request not accepted"
    METHOD_MALFORMED = "method_malformed", 400, "request not accepted"
    METHOD_OVERRIDE = "method_override", 400, "request not accepted"
    HOST_MALFORMED = "host_malformed", 400, "request not accepted"
    HOST_MISMATCH = "host_mismatch", 400, "request not accepted"
    HEADER_MALFORMED = "header_malformed", 400, "request not accepted"
    PATH_TOO_LONG = "path_too_long", 414, "request not accepted"
    PATH_NOT_ABSOLUTE = "path_not_absolute", 400, "request not accepted"
    PATH_EMPTY_SEGMENT = "path_empty_segment", 400, "request not accepted"
    PATH_DOT_SEGMENT = "path_dot_segment", 400, "request not accepted"
    PATH_ENCODED_DOT = "path_encoded_dot", 400, "request not accepted"
    PATH_ENCODED_SLASH = "path_encoded_slash", 400, "request not accepted"
    PATH_BACKSLASH = "path_backslash", 400, "request not accepted"
    PATH_PARAMETER = "path_parameter", 400, "request not accepted"
    PATH_ENCODED_DELIMITER = "path_encoded_delimiter", 400, "request not accepted"
    PATH_ENCODED_PERCENT = "path_encoded_percent", 400, "request not accepted"
    PATH_CONTROL_CHARACTER = "path_control_character", 400, "request not accepted"
    PATH_BAD_ESCAPE = "path_bad_escape", 400, "request not accepted"
    PATH_BAD_UTF8 = "path_bad_utf8", 400, "request not accepted"
    PATH_REPLACED_BYTES = "path_replaced_bytes", 400, "request not accepted"
    PATH_FRAGMENT = "path_fragment", 400, "request not accepted"
    PATH_TRAILING_SLASH = "path_trailing_slash", 400, "request not accepted"
    BODY_PARTIAL = "body_partial", 413, "request not accepted"
    # Request: the body, where an action is read from it
    BODY_MISSING = "body_missing", 400, "request not accepted"
    BODY_TOO_LARGE = "body_too_large", 413, "request not accepted"
    BODY_ENCODING = "body_encoding", 415, "request not accepted"
    BODY_MALFORMED = "body_malformed", 400, "request not accepted"
    BODY_AMBIGUOUS = "body_ambiguous", 400, "request not accepted"
    BODY_MISMATCH = "body_mismatch", 400, "request not accepted"
    BODY_UNKNOWN = "body_unknown", 400, "request not accepted"

    # Asked by `authz doctor`, which is always denied
    DOCTOR_PROBE = "doctor_probe", 403, "a probe, answered with what was seen of it"

    # The server itself
    PROXY_NOT_ALLOWED = "proxy_not_allowed", 403, "access denied"
    STATE_STALE = "state_stale", 503, "not able to decide"
    STATE_UNAVAILABLE = "state_unavailable", 503, "not able to decide"
    POLICY_NOT_LOADED = "policy_not_loaded", 503, "not able to decide"
    DEADLINE_EXCEEDED = "deadline_exceeded", 503, "not able to decide"
    OVERLOADED = "overloaded", 503, "not able to decide"
    AUDIT_UNAVAILABLE = "audit_unavailable", 503, "not able to decide"
    INTERNAL_ERROR = "internal_error", 503, "not able to decide"


class AuthzError(Exception):
    """Root of every error that this package raises on purpose."""


class Refusal(AuthzError):
    """A request that cannot go on; the PDP turns it into a denied decision (I2).

    `detail` is for the audit record and the log: it may quote identifiers, never a token, key or header value (I10).
    `retry_after`: in how many seconds it may go on; 0: that is not known.
    """

    def __init__(self, reason: Reason, detail: str = "", retry_after: int = 0) -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after


class ConfigError(AuthzError):
    """Configuration, or a file that it names, is not usable; the message says what, where and what to do."""


class PolicyError(AuthzError):
    """A model or policy that does not load. `file` and `line` (from 1; 0: the whole file) say where."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")
        self.file = file
        self.line = line
        self.problem = problem
