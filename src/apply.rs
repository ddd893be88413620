//! Carries one change out: at most one call, one rename, or one file. Makes no choice.

use std::path::Path;

use crate::clock::now;
use crate::cloud::Cloud;
use crate::etcd::change::{self, ChangeError};
use crate::etcd::data;
use crate::etcd::user::Access;
use crate::files::{record, saved};
use crate::model::{Blind, BlindKind, Change, ClusterId, MemberId, MemberUrl, Record};

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Done; in a word, for the log.
    Done(String),
    /// etcd or AWS says not now or not you, or the outcome is unknown: only a fresh look tells (F15, F16).
    Refused(Blind),
}

/// The directories that changes are made in.
#[derive(Debug, Clone, Copy)]
pub struct Directories<'a> {
    /// etcd's data.
    pub data: &'a Path,
    /// etcd's log, where it is elsewhere.
    pub wal: Option<&'a Path>,
    /// This program's own.
    pub state: &'a Path,
}

/// Applies a change.
///
/// # Errors
/// A sentence, where the data directory cannot be renamed or written to.
pub async fn apply(
    change: &Change,
    cloud: &mut Cloud,
    access: &Access,
    Directories { data: data_dir, wal: wal_dir, state }: Directories<'_>,
) -> Result<Applied, String> {
    Ok(match change {
        Change::Remove { member, via } => {
            asked(change::remove_member(access, via, *member).await, format!("removed member {member} through {via}"))
        }
        Change::Add { peer_url, vote, via } => {
            asked(change::add_member(access, via, peer_url, *vote).await, format!("added {peer_url} through {via}"))
        }
        Change::Promote { member, via } => promote(access, via, *member).await,
        Change::MoveLeader { to, via } => {
            asked(change::move_leader(access, via, *to).await, format!("member {to} leads now, by way of {via}"))
        }
        Change::CompleteHook { group, hook, instance } => {
            let done = Applied::Done(format!("completed the lifecycle hook {hook} of {instance}"));
            cloud.complete_hook(group, hook, instance).await.map_or_else(Applied::Refused, |()| done)
        }
        Change::KeepWaiting { group, hook, instance } => {
            let done = Applied::Done(format!("the group waits on for the lifecycle hook {hook} of {instance}"));
            cloud.keep_waiting(group, hook, instance).await.map_or_else(Applied::Refused, |()| done)
        }
        Change::MarkLeft(left) => {
            let written = saved::write_left(state, left);
            written.map_err(|e| format!("write the mark {}: {e}", saved::left_file(state).display()))?;
            Applied::Done(format!("member {} of cluster {} has left", left.member, left.cluster))
        }
        Change::TagGroup { group, tags } => {
            let text = tags.iter().map(|(key, value)| format!("{key}='{value}'")).collect::<Vec<_>>().join(", ");
            let done = Applied::Done(format!("tagged the group {group}: {text}"));
            cloud.tag_group(group, tags).await.map_or_else(Applied::Refused, |()| done)
        }
        Change::SetDataAside { gives_up } => {
            if let Some(cluster) = gives_up {
                // First, for what is set aside is not looked at again. A record that is no longer there is made anew.
                let record = record::prepare(data_dir)?;
                save(data_dir, &giving_up(record, *cluster))?;
            }
            let place = data::set_aside(data_dir, wal_dir, now())
                .map_err(|e| format!("rename the data directory {}: {e}", data_dir.display()))?;
            Applied::Done(format!("renamed the data to {}", place.display()))
        }
        Change::BeginRecord => {
            let record = record::prepare(data_dir)?;
            Applied::Done(format!("this disk is {} to the other founders", record.nonce))
        }
        Change::Agree(agreement) => {
            let record = Record { agreed: Some(agreement.clone()), ..record::prepare(data_dir)? };
            save(data_dir, &record)?;
            Applied::Done(format!("agreed to found cluster {}", agreement.cluster))
        }
        Change::GiveUp { cluster } => {
            let record = giving_up(record::prepare(data_dir)?, *cluster);
            save(data_dir, &Record { nonce: record::nonce(), ..record })?;
            Applied::Done(format!("gave up the founding of cluster {cluster}"))
        }
    })
}

fn asked(result: Result<(), ChangeError>, done: String) -> Applied {
    let refused = |kind, why| Applied::Refused(Blind { kind, why });
    match result {
        Ok(()) => Applied::Done(done),
        Err(ChangeError::AlreadyDone(why)) => Applied::Done(why),
        Err(ChangeError::NotNow(why) | ChangeError::NotInSync(why)) => refused(BlindKind::Unreachable, why),
        Err(ChangeError::Denied(why)) => refused(BlindKind::Denied, why),
    }
}

/// Asks one voter after another, until one has answered: of a learner that is not in sync all say the same.
async fn promote(access: &Access, voters: &[MemberUrl], member: MemberId) -> Applied {
    let mut result = Err(ChangeError::NotNow("no voter is known that could promote it".to_owned()));
    for url in voters {
        result = change::promote_member(access, url, member).await;
        if matches!(result, Ok(()) | Err(ChangeError::AlreadyDone(_) | ChangeError::NotInSync(_))) {
            return asked(result, format!("promoted member {member} through {url}"));
        }
    }
    asked(result, String::new())
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
