//! The API's messages as protobuf JSON: field names in lowerCamelCase, enums by name, times in RFC 3339. Fields that are
//! zero or empty are there too, and 64-bit integers are numbers, which both suits scripts better than the defaults.

use std::sync::OnceLock;

use anyhow::Context as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

/// `message`, whose full protobuf name is `name`, as JSON.
pub(crate) fn value(name: &str, message: &impl prost::Message) -> anyhow::Result<Value> {
    let descriptor =
        pool()?.get_message_by_name(name).with_context(|| format!("{name} is no message of the API"))?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new().skip_default_fields(false).stringify_64_bit_integers(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// The same of what one cluster answered, with the bare name of the cluster added.
pub(crate) fn value_of(cluster: &str, name: &str, message: &impl prost::Message) -> anyhow::Result<Value> {
    let mut value = value(name, message)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("cluster".to_owned(), Value::String(cluster.to_owned()));
    }
    Ok(value)
}

fn pool() -> anyhow::Result<&'static DescriptorPool> {
    static POOL: OnceLock<Result<DescriptorPool, String>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(pullpass_api::FILE_DESCRIPTOR_SET).map_err(|e| e.to_string()))
        .as_ref()
        .map_err(|e| anyhow::anyhow!("the API's descriptors are broken: {e}"))
}
