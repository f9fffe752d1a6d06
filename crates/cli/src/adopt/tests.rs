//! Proposals from objects as the API server answers them.

mod bindings;
mod pulls;
mod scene;
