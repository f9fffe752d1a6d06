-- Links, grants and clusters by resource name. `message` is the pullpass.grant.v1 message itself, so that the wire's rules
-- of evolution hold in the table too; `revision` is that of its last change.
CREATE TABLE resources (
    name TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    message BLOB NOT NULL
);

-- Who acts for a cluster, and what it last reported as a whole; `report_time` in microseconds since the epoch.
CREATE TABLE appliers (
    cluster TEXT NOT NULL PRIMARY KEY REFERENCES resources (name) ON DELETE CASCADE,
    identity TEXT NOT NULL UNIQUE,
    observed_revision BIGINT NOT NULL DEFAULT 0,
    report_time BIGINT
);

-- Which link or grant goes to which cluster. `left_at` is the revision at which it ceased to apply there; the row goes when
-- the cluster has confirmed that nothing is left. `report` is the last pullpass.grant.v1.SyncStatus of that cluster.
CREATE TABLE targets (
    declaration TEXT NOT NULL REFERENCES resources (name) ON DELETE CASCADE,
    cluster TEXT NOT NULL REFERENCES resources (name),
    left_at BIGINT,
    report BLOB,
    PRIMARY KEY (declaration, cluster)
);
CREATE INDEX targets_by_cluster ON targets (cluster, declaration);

-- Which clusters a change concerns: an applier hears of nothing else.
CREATE TABLE audiences (
    cluster TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (cluster, revision)
);
