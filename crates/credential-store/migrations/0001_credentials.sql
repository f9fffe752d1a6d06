-- Names are resource names, `credentials/{id}`; times are microseconds since the epoch.
CREATE TABLE credentials (
    name TEXT NOT NULL PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    version BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    revision BIGINT NOT NULL
);

-- `entries` is what may be shown, a JSON array of {registry, username}. `data_key` is wrapped by the key-encryption key
-- `key_id`; it and the `ciphertext` are gone once the version is destroyed.
CREATE TABLE credential_versions (
    uid TEXT NOT NULL REFERENCES credentials (uid) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    entries TEXT NOT NULL,
    creator TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    destroy_time BIGINT,
    key_id TEXT,
    data_key BLOB,
    ciphertext BLOB,
    PRIMARY KEY (uid, version),
    CHECK ((destroy_time IS NULL) = (key_id IS NOT NULL)),
    CHECK ((destroy_time IS NULL) = (data_key IS NOT NULL)),
    CHECK ((destroy_time IS NULL) = (ciphertext IS NOT NULL))
);
