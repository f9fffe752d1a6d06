-- Since when the applier that reported last is its cluster's active one, in microseconds since the epoch by its Lease; null
-- without a Lease.
ALTER TABLE appliers ADD COLUMN acquire_time BIGINT;
