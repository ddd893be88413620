//! What a run of the sandbox measured: the JSON file and the closing table. It judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::Scheme;

/// The numbers of one run. A time is None when its scene was not played.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub etcd_version: String,
    pub nodes: usize,
    pub scheme: Scheme,
    /// From the first boot until every node is healthy.
    pub formed_seconds: Option<f64>,
    /// The same from the last boot, for boots one after another.
    pub formed_after_last_boot_seconds: Option<f64>,
    /// As many etcds with an environment written by hand, all started at once.
    pub floor_formed_seconds: Option<f64>,
    /// As many nodes, formed in the clear; None where that was not asked for.
    pub formed_over_http_seconds: Option<f64>,
    /// Whether etcd's own pause of (N-1) s was in the floor, or in ours.
    pub floor_paused: bool,
    pub formed_paused: bool,
    /// From the boot of a replacement until another member lists it as a voter.
    pub replacement_votes_seconds: Option<f64>,
    /// From a boot until the cluster is whole again: every member of a live node, a voter, and serving.
    pub replaced_seconds: Option<f64>,
    /// One replaced by hand, by a person who knows which and waits for nothing: as `replaced_seconds`.
    pub floor_replaced_seconds: Option<f64>,
    /// As `replacement_votes_seconds`: where the leader was lost, once another leads; where EC2 has forgotten the dead
    /// one; and until the second of two votes.
    pub leader_votes_seconds: Option<f64>,
    pub forgotten_votes_seconds: Option<f64>,
    pub two_vote_seconds: Option<f64>,
    pub grown_seconds: Option<f64>,
    pub rebooted_seconds: Option<f64>,
    pub wiped_seconds: Option<f64>,
    pub rotated_seconds: Option<f64>,
    /// At the end.
    pub members: usize,
    /// Every cluster id that any node was ever seen in.
    pub cluster_ids: BTreeSet<String>,
    pub data_intact: bool,
    pub aws_calls: BTreeMap<String, usize>,
    pub agent_peak_rss_bytes: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.cluster_ids.iter().map(String::as_str).collect();
        let calls: Vec<_> = self.aws_calls.iter().map(|(action, count)| format!("{count} {action}")).collect();
        let pause = |paused| if paused { ", with etcd's own pause" } else { "" };
        let rows = [
            ("etcd", self.etcd_version.clone()),
            ("scheme", format!("{:?}", self.scheme).to_lowercase()),
            ("formed", seconds(self.formed_seconds) + pause(self.formed_paused)),
            ("floor (by hand)", seconds(self.floor_formed_seconds) + pause(self.floor_paused)),
            ("replacement votes", seconds(self.replacement_votes_seconds)),
            ("replaced", seconds(self.replaced_seconds)),
            ("grown by two", seconds(self.grown_seconds)),
            ("rebooted", seconds(self.rebooted_seconds)),
            ("disk wiped", seconds(self.wiped_seconds)),
            ("rotated", seconds(self.rotated_seconds)),
            ("members", self.members.to_string()),
            ("cluster id", ids.join(", ")),
            ("data intact", if self.data_intact { "yes" } else { "NO" }.to_owned()),
            ("AWS calls", calls.join(", ")),
            ("agent's peak", format!("{:.1} MiB", self.agent_peak_rss_bytes as f64 / f64::from(1 << 20))),
        ];
        for (name, value) in rows {
            writeln!(f, "  {name:<18} {value}")?;
        }
        Ok(())
    }
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3} s"))
}

/// Several runs, for `--runs`.
#[derive(Debug, Serialize)]
pub struct Benchmark {
    pub median: BTreeMap<&'static str, f64>,
    pub max: BTreeMap<&'static str, f64>,
    pub floor_paused_runs: usize,
    pub formed_paused_runs: usize,
    pub runs: Vec<Report>,
}

impl Benchmark {
    pub fn of(runs: Vec<Report>) -> Self {
        type Column = (&'static str, fn(&Report) -> Option<f64>);
        let columns: [Column; 10] = [
            ("formed_seconds", |run| run.formed_seconds),
            ("formed_after_last_boot_seconds", |run| run.formed_after_last_boot_seconds),
            ("formed_over_http_seconds", |run| run.formed_over_http_seconds),
            ("floor_formed_seconds", |run| run.floor_formed_seconds),
            ("replacement_votes_seconds", |run| run.replacement_votes_seconds),
            ("replaced_seconds", |run| run.replaced_seconds),
            ("floor_replaced_seconds", |run| run.floor_replaced_seconds),
            ("leader_votes_seconds", |run| run.leader_votes_seconds),
            ("forgotten_votes_seconds", |run| run.forgotten_votes_seconds),
            ("two_vote_seconds", |run| run.two_vote_seconds),
        ];
        let sorted = |column: fn(&Report) -> Option<f64>| {
            let mut values: Vec<_> = runs.iter().filter_map(column).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let pick = |at: fn(usize) -> usize| {
            let value = |(name, column): Column| {
                let values = sorted(column);
                values.get(at(values.len())).map(|value| (name, *value))
            };
            columns.into_iter().filter_map(value).collect()
        };
        Self {
            median: pick(|length| length / 2),
            max: pick(|length| length.saturating_sub(1)),
            floor_paused_runs: runs.iter().filter(|run| run.floor_paused).count(),
            formed_paused_runs: runs.iter().filter(|run| run.formed_paused).count(),
            runs,
        }
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {} runs                            median       max", self.runs.len())?;
        for (name, median) in &self.median {
            writeln!(f, "  {name:<34} {median:>7.3} s {:>7.3} s", self.max[name])?;
        }
        let (ours, floor) = (self.formed_paused_runs, self.floor_paused_runs);
        writeln!(f, "  runs with etcd's own pause: {ours}; of the floor's: {floor}")
    }
}

/// A time for the report, whose digits beyond the millisecond mean nothing.
pub fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
