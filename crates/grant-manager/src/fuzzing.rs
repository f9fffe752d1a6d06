//! A door for the fuzz targets of `fuzz/`, which are no part of this crate. It exists only under `--cfg fuzzing`.

use prost::Message;
use pullpass_api::{convert::Error, grant::v1 as wire};

use crate::{
    page::Page,
    reports::Report,
    resource::{Resource, merged},
    status::Filter,
};

/// Decodes a message and converts it as the handler of the RPC does. None if it is no message, or none of this service.
pub fn convert(rpc: &str, message: &[u8]) -> Option<Result<(), Error>> {
    Some(match rpc {
        "CreateSecretLink" => {
            let message = wire::CreateSecretLinkRequest::decode(message).ok()?;
            create(&message.secret_link_id, message.secret_link)
        }
        "CreateImageGrant" => {
            let message = wire::CreateImageGrantRequest::decode(message).ok()?;
            create(&message.image_grant_id, message.image_grant)
        }
        "CreateCluster" => {
            let message = wire::CreateClusterRequest::decode(message).ok()?;
            create(&message.cluster_id, message.cluster)
        }
        "UpdateSecretLink" => {
            let message = wire::UpdateSecretLinkRequest::decode(message).ok()?;
            update(message.secret_link, message.update_mask)
        }
        "UpdateImageGrant" => {
            let message = wire::UpdateImageGrantRequest::decode(message).ok()?;
            update(message.image_grant, message.update_mask)
        }
        "ListSecretLinks" => {
            let message = wire::ListSecretLinksRequest::decode(message).ok()?;
            list::<wire::SecretLink>(message.page_size, &message.page_token)
        }
        "ReportSync" => {
            let message = wire::ReportSyncRequest::decode(message).ok()?;
            Report::parse(message).map(drop)
        }
        "GetSyncStatus" => {
            let message = wire::GetSyncStatusRequest::decode(message).ok()?;
            Filter::parse(&message.names, &message.cluster).map(drop)
        }
        _ => return None,
    })
}

/// What is accepted must be accepted again as it was taken in, and mean the same.
fn create<R: Resource + std::fmt::Debug>(id: &str, given: Option<R>) -> Result<(), Error> {
    let name = R::name_of(id).map_err(|problem| Error::new(format!("{}_id", R::FIELD), problem))?;
    let given = given.ok_or_else(|| Error::new(R::FIELD, "is missing"))?;
    let checked = given.checked(&name).map_err(|problem| problem.within(R::FIELD))?;
    assert_eq!(checked.checked(&name).as_ref(), Ok(&checked));
    Ok(())
}

fn update<R: Resource>(given: Option<R>, mask: Option<prost_types::FieldMask>) -> Result<(), Error> {
    let given = given.ok_or_else(|| Error::new(R::FIELD, "is missing"))?;
    let name = R::parse_name(given.name());
    let name = name.map_err(|problem| Error::new(format!("{}.name", R::FIELD), problem))?;
    let merged = merged(&R::default(), &given, mask.as_ref())?;
    merged.checked(&name).map(drop).map_err(|problem| problem.within(R::FIELD))
}

fn list<R: Resource>(size: i32, token: &str) -> Result<(), Error> {
    let page = Page::parse(size, token, String::new(), |name| R::parse_name(name).ok())?;
    let mut items = vec![page.after.clone(); page.size as usize + 1];
    let next = page.cut(&mut items, Clone::clone);
    if !next.is_empty() {
        let again = Page::parse(size, &next, String::new(), |name| R::parse_name(name).ok())?;
        assert_eq!(again, page);
    }
    Ok(())
}
