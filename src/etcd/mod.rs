//! Everything that speaks etcd: its two ports, its program, its data directory, its variables.

pub mod change;
mod channel;
pub mod client;
pub mod data;
pub mod environment;
pub mod peer;
pub mod program;
pub mod snapshot;
pub mod user;
