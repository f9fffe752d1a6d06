//! The harness of the end-to-end tests and the demo: real parts, started by itself, on a bare machine.
//!
//! ```text
//!  Scenario ─► World ─┬─► ControlPlane   etcd, kube-apiserver, kube-controller-manager   (binaries)
//!   (a test's view,   ├─► FaultProxy     between the applier and the API server, where it is wanted
//!    dumps the state  ├─► Pullpass       the three services and the command, from target/<profile>
//!    on a panic)      ├─► Registry       docker-registry with passwords, skopeo as its client
//!                     └─► Node           containerd and the kubelet, for real pods; as root only
//!  LoneStore ─► Pullpass   credential-store alone, where no cluster is needed
//!                             │
//!                             └─ every process in a group of its own, which dies with us     (process)
//! ```
//!
//! `tests/` holds the scenarios, `src/bin/demo.rs` the demo.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "the harness is called by tests: what does not work there must stop them, and say why"
)]

mod alone;
mod applier;
pub mod applier_access;
pub mod audit_log;
pub mod bare_tls;
pub mod binaries;
pub mod canary;
pub mod certificates;
pub mod cluster;
pub mod collector;
pub mod command;
pub mod control_plane;
pub mod dev;
pub mod fault_proxy;
pub mod image;
pub mod issuer;
pub mod lone_store;
pub mod measure;
pub mod metrics;
pub mod node;
mod ports;
pub mod process;
pub mod pullpass;
pub mod registry;
pub mod replicas;
pub mod scenario;
pub mod variant;
pub mod wait;
mod work_folder;

pub use alone::Alone;
pub use applier::{Applier, Differences};
pub use cluster::Cluster;
pub use control_plane::ControlPlane;
pub use dev::PullpassDev;
pub use fault_proxy::FaultProxy;
pub use lone_store::LoneStore;
pub use node::Node;
pub use pullpass::Pullpass;
pub use registry::Registry;
pub use scenario::{Scenario, World};
pub use wait::eventually;
pub use work_folder::WorkFolder;
