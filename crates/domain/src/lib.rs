//! What Pullpass is about, without any I/O: names, docker configs as the kubelet reads them, selectors, links and grants.
//!
//! Every type checks itself on entry and keeps its fields private, so whoever holds one holds a valid one.

pub mod audit;
pub mod docker_config;
pub mod grant;
pub mod image;
pub mod keyring;
pub mod link;
pub mod name;
pub mod secret;
pub mod selector;
