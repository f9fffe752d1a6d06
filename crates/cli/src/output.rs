//! Data on stdout: a table for people, JSON and YAML for programs.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::ValueEnum;
use prost_types::Timestamp;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use crate::json;

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; may change.
    Table,
    /// The API's messages as protobuf JSON (lowerCamelCase); a list is an array.
    Json,
    /// The same as YAML.
    Yaml,
}

/// A message that can be shown.
pub(crate) trait Resource: prost::Message {
    /// Its full protobuf name.
    const NAME: &'static str;
    /// The columns of a list.
    const HEADERS: &'static [&'static str];
    /// One cell for each column.
    fn cells(&self) -> Vec<String>;
    /// Everything, as label and value; a value may have several lines.
    fn details(&self) -> Vec<(&'static str, String)>;
}

/// Several messages.
pub(crate) fn list<M: Resource>(format: Format, messages: &[M]) -> anyhow::Result<String> {
    if format == Format::Table {
        return Ok(table(M::HEADERS, messages.iter().map(Resource::cells)));
    }
    let values: anyhow::Result<Vec<_>> = messages.iter().map(|m| json::value(M::NAME, m)).collect();
    structured(format, &Value::Array(values?))
}

/// One message, in a line.
pub(crate) fn line<M: Resource>(format: Format, message: &M) -> anyhow::Result<String> {
    match format {
        Format::Table => Ok(table(M::HEADERS, [message.cells()])),
        _ => structured(format, &json::value(M::NAME, message)?),
    }
}

/// One message, in full.
pub(crate) fn details<M: Resource>(format: Format, message: &M) -> anyhow::Result<String> {
    match format {
        Format::Table => Ok(labelled(&message.details())),
        _ => structured(format, &json::value(M::NAME, message)?),
    }
}

/// A value that is no message, as JSON or YAML.
pub(crate) fn structured(format: Format, value: &Value) -> anyhow::Result<String> {
    match format {
        Format::Yaml => serde_norway::to_string(value).context("failed to write YAML"),
        Format::Json | Format::Table => {
            let text = serde_json::to_string_pretty(value).context("failed to write JSON")?;
            Ok(format!("{text}\n"))
        }
    }
}

/// Columns under headers, as kubectl writes them.
pub(crate) fn table(headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(headers.iter().copied());
    table.add_rows(rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>()));
    table.discover_columns();
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!("{}\n", lines.join("\n"))
}

fn labelled(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(label, _)| label.len() + 1).max().unwrap_or_default();
    let mut text = String::new();
    for (label, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        for (i, line) in value.lines().enumerate() {
            let label = if i == 0 { format!("{label}:") } else { String::new() };
            text.push_str(format!("{label:width$}  {}", plain(line)).trim_end());
            text.push('\n');
        }
    }
    text
}

/// What comes from others must not move the terminal's cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes data to stdout. A reader that has gone away (`| head`) is no failure.
pub(crate) fn emit(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("failed to write to stdout"),
    }
}

/// The answer of a call that answers nothing: the empty message.
pub(crate) fn emit_empty(format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => Ok(()),
        _ => emit(&structured(format, &Value::Object(serde_json::Map::new()))?),
    }
}

/// Tells something on stderr. Where stderr is closed there is nobody to tell.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A time in RFC 3339, to the second; empty if unset.
pub(crate) fn time(stamp: Option<&Timestamp>) -> String {
    stamp
        .and_then(pullpass_api::convert::time)
        .and_then(|time| time.replace_nanosecond(0).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// `declared`, or `deleting` while clusters still hold traces of it.
pub(crate) fn life(deleted: Option<&Timestamp>) -> String {
    if deleted.is_some() { "deleting" } else { "declared" }.to_owned()
}

#[cfg(test)]
mod tests {
    use pullpass_api::credential::v1::{Credential, CredentialVersion, RegistryEntry};

    use super::*;

    fn credential() -> Credential {
        let entry = RegistryEntry { registry: "quay.io".into(), username: "robot".into() };
        let created = Some(Timestamp { seconds: 1_700_000_000, nanos: 0 });
        Credential {
            name: "credentials/quay".into(),
            version: 2,
            versions: vec![CredentialVersion {
                version: 2,
                entries: vec![entry],
                create_time: created,
                ..Default::default()
            }],
            create_time: created,
            revision: 7,
            ..Default::default()
        }
    }

    #[test]
    fn a_list_is_a_table_with_headers() {
        let text = list(Format::Table, &[credential()]).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next().unwrap().split_whitespace().next(), Some("NAME"));
        assert_eq!(lines.next(), Some("quay   2         quay.io      2023-11-14T22:13:20Z"));
        assert!(text.lines().all(|line| line.trim_end() == line), "no trailing blanks in {text:?}");
        assert_eq!(list::<Credential>(Format::Table, &[]).unwrap().lines().count(), 1, "headers alone");
    }

    #[test]
    fn json_is_protobuf_json_and_a_list_is_an_array() {
        let value: Value = serde_json::from_str(&list(Format::Json, &[credential()]).unwrap()).unwrap();
        let first = &value.as_array().unwrap()[0];
        assert_eq!(first["createTime"], "2023-11-14T22:13:20Z");
        assert_eq!(first["versions"][0]["entries"][0]["registry"], "quay.io");
        assert_eq!(first["revision"], 7, "64-bit integers are numbers");
        assert_eq!(first["description"], "", "empty fields are there");
        assert_eq!(first.get("updateTime"), None, "unset messages are not");
        let empty: Value = serde_json::from_str(&list::<Credential>(Format::Json, &[]).unwrap()).unwrap();
        assert_eq!(empty, Value::Array(vec![]));
    }

    #[test]
    fn yaml_says_the_same_as_json() {
        let yaml: Value = serde_norway::from_str(&line(Format::Yaml, &credential()).unwrap()).unwrap();
        let json: Value = serde_json::from_str(&details(Format::Json, &credential()).unwrap()).unwrap();
        assert_eq!(yaml, json);
    }

    #[test]
    fn nothing_from_others_reaches_the_terminal_as_a_command() {
        let text = table(&["A"], [vec!["red\u{1b}[31m\nnext\u{9b}".to_owned()]]);
        assert_eq!(text, "A\nred [31m next\n");
    }
}
