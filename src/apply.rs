//! Carries one decision out: at most one call, one rename, or one line of the founder's record. Makes no choice.

use std::path::Path;

use crate::model::{Action, Blind, BlindKind, ClusterId, Record};
use crate::observe::{Observer, now};
use crate::remote::etcd::{self, Refusal};
use crate::tls::Tls;
use crate::{disk, record};

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Done; in a word, for the log.
    Done(String),
    /// etcd or AWS says not now, or the outcome is unknown: only a fresh look tells (F15, F16).
    Later(String),
    /// The rights are missing.
    Denied(String),
}

/// Applies a decision that changes something; the others are `run.rs`'s.
///
/// # Errors
/// A sentence, where the data directory cannot be renamed or written to.
pub async fn apply(
    action: &Action,
    observer: &mut Observer,
    tls: Option<&Tls>,
    data_dir: &Path,
    wal_dir: Option<&Path>,
) -> Result<Applied, String> {
    let (result, done) = match action {
        Action::Remove { member, via } => {
            (etcd::remove_member(tls, via, *member).await, format!("removed member {member} through {via}"))
        }
        Action::Add { peer_url, as_learner, via } => {
            let result = etcd::add_member(tls, via, peer_url, *as_learner).await;
            (result, format!("added {peer_url} through {via}"))
        }
        Action::SetDataAside { gives_up } => {
            if let Some(cluster) = gives_up {
                // First, for what is set aside is not looked at again. A record that is no longer there is made anew.
                let record = record::prepare(data_dir)?;
                save(data_dir, &giving_up(record, *cluster))?;
            }
            let place = disk::set_aside(data_dir, wal_dir, now())
                .map_err(|e| format!("rename the data directory {}: {e}", data_dir.display()))?;
            (Ok(()), format!("renamed the data to {}", place.display()))
        }
        Action::BeginRecord => {
            let record = record::prepare(data_dir)?;
            (Ok(()), format!("this disk is {} to the other founders", record.nonce))
        }
        Action::Agree(agreement) => {
            let record = Record { agreed: Some(agreement.clone()), ..record::prepare(data_dir)? };
            save(data_dir, &record)?;
            (Ok(()), format!("agreed to found cluster {}", agreement.cluster))
        }
        Action::GiveUp { cluster } => {
            let record = giving_up(record::prepare(data_dir)?, *cluster);
            save(data_dir, &Record { nonce: record::nonce(), ..record })?;
            (Ok(()), format!("gave up the founding of cluster {cluster}"))
        }
        Action::TagGroup { group, tags } => {
            let said = tags.iter().map(|(key, value)| format!("{key}='{value}'")).collect::<Vec<_>>().join(", ");
            let written = match observer.aws().await {
                Ok((aws, _)) => aws.tag_group(group, tags).await,
                Err(blind) => Err(blind),
            };
            (written.map_err(|Blind { kind, why }| refusal(kind, why)), format!("tagged the group {group}: {said}"))
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

fn giving_up(mut record: Record, cluster: ClusterId) -> Record {
    if !record.given_up.contains(&cluster) {
        record.given_up.push(cluster);
    }
    record.agreed = None;
    record
}

fn save(data_dir: &Path, record: &Record) -> Result<(), String> {
    record::save(data_dir, record).map_err(|e| format!("write the founder's record in {}: {e}", data_dir.display()))
}

fn refusal(kind: BlindKind, why: String) -> Refusal {
    match kind {
        BlindKind::Denied => Refusal::Denied(why),
        BlindKind::Unreachable
        | BlindKind::Throttled
        | BlindKind::Absent
        | BlindKind::Ambiguous
        | BlindKind::Malformed => Refusal::Later(why),
    }
}
