//! What `watch` leaves for Prometheus's textfile collector (node_exporter, "Textfile Collector", read 2026-11-26).

use std::time::SystemTime;

use crate::decide::health::Unsound;
use crate::decide::{members_of_own_cluster, soundness};
use crate::model::{Decision, Observation, Policy, SnapshotRecord};

/// One pass as metrics. What was not seen has no line: a number that stands for "unknown" would be one to a rule.
pub fn metrics(o: &Observation, p: &Policy, decision: &Decision, snapshots: Option<&SnapshotRecord>) -> String {
    let second = since_epoch(o.taken_at);
    let sound = match soundness(o, p) {
        Ok(_) => Some(1),
        Err(Unsound::Ill(_)) => Some(0),
        Err(Unsound::Unknown(_)) => None,
    };
    let mut gauges = vec![
        ("last_pass_timestamp_seconds", "When the last pass ended.", Some(second)),
        ("sound", "Whether the cluster is sound, as status says it.", sound),
        ("desired_members", "How many instances the group wants.", o.group.ok().map(|group| group.desired as u64)),
    ];
    let counts = members_of_own_cluster(o).map(|list| {
        let count = |learner| list.iter().filter(|m| m.published() && m.learner == learner).count() as u64;
        (count(false), count(true), list.iter().filter(|m| !m.published()).count() as u64)
    });
    let (voters, learners, unstarted) = counts.map_or((None, None, None), |(v, l, u)| (Some(v), Some(l), Some(u)));
    gauges.extend([
        ("voters", "Published voters of the cluster.", voters),
        ("learners", "Published learners of the cluster.", learners),
        ("unstarted_members", "Members that were added and have not started.", unstarted),
    ]);
    let newest = snapshots.and_then(|record| record.newest.as_ref());
    gauges.extend([
        (
            "snapshot_timestamp_seconds",
            "When the slot of the newest snapshot began.",
            newest.map(|s| since_epoch(s.name.at)),
        ),
        ("snapshot_bytes", "The size of the newest snapshot.", newest.map(|s| s.bytes)),
        ("snapshot_run_timestamp_seconds", "When snapshot ran last.", snapshots.map(|record| since_epoch(record.at))),
        (
            "snapshot_run_failed",
            "Whether something was in the way of that run.",
            snapshots.map(|record| u64::from(record.trouble.is_some())),
        ),
    ]);
    let gauges = gauges.into_iter().filter_map(|(name, help, value)| {
        let name = format!("etcd_bootstrap_{name}");
        Some(format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {}\n", value?))
    });
    let reason = decision.reason.code();
    let state = format!(
        "# HELP etcd_bootstrap_reason Why the last pass decided as it did.\n# TYPE etcd_bootstrap_reason gauge\n\
         etcd_bootstrap_reason{{reason=\"{reason}\"}} 1\n"
    );
    gauges.chain([state]).collect()
}

fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
