//! What commands leave for Prometheus's textfile collector (node_exporter, "Textfile Collector", read 2026-11-26).
//!
//! What was not seen has no line: a number that stands for "unknown" would be one to a rule. Names and help are the same in
//! every file, as the collector wants it; who wrote it is a label.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use crate::decide::health::Unsound;
use crate::decide::{members_of_own_cluster, soundness};
use crate::exit::Exit;
use crate::model::{Action, Calls, Decision, Observation, Policy, Reason, SnapshotRecord};

/// One pass of `watch`. `certificate` is when the first of those ends that this node shows; None where it shows none.
/// `calls` are those of AWS since the process began, by action.
pub fn metrics(
    o: &Observation,
    p: &Policy,
    decision: &Decision,
    snapshots: Option<&SnapshotRecord>,
    certificate: Option<SystemTime>,
    calls: &BTreeMap<String, Calls>,
) -> String {
    let mut text = Text::default();
    text.add("last_pass_timestamp_seconds", "When the last pass ended.", Some(since_epoch(o.taken_at)));
    let sound = match soundness(o, p) {
        Ok(_) => Some(1),
        Err(Unsound::Ill(_)) => Some(0),
        Err(Unsound::Unknown(_)) => None,
    };
    text.add("sound", "Whether the cluster is sound, as status says it.", sound);
    let group = o.group.ok();
    text.add("desired_members", "How many instances the group wants.", group.map(|group| group.desired));
    let tagged = group.map(|group| u8::from(group.cluster_tag.is_some()));
    text.add("cluster_tagged", "Whether the group has the tag that names its cluster.", tagged);
    let list = members_of_own_cluster(o);
    let count = |learner| list.map(|list| list.iter().filter(|m| m.published() && m.learner == learner).count());
    text.add("voters", "Published voters of the cluster.", count(false));
    text.add("learners", "Published learners of the cluster.", count(true));
    let unstarted = list.map(|list| list.iter().filter(|m| !m.published()).count());
    text.add("unstarted_members", "Members that were added and have not started.", unstarted);
    text.add("certificate_expiry_timestamp_seconds", CERTIFICATE, certificate.map(since_epoch));
    let newest = snapshots.and_then(|record| record.newest.as_ref());
    let begun = newest.map(|newest| since_epoch(newest.name.at));
    text.add("snapshot_timestamp_seconds", "When the slot of the newest snapshot began.", begun);
    text.add("snapshot_bytes", "The size of the newest snapshot.", newest.map(|newest| newest.bytes));
    let ran = snapshots.map(|record| since_epoch(record.at));
    text.add("snapshot_run_timestamp_seconds", "When snapshot ran last.", ran);
    let failed = snapshots.map(|record| u8::from(record.trouble.is_some()));
    text.add("snapshot_run_failed", "Whether something was in the way of that run.", failed);
    text.labelled("reason", "Why the last pass decided as it did.", &[("reason", decision.reason.code())], 1);
    let by_action = |of: fn(&Calls) -> u64| calls.iter().map(move |(action, calls)| (action.as_str(), of(calls)));
    text.count("aws_calls_total", "Calls of AWS since watch began.", by_action(|calls| calls.made));
    let help = "Those that AWS refused because there were too many in the account.";
    text.count("aws_throttled_calls_total", help, by_action(|calls| calls.throttled));
    text.0
}

const CERTIFICATE: &str = "When the certificate ends that this node shows, or ended.";

/// How a run has ended.
pub struct Ended<'a> {
    /// `run`, `ready`, or `consumer`, which is `run --proxy-mode`.
    pub command: &'a str,
    /// When.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// How.
    pub exit: Exit,
    /// What was decided last; None where it did not come to that.
    pub decision: Option<&'a Decision>,
    /// The calls of AWS that it made, by action.
    pub calls: &'a BTreeMap<String, Calls>,
}

/// One run of a command that ends.
pub fn run_metrics(ended: &Ended<'_>) -> String {
    let command = [("command", ended.command)];
    let mut text = Text::default();
    text.labelled("run_timestamp_seconds", "When the last run ended.", &command, since_epoch(ended.at));
    text.labelled("run_duration_seconds", "How long it took.", &command, format!("{:.3}", ended.took.as_secs_f64()));
    text.labelled("run_exit_code", "How it ended: see the exit codes.", &command, ended.exit as u8);
    let all = |of: fn(&Calls) -> u64| ended.calls.values().map(of).sum::<u64>();
    text.labelled("run_aws_calls", "Calls of AWS that it made.", &command, all(|calls| calls.made));
    text.labelled(
        "run_aws_throttled_calls",
        "Those that were refused as too many.",
        &command,
        all(|calls| calls.throttled),
    );
    if let Some(Decision { reason, action }) = ended.decision {
        let labels = [("command", ended.command), ("reason", Reason::code(reason))];
        text.labelled("run_reason", "Why the last run ended as it did.", &labels, 1);
        if let Action::Follow(followed) = action {
            text.add("consumer_endpoints", "Endpoints of the cluster.", Some(followed.endpoints.len()));
        }
    }
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    /// A gauge; None has no line.
    fn add(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.labelled(name, help, &[], value);
        }
    }

    fn labelled(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: impl Display) {
        self.begin(name, help, "gauge");
        self.line(name, labels, value);
    }

    /// A counter by action.
    fn count<'a>(&mut self, name: &str, help: &str, actions: impl Iterator<Item = (&'a str, u64)>) {
        self.begin(name, help, "counter");
        actions.for_each(|(action, value)| self.line(name, &[("action", action)], value));
    }

    fn begin(&mut self, name: &str, help: &str, kind: &str) {
        let _ = write!(self.0, "# HELP etcd_bootstrap_{name} {help}\n# TYPE etcd_bootstrap_{name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "etcd_bootstrap_{name}{labels} {value}");
    }
}

fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
