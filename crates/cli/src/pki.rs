//! `pullpass pki`: a development authority and the services' keys.

mod authority;
mod command;
mod keys;

pub use authority::Authority;
pub use keys::Keys;

pub(crate) use command::{Command, EXAMPLES, run};
