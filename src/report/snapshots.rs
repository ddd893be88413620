//! What `status` says of the snapshots, by what the last run of `snapshot` on this node's timer has left.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::decide::snapshot::overdue;
use crate::model::SnapshotRecord;

/// The snapshots as this node knows them.
#[derive(Debug, Serialize)]
pub struct Snapshots<'a> {
    /// What the last run knew; None where none has left anything.
    #[serde(flatten)]
    pub record: Option<&'a SnapshotRecord>,
    /// What a person should see to; None where all is well.
    pub ill: Option<String>,
}

impl<'a> Snapshots<'a> {
    /// As they are now.
    pub fn new(record: Option<&'a SnapshotRecord>, now: SystemTime) -> Self {
        let ill = match record {
            None => Some("none was taken here yet: is etcd-bootstrap-snapshot.timer enabled?".to_owned()),
            // What it knew then says nothing of now.
            Some(SnapshotRecord { at, every, .. }) if ago(*at, now) > 2 * *every => {
                let age = humantime::format_duration(minutes(ago(*at, now)));
                Some(format!("the last run here was {age} ago: is etcd-bootstrap-snapshot.timer enabled?"))
            }
            // Of a node that has never seen one, what is in its way.
            Some(SnapshotRecord { newest: None, trouble: Some(trouble), .. }) => Some(trouble.clone()),
            Some(SnapshotRecord { newest, since, every, .. }) => {
                overdue(newest.as_ref(), *since, now, *every).map(|reason| reason.to_string())
            }
        };
        Self { record, ill }
    }

    /// A line for people.
    pub fn text(&self, now: SystemTime) -> String {
        let newest = self.record.and_then(|record| Some((record, record.newest.as_ref()?)));
        let known = newest.map(|(record, newest)| {
            let age = humantime::format_duration(minutes(ago(newest.name.at, now)));
            format!("{} in {}, of {age} ago, {} bytes", newest.name, record.to, newest.bytes)
        });
        let ill = self.ill.as_ref().or_else(|| self.record?.trouble.as_ref());
        let parts: Vec<String> = known.into_iter().chain(ill.cloned()).collect();
        format!("snapshot: {}\n", if parts.is_empty() { "none yet".to_owned() } else { parts.join("; ") })
    }
}

fn ago(time: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(time).unwrap_or_default()
}

fn minutes(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() / 60 * 60)
}
