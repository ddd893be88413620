//! What a waiting agent says to the other founders, on the peer port that its etcd will have.

mod listener;
mod voice;

pub use listener::Listener;
pub use voice::Voice;
