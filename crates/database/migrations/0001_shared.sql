-- Every committed change, numbered 1, 2, 3 … in commit order. The highest row is never removed: it is the revision.
CREATE TABLE changes (
    revision BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    deleted BOOLEAN NOT NULL,
    trace_context TEXT
);

-- What was done or refused, numbered 1, 2, 3 …; `time` in microseconds since the epoch, `details` a JSON object.
CREATE TABLE audit_events (
    sequence BIGINT NOT NULL PRIMARY KEY,
    time BIGINT NOT NULL,
    principal TEXT NOT NULL,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    details TEXT NOT NULL,
    revision BIGINT NOT NULL
);

-- Attempts that succeeded, so that a retry does nothing. Kept for a day.
CREATE TABLE requests (
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    method TEXT NOT NULL,
    resource TEXT NOT NULL,
    time BIGINT NOT NULL,
    PRIMARY KEY (principal, request_id)
);
CREATE INDEX requests_by_time ON requests (time);
