//! Two appliers of one cluster: one is active, the other stands by and takes over, and one that sleeps past its turn
//! undoes nothing when it wakes up.

mod asleep;
mod handover;
mod pair;
