//! Why a docker config is refused, which entry is at fault, and what to do about it.
//!
//! No variant holds anything of the file but registry keys, and those only as [`shown`] leaves them.

use super::MAX_BYTES;

/// Longest part of a registry key that is shown, in characters.
const MAX_SHOWN: usize = 120;

/// Why a docker config is refused. Entries are named by their registry key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No bytes, or only blanks.
    #[error("the file is empty")]
    Empty,
    /// More bytes than a Secret holds.
    #[error("the file has {0} bytes, and a Secret holds at most {MAX_BYTES}")]
    TooLarge(usize),
    /// The rendered Secret has more bytes than a Secret holds.
    #[error("the Secret would have {0} bytes, and holds at most {MAX_BYTES}")]
    RenderedTooLarge(usize),
    /// U+FEFF at the start.
    #[error("the file starts with a byte order mark, which the API server refuses")]
    ByteOrderMark,
    /// Bytes that are not UTF-8, or half a surrogate pair.
    #[error(
        "the file is not UTF-8 throughout, or has half a \\u surrogate pair; the kubelet would alter the text"
    )]
    NotUnicode,
    /// No JSON at this line and column.
    #[error("the file is not JSON from line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// Something follows the JSON value.
    #[error("something follows the JSON value at line {line}, column {column}")]
    TrailingBytes {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// Nested too deep for any docker config.
    #[error("the JSON is nested too deep")]
    TooDeep,
    /// The top level is something other than an object.
    #[error("the top level is {0}, not an object")]
    NotAnObject(&'static str),
    /// A config.json without `auths`.
    #[error("this is a config.json without auths, so it holds no credentials")]
    NoAuths,
    /// Neither file shape has an entry.
    #[error("the file holds no registry entries")]
    NoEntries,
    /// `auths` is something other than an object.
    #[error("auths is {0}, not an object of registry entries")]
    AuthsShape(&'static str),
    /// `HttpHeaders` is something other than an object of strings.
    #[error("HttpHeaders holds {0}, and must be an object of strings")]
    HttpHeadersShape(&'static str),
    /// A config.json with `credsStore`.
    #[error("the file uses credsStore, which the kubelet ignores")]
    CredsStore,
    /// A config.json with `credHelpers`, named by the first registry in it.
    #[error("the file uses credHelpers (for {0:?}), which the kubelet ignores")]
    CredHelpers(String),
    /// An entry beside `auths`, where nothing reads it.
    #[error("entry {0:?} stands beside auths, where the kubelet ignores it")]
    BesideAuths(String),
    /// The entry is something other than an object.
    #[error("entry {0:?} is {1}, not an object")]
    EntryShape(String, &'static str),
    /// A field of the entry is something other than a string.
    #[error("entry {entry:?}: {field} is {found}, not a string")]
    FieldType {
        /// The registry key.
        entry: String,
        /// The field.
        field: &'static str,
        /// What was found, "a number" for instance.
        found: &'static str,
    },
    /// `auth` is in the URL-safe alphabet.
    #[error("entry {0:?}: auth is URL-safe base64, and the kubelet takes only the standard alphabet")]
    AuthUrlSafe(String),
    /// `auth` is no base64.
    #[error("entry {0:?}: auth is not valid base64")]
    AuthNotBase64(String),
    /// `auth` decodes to a text without a colon.
    #[error("entry {0:?}: auth does not decode to username:password, it has no colon")]
    AuthNoColon(String),
    /// `auth` decodes to bytes that are not UTF-8.
    #[error("entry {0:?}: auth decodes to bytes that are not UTF-8")]
    AuthNotUnicode(String),
    /// A user name with a colon.
    #[error("entry {0:?}: the username has a colon, which auth cannot express")]
    UsernameColon(String),
    /// A user name with a control character.
    #[error("entry {0:?}: the username has a control character")]
    UsernameControl(String),
    /// A token where the kubelet wants a password.
    #[error("entry {0:?} has only an {1}, which the kubelet ignores")]
    TokenOnly(String, &'static str),
    /// Neither user name nor password.
    #[error("entry {0:?} is blank: it has no username and no password")]
    Blank(String),
    /// A password without a user name.
    #[error("entry {0:?} has no username")]
    NoUsername(String),
    /// A user name without a password.
    #[error("entry {0:?} has no password")]
    NoPassword(String),
    /// No registry key.
    #[error("the registry server is empty")]
    NoServer,
    /// User information in the registry key; it is not shown.
    #[error("entry {0:?} has a user name or password (an @) in its registry key")]
    KeyUserinfo(String),
    /// A registry key with a scheme that the kubelet does not strip.
    #[error(
        "entry {0:?} has a scheme other than https:// or http:// in lower case, and so never matches an image"
    )]
    KeyScheme(String),
    /// A registry key that no image name can match.
    #[error("entry {0:?} can never match an image")]
    KeyMatchesNothing(String),
    /// Two keys that are one to the kubelet, with different credentials.
    #[error("entries {0:?} and {1:?} are the same to the kubelet, and their credentials differ")]
    Ambiguous(String, String),
}

impl Error {
    /// The registry key of the entry at fault, cut short if long and without user information.
    pub fn entry(&self) -> Option<&str> {
        match self {
            Self::CredHelpers(entry)
            | Self::BesideAuths(entry)
            | Self::EntryShape(entry, _)
            | Self::FieldType { entry, .. }
            | Self::AuthUrlSafe(entry)
            | Self::AuthNotBase64(entry)
            | Self::AuthNoColon(entry)
            | Self::AuthNotUnicode(entry)
            | Self::UsernameColon(entry)
            | Self::UsernameControl(entry)
            | Self::TokenOnly(entry, _)
            | Self::Blank(entry)
            | Self::NoUsername(entry)
            | Self::NoPassword(entry)
            | Self::KeyUserinfo(entry)
            | Self::KeyScheme(entry)
            | Self::KeyMatchesNothing(entry)
            | Self::Ambiguous(entry, _) => Some(entry),
            Self::Empty
            | Self::TooLarge(_)
            | Self::RenderedTooLarge(_)
            | Self::ByteOrderMark
            | Self::NotUnicode
            | Self::NotJson { .. }
            | Self::TrailingBytes { .. }
            | Self::TooDeep
            | Self::NotAnObject(_)
            | Self::NoAuths
            | Self::NoEntries
            | Self::AuthsShape(_)
            | Self::HttpHeadersShape(_)
            | Self::CredsStore
            | Self::NoServer => None,
        }
    }

    /// What the user can do about it: one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Empty | Self::NoEntries => {
                "log in with `podman login --authfile FILE REGISTRY` and send that file"
            }
            Self::TooLarge(_) | Self::RenderedTooLarge(_) => "split the entries over several credentials",
            Self::ByteOrderMark | Self::NotUnicode => "save the file as UTF-8 without a byte order mark",
            Self::NotJson { .. } | Self::TrailingBytes { .. } | Self::TooDeep => {
                "send one JSON object, as docker or podman writes it"
            }
            Self::NotAnObject(_) | Self::NoAuths | Self::AuthsShape(_) | Self::EntryShape(..) => {
                "send {\"auths\": {\"REGISTRY\": {\"auth\": …}}}, or a .dockercfg {\"REGISTRY\": {\"auth\": …}}"
            }
            Self::HttpHeadersShape(_) => "remove HttpHeaders, the kubelet does not use it",
            Self::CredsStore | Self::CredHelpers(_) => {
                "the passwords are not in this file: log in with `podman login --authfile FILE REGISTRY`, or give server, \
                 username and password"
            }
            Self::BesideAuths(_) => "move the entry into auths",
            Self::FieldType { .. } => "put the value in quotes, or remove the field",
            Self::AuthUrlSafe(_) => "encode again in the standard alphabet, with + and / for - and _",
            Self::AuthNotBase64(_) | Self::AuthNoColon(_) | Self::AuthNotUnicode(_) => {
                "write auth as the base64 of username:password in UTF-8, or give server, username and password"
            }
            Self::UsernameColon(_) | Self::UsernameControl(_) => "use a user name without that character",
            Self::TokenOnly(..) => "use a user name with a password or access token in place of this login",
            Self::Blank(_) | Self::NoUsername(_) | Self::NoPassword(_) => {
                "give both username and password, or remove the entry"
            }
            Self::NoServer => "name the registry; Docker Hub is https://index.docker.io/v1/",
            Self::KeyUserinfo(_) => "move them to the fields username and password",
            Self::KeyScheme(_) => "write the registry as its images are named, without a scheme",
            Self::KeyMatchesNothing(_) => {
                "write HOST[:PORT][/PATH] as the images are named; a host needs a dot or a port, a path is lower case, \
                 and Docker Hub is https://index.docker.io/v1/ to the last slash"
            }
            Self::Ambiguous(..) => "keep one of the two, or put them into two credentials",
        }
    }
}

/// A registry key as messages show it: without user information, and not endless.
pub(super) fn shown(key: &str) -> String {
    let key = match key.rsplit_once('@') {
        Some((_, host)) => format!("[redacted]@{host}"),
        None => key.to_owned(),
    };
    match key.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key,
    }
}
