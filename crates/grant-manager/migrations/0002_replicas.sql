-- The replicas of the service, where several share a database: when each was last seen, in microseconds since the epoch, and
-- how many reports with news it has stored.
CREATE TABLE replicas (
    name TEXT NOT NULL PRIMARY KEY,
    seen BIGINT NOT NULL,
    news BIGINT NOT NULL
);

-- What each of them knows of the appliers: how many streams of a cluster are open there, and when it last reported there.
CREATE TABLE presence (
    replica TEXT NOT NULL REFERENCES replicas (name) ON DELETE CASCADE,
    cluster_uid TEXT NOT NULL,
    streams BIGINT NOT NULL,
    report_time BIGINT,
    PRIMARY KEY (replica, cluster_uid)
);
