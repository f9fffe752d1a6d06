//! Reading one service's trail, page by page.

use pullpass_api::{
    audit::v1::{AuditEvent, AuditHead},
    credential::v1 as credential,
    grant::v1 as grant,
};

use crate::{
    client::{PAGE_SIZE, Session},
    failure::CallError,
    values::Keeper,
};

/// A page, and where the next begins.
pub(super) struct Page {
    pub(super) events: Vec<AuditEvent>,
    pub(super) next: String,
    pub(super) head: AuditHead,
}

/// Which page.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) page_token: String,
    pub(super) after: i64,
    pub(super) newest_first: bool,
    /// 0 for as many as there may be.
    pub(super) size: i32,
}

pub(super) async fn page(session: &Session, keeper: Keeper, asked: Asked) -> Result<Page, CallError> {
    const ATTEMPTED: &str = "list audit events";
    let Asked { page_token, after: after_sequence, newest_first, size } = asked;
    let order_by = if newest_first { "sequence desc" } else { "" }.to_owned();
    let page_size = if size == 0 { PAGE_SIZE } else { size };
    match keeper {
        Keeper::CredentialStore => {
            let request =
                credential::ListAuditEventsRequest { page_size, page_token, after_sequence, order_by };
            let peer = session.store();
            let answer = peer.call(ATTEMPTED, async |mut c| c.list_audit_events(request).await).await?;
            let head = answer.head.unwrap_or_default();
            Ok(Page { events: answer.events, next: answer.next_page_token, head })
        }
        Keeper::GrantManager => {
            let request = grant::ListAuditEventsRequest { page_size, page_token, after_sequence, order_by };
            let peer = session.grants();
            let answer = peer.call(ATTEMPTED, async |mut c| c.list_audit_events(request).await).await?;
            let head = answer.head.unwrap_or_default();
            Ok(Page { events: answer.events, next: answer.next_page_token, head })
        }
    }
}
