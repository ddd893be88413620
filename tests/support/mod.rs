//! The fake cloud: everything that a test or the sandbox needs to run the real agent and real etcd
//! processes on one machine without AWS. It decides nothing about etcd and shares no code with the
//! agent, so that it can judge it.
//!
//! Start with `rig`: it ties the rest together. A test reads like this:
//!
//! ```ignore
//! let rig = Rig::start(Programs { agent: env!("CARGO_BIN_EXE_etcd-bootstrap").into(), etcd: etcd::newest()? }).await?;
//! rig.group("etcd-a", 3);
//! let nodes = rig.launch_many("etcd-a", 3)?;
//! nodes.iter().for_each(Node::boot);
//! rig.judge.whole_cluster(&addresses(&nodes), Duration::from_secs(20)).await?;
//! ```
#![allow(dead_code, reason = "each consumer uses a part of the fake cloud")]

pub mod asg;
pub mod aws;
pub mod awscli;
pub mod child;
pub mod cloud;
pub mod etcd;
pub mod ground;
pub mod http;
pub mod imds;
pub mod keys;
pub mod link;
pub mod living;
pub mod network;
pub mod node;
pub mod relay;
pub mod rig;
pub mod s3;
pub mod tls;

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock that outlives a panic: the test that panicked has its own message.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says why this test cannot run on this machine; the test then returns. `tests/tools/catalogue` reads it.
///
/// # Panics
/// In CI: what its machine cannot do is a failure there, not a note. `.ci/run` needs root in any case.
#[track_caller]
pub fn skip(why: impl Display) {
    assert!(std::env::var_os("CI").is_none(), "CI must be able to run this test: {why}");
    println!("skipped: {why}");
}
