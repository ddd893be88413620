//! Whether this node takes the snapshot of now. One a slot, by whoever comes first: no rank, no lock. Who dies half-way
//! leaves the slot to the next run of anybody, and of two at once the store takes one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::view::elapsed;
use crate::model::{Absence, Blind, BlindKind, Class, ClientView, Reason, Seen, Snapshot, SnapshotName};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What one run sees.
#[derive(Debug, Clone)]
pub struct Sight<'a> {
    /// The own etcd's client port.
    pub own: &'a Result<ClientView, Absence>,
    /// The snapshots of its cluster that are there by the timer.
    pub kept: &'a [Snapshot],
    /// By this node's clock.
    pub now: SystemTime,
    /// The length of a slot.
    pub every: Duration,
}

/// What a node does about the snapshot of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Take it, under this name.
    Take(SnapshotName),
    /// Nothing, and all is well.
    Rest(Reason),
    /// Nothing, and that is not as it should be.
    Stop(Reason),
}

/// On the timer.
pub fn due(sight: &Sight<'_>) -> Turn {
    let view = match fit(sight.own) {
        Ok(view) => view,
        Err(reason) => return Turn::Stop(reason),
    };
    let slot = beginning(sight.now, sight.every);
    if let Some(there) = sight.kept.iter().find(|kept| (slot..slot + sight.every).contains(&kept.name.at)) {
        return Turn::Rest(Reason::SnapshotKept { name: there.name.to_string() });
    }
    // Less work for who has most to do. A lone one has nobody to leave it to.
    let voters = view.quorum_list.ok().map_or(0, |list| list.iter().filter(|m| !m.learner).count());
    if view.leader == Some(view.member_id) && voters > 1 && elapsed(slot, sight.now) < sight.every / 2 {
        return Turn::Rest(Reason::SnapshotLeftToFollowers);
    }
    let day = |at| beginning(at, DAY);
    let is_first = !sight.kept.iter().any(|kept| kept.name.class == Class::Daily && day(kept.name.at) == day(slot));
    let class = if is_first { Class::Daily } else { Class::Recent };
    Turn::Take(SnapshotName { class, cluster: view.cluster_id, at: slot, by: None })
}

/// By a person, whatever is there. Without a quorum it holds what this member has: it may lack writes that were
/// acknowledged, and is still the best there is before a survivor is touched.
pub fn by_hand(own: &Result<ClientView, Absence>, now: SystemTime, without_quorum: bool) -> Turn {
    let view = match own {
        Ok(view) if without_quorum => view,
        own => match fit(own) {
            Ok(view) => view,
            Err(reason) => return Turn::Stop(reason),
        },
    };
    let at = beginning(now, Duration::from_secs(1));
    Turn::Take(SnapshotName { class: Class::Manual, cluster: view.cluster_id, at, by: Some(view.member_id) })
}

/// Whether there was no new snapshot for too long: two slots have gone by since the newest, or, where there is none, since
/// this node has looked for one.
pub fn overdue(newest: Option<&Snapshot>, since: SystemTime, now: SystemTime, every: Duration) -> Option<Reason> {
    let age = elapsed(newest.map_or(since, |newest| newest.name.at), now);
    let newest = newest.map(|newest| newest.name.to_string());
    (age > 2 * every).then_some(Reason::SnapshotOverdue { newest, age, every })
}

/// The newest there is. A name from the future is that of a node whose clock was wrong, and must not silence anybody.
pub fn newest(kept: &[Snapshot], now: SystemTime, every: Duration) -> Option<&Snapshot> {
    kept.iter().filter(|kept| kept.name.at <= now + every).max_by_key(|kept| kept.name.at)
}

/// Whether the own member's data holds all that was acknowledged (S11): after a linearizable read it does, and a learner
/// answers none.
fn fit(own: &Result<ClientView, Absence>) -> Result<&ClientView, Reason> {
    let view = match own {
        Ok(view) => view,
        Err(Absence::Denied(why)) => return Err(Reason::Denied { why: why.clone() }),
        Err(absence) => return Err(Reason::NotServing { why: format!("this node's etcd: {absence}") }),
    };
    let corrupt: Vec<String> = view.faults.iter().filter(|fault| fault.contains("CORRUPT")).cloned().collect();
    if !corrupt.is_empty() {
        return Err(Reason::ClusterCorrupt { faults: corrupt });
    }
    if view.learner {
        return Err(Reason::LearnerHere { member: view.member_id });
    }
    match &view.quorum_list {
        Seen::Yes(_) => Ok(view),
        Seen::No(Blind { kind: BlindKind::Denied, why }) => Err(Reason::Denied { why: why.clone() }),
        Seen::No(blind) => Err(Reason::NotServing { why: format!("this node's etcd confirms no read: {blind}") }),
    }
}

/// The last moment, not after this one, that is a whole number of steps from the epoch.
fn beginning(at: SystemTime, step: Duration) -> SystemTime {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    UNIX_EPOCH + Duration::from_secs(since - since % step.as_secs().max(1))
}
