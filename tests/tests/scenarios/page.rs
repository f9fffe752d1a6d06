//! The procedures of the OpenShift page "Using image pull secrets", one test a row of the design's table.

mod delegated;
mod grants;
mod secrets;
mod waiting;
