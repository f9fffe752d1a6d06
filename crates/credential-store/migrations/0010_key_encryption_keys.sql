-- The key-encryption keys that something hangs on or may come to hang on. `provider` is `file` or `kms`. A key of a file is
-- not here, only its id. A key of a KMS is: encrypted by the plugin, under the plugin's own key `provider_key_id`, with what
-- the plugin wants to be told again in `annotations` (a JSON object of base64 values).
CREATE TABLE key_encryption_keys (
    id TEXT NOT NULL PRIMARY KEY,
    provider TEXT NOT NULL,
    provider_key_id TEXT NOT NULL,
    ciphertext BLOB,
    annotations TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    UNIQUE (provider, provider_key_id),
    CHECK ((provider = 'kms') = (ciphertext IS NOT NULL))
);
INSERT INTO key_encryption_keys (id, provider, provider_key_id, annotations, create_time)
SELECT key_id, 'file', key_id, '{}', min(create_time) FROM credential_versions WHERE key_id IS NOT NULL GROUP BY key_id;

-- New in it: `format`, how the material is sealed (docs/record-format.md), and `material_key_id`, the key that material of
-- format 1 names for ever, whatever key its data key is wrapped by now. `key_id` became a reference, so that no
-- key-encryption key can go while a data key hangs on it.
ALTER TABLE credential_versions RENAME TO credential_versions_before;
CREATE TABLE credential_versions (
    uid TEXT NOT NULL REFERENCES credentials (uid) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    entries TEXT NOT NULL,
    creator TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    destroy_time BIGINT,
    format BIGINT NOT NULL,
    material_key_id TEXT,
    key_id TEXT REFERENCES key_encryption_keys (id),
    data_key BLOB,
    ciphertext BLOB,
    PRIMARY KEY (uid, version),
    CHECK ((destroy_time IS NULL) = (key_id IS NOT NULL)),
    CHECK ((destroy_time IS NULL) = (data_key IS NOT NULL)),
    CHECK ((destroy_time IS NULL) = (ciphertext IS NOT NULL))
);
INSERT INTO credential_versions
    (uid, version, entries, creator, create_time, destroy_time, format, material_key_id, key_id, data_key, ciphertext)
SELECT uid, version, entries, creator, create_time, destroy_time, 1, key_id, key_id, data_key, ciphertext
FROM credential_versions_before;
DROP TABLE credential_versions_before;
CREATE INDEX credential_versions_by_key ON credential_versions (key_id);
