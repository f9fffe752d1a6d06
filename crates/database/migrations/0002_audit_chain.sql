-- Each event's HMAC over itself and the one before (docs/audit.md), in hexadecimal; empty only until the service has chained
-- what was written before there was a chain. `epoch` names the line of history that the event belongs to. `cluster` is the
-- detail of that name, so that a cluster's events are found without reading all others.
ALTER TABLE audit_events ADD COLUMN epoch TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_events ADD COLUMN mac TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_events ADD COLUMN cluster TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_events_by_cluster ON audit_events (cluster, action, sequence) WHERE cluster <> '';

-- One row: the UUID of this line of history. There is another one after AcceptRollback, and in a new database.
CREATE TABLE history (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL
);
