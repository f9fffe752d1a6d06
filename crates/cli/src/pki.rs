//! `pullpass pki`: a development authority and the services' keys.

mod authority;
mod command;
mod keys;
mod rotation;

pub use authority::Authority;
pub use keys::Keys;
pub use rotation::Step;

pub(crate) use command::{Command, EXAMPLES, run};
