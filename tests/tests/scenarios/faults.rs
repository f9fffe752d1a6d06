//! Whatever breaks between applier and API server, and wherever the applier is killed: always the same final state, no
//! orphan, no foreign object touched; what fails is reported, and the others go on.

mod behind;
mod change;
mod cluster;
mod declare;
mod model;
mod refused;
mod restart;
mod retype;
mod rounds;
mod storm;
