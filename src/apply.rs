//! Carries one decision out: at most one membership call, or one rename. Makes no choice.

use std::path::Path;

use crate::disk;
use crate::model::Action;
use crate::observe::now;
use crate::remote::etcd::{self, Refusal};
use crate::tls::Tls;

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Done; in a word, for the log.
    Done(String),
    /// etcd says not now, or the outcome is unknown: only a fresh look tells (F15, F16).
    Later(String),
    /// The rights are missing.
    Denied(String),
}

/// Applies a decision that changes something; the others are `run.rs`'s.
///
/// # Errors
/// The system's, where the data directory cannot be renamed.
pub async fn apply(
    action: &Action,
    tls: Option<&Tls>,
    data_dir: &Path,
    wal_dir: Option<&Path>,
) -> std::io::Result<Applied> {
    let (result, done) = match action {
        Action::Remove { member, via } => {
            (etcd::remove_member(tls, via, *member).await, format!("removed member {member} through {via}"))
        }
        Action::Add { peer_url, as_learner, via } => {
            let result = etcd::add_member(tls, via, peer_url, *as_learner).await;
            (result, format!("added {peer_url} through {via}"))
        }
        Action::SetDataAside => {
            let place = disk::set_aside(data_dir, wal_dir, now())?;
            (Ok(()), format!("renamed the data to {}", place.display()))
        }
        Action::Wait | Action::Refuse | Action::Start(_) | Action::Follow { .. } => (Ok(()), String::new()),
    };
    Ok(match result {
        Ok(()) => Applied::Done(done),
        Err(Refusal::AlreadySo(why)) => Applied::Done(why),
        Err(Refusal::Later(why)) => Applied::Later(why),
        Err(Refusal::Denied(why)) => Applied::Denied(why),
    })
}
