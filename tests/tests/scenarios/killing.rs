//! kill -9 loses nothing that was acknowledged and heals, a service that is away changes nothing in the cluster, and
//! SIGTERM ends each service cleanly.

mod away;
mod roll_out;
mod rounds;
mod terminate;
mod writer;
