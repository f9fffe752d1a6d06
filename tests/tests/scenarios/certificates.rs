//! Certificates while they are replaced, expire, or come from an authority that nobody trusts any more.

mod load;
mod rotation;
mod validity;
