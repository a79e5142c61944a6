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

    # Asked by `authz doctor`, which is always denied
    DOCTOR_PROBE = "doctor_probe", 403, "a probe, answered with what was seen of it"

    # The server itself
    PROXY_NOT_ALLOWED = "proxy_not_allowed", 403, "access denied"
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
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class ConfigError(AuthzError):
    """Configuration, or a file that it names, is not usable; the message says what, where and what to do."""


class PolicyError(AuthzError):
    """A model or policy that does not load. `file` and `line` (from 1; 0: the whole file) say where."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")
        self.file = file
        self.line = line
        self.problem = problem
