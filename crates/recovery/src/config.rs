use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the audit trail is chained, and how an older copy of the database is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// File with the key of the audit chain: 32 random bytes in base64, each service its own. Nobody but its owner, and
    /// perhaps its group, may read it. Whoever has it can forge the trail; without it nobody can verify it.
    pub key: PathBuf,
    /// File in which the service notes how far its database is; made if it does not exist. On another volume than the
    /// database, for it shall not go back with it. Each replica has its own. Its folder must exist.
    pub state_file: PathBuf,
}
