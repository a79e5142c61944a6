-- The first version of the schema as PostgreSQL has it, to be brought up to date.
CREATE TABLE break_glass (
    id TEXT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    allow TEXT NOT NULL,
    started_at DOUBLE PRECISION NOT NULL,
    until DOUBLE PRECISION NOT NULL,
    ended_at DOUBLE PRECISION,
    ended_by TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE changes (
    seq BIGINT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    kind TEXT NOT NULL,
    about TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (seq)
);
CREATE INDEX changes_at ON changes (at);
CREATE TABLE counters (
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE facts (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    operation TEXT NOT NULL,
    answer TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_expiry ON idempotency (expires_at);
CREATE TABLE policy_revisions (
    number BIGINT NOT NULL,
    hash TEXT NOT NULL,
    content TEXT NOT NULL,
    author TEXT NOT NULL,
    approver TEXT NOT NULL,
    reason TEXT NOT NULL,
    applied_at DOUBLE PRECISION NOT NULL,
    restores BIGINT,
    PRIMARY KEY (number)
);
CREATE TABLE replicas (
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at DOUBLE PRECISION NOT NULL,
    last_seen DOUBLE PRECISION NOT NULL,
    applied_seq BIGINT NOT NULL,
    policy_version TEXT NOT NULL,
    staleness_seconds DOUBLE PRECISION,
    PRIMARY KEY (id)
);
CREATE TABLE revocations (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    cut_off TEXT NOT NULL,
    before DOUBLE PRECISION,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION,
    undone_at DOUBLE PRECISION,
    undone_by TEXT NOT NULL,
    undo_reason TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT kind_known CHECK (kind IN ('grant', 'task', 'principal', 'credential', 'trust_domain', 'issued_before'))
);
CREATE INDEX revocations_created ON revocations (created_at, id);
CREATE INDEX revocations_expiry ON revocations (expires_at);
CREATE INDEX revocations_target ON revocations (kind, value);
CREATE TABLE schema_versions (
    version SERIAL NOT NULL,
    applied_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE signing_keys (
    kid TEXT NOT NULL,
    replica_id TEXT NOT NULL,
    jwk TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    not_before DOUBLE PRECISION NOT NULL,
    retired_at DOUBLE PRECISION,
    expires_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (kid)
);
CREATE TABLE tasks (
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    purpose TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    ends_at DOUBLE PRECISION,
    ended_at DOUBLE PRECISION,
    ended_by TEXT NOT NULL,
    grants_expire_at DOUBLE PRECISION,
    revocation_id TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT state_known CHECK (state IN ('open', 'completed', 'revoked'))
);
CREATE INDEX tasks_created ON tasks (created_at);
CREATE INDEX tasks_ended ON tasks (ended_at);
CREATE TABLE grants (
    id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    audience TEXT NOT NULL,
    holder TEXT NOT NULL,
    issued_to TEXT NOT NULL,
    issued_at DOUBLE PRECISION NOT NULL,
    not_before DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL,
    max_uses INTEGER NOT NULL,
    used INTEGER NOT NULL,
    delegators TEXT NOT NULL,
    ancestors TEXT NOT NULL,
    scope TEXT NOT NULL,
    certificate TEXT NOT NULL,
    state TEXT NOT NULL,
    ended_at DOUBLE PRECISION,
    ended_by TEXT NOT NULL,
    revocation_id TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT state_known CHECK (state IN ('active', 'completed', 'revoked')),
    CONSTRAINT used_at_most CHECK (max_uses = 0 OR used <= max_uses),
    FOREIGN KEY(task_id) REFERENCES tasks (id)
);
CREATE INDEX grants_expiry ON grants (expires_at);
CREATE INDEX grants_holder ON grants (holder);
CREATE INDEX grants_issued ON grants (issued_at, id);
CREATE INDEX grants_task ON grants (task_id);
CREATE TABLE uses (
    grant_id TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    used_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (grant_id, decision_id),
    FOREIGN KEY(grant_id) REFERENCES grants (id)
);
