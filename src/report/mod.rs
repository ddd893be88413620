//! What a person, or a machine, is shown of an observation and its decision: the dry run, `status`, `explain`.

mod doctor;
mod metrics;
mod plan;
mod snapshots;
mod status;
mod table;

use std::fmt::Write as _;

use serde::Serialize;

pub use self::doctor::Diagnosis;
pub use self::metrics::{Ended, metrics, run_metrics};
pub use self::plan::Plan;
pub use self::snapshots::Snapshots;
pub use self::status::Status;
pub use self::table::health_table;
use crate::decide::{Verdict, judge, listed_members};
use crate::model::{
    Action, Change, Decision, InstanceId, LifecycleState, Member, Observation, OwnData, PeerAnswer, Policy, Probe,
    Reason, Seen,
};

/// A decision with all that led to it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// This node.
    pub node: String,
    /// What its data directory holds.
    pub own_data: OwnData,
    /// The etcd that this node would start; None where it makes no difference.
    pub etcd: Option<String>,
    /// The group, in a line.
    pub group: String,
    /// Those of the group.
    pub instances: Vec<InstanceRow>,
    /// Those that anybody lists.
    pub members: Vec<MemberRow>,
    /// As in the log.
    pub decision: &'static str,
    /// Why, as data.
    pub reason: Reason,
    /// Why, as a sentence.
    pub why: String,
    /// What a person can do; None where nothing has to be done.
    pub advice: Option<String>,
    /// The calls that change something, which a dry run does not make.
    pub calls: Vec<String>,
    /// The environment file that would be written; None when none would.
    pub file: Option<String>,
}

/// One instance of the group.
#[derive(Debug, Serialize)]
pub struct InstanceRow {
    /// Its id.
    pub instance: String,
    /// By Auto Scaling.
    pub lifecycle_state: String,
    /// By EC2; `unknown` where it was not asked or does not know.
    pub ec2_state: String,
    /// Its address; `-` without.
    pub address: String,
    /// What its etcd ports say.
    pub says: String,
}

/// One member of a cluster.
#[derive(Debug, Serialize)]
pub struct MemberRow {
    /// Its id, name and first peer URL.
    pub member: String,
    /// Voter or learner, started or not.
    pub role: &'static str,
    /// What becomes of it, and why.
    pub verdict: String,
}

/// Puts the report together; `file` is what would be written.
pub fn report(o: &Observation, p: &Policy, decision: &Decision, file: Option<String>) -> Report {
    Report {
        node: match &o.me {
            Seen::Yes(me) => format!("{} in {} ({})", me.instance, me.zone, address(&me.addresses)),
            Seen::No(blind) => blind.to_string(),
        },
        own_data: o.own_data.clone(),
        etcd: o.etcd.as_ref().map(|etcd| match etcd {
            Seen::Yes(version) => version.to_string(),
            Seen::No(blind) => format!("not known: {blind}"),
        }),
        group: group_line(o),
        instances: instance_rows(o),
        members: listed_members(o).into_values().map(|m| member_row(o, p, m)).collect(),
        decision: name(&decision.action),
        reason: decision.reason.clone(),
        why: decision.reason.to_string(),
        advice: decision.reason.advice(),
        calls: calls(o, &decision.action),
        file,
    }
}

/// The decision's name, as in the log.
pub fn name(action: &Action) -> &'static str {
    match action {
        Action::Wait => "wait",
        Action::Refuse => "refuse",
        Action::Change(change) => match change {
            Change::Remove { .. } => "remove",
            Change::Add { .. } => "add",
            Change::Promote { .. } => "promote",
            Change::SetDataAside { .. } => "set-data-aside",
            Change::BeginRecord => "begin-record",
            Change::Agree(_) => "agree",
            Change::GiveUp { .. } => "give-up",
            Change::TagGroup { .. } => "tag-group",
            Change::MoveLeader { .. } => "move-leader",
            Change::MarkLeft(_) => "mark-left",
            Change::CompleteHook { .. } => "complete-hook",
            Change::KeepWaiting { .. } => "keep-waiting",
        },
        Action::Start(_) => "start",
        Action::Follow(_) => "follow",
        Action::Serve { .. } => "serve",
        Action::Rest => "rest",
    }
}

impl Report {
    /// The report as a person reads it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |head: &str, body: &str| {
            let _ = writeln!(text, "{head:<11}{body}");
        };
        line("node", &self.node);
        line("own data", &own_data_line(&self.own_data));
        if let Some(etcd) = &self.etcd {
            line("etcd", etcd);
        }
        line("group", &self.group);
        for row in &self.instances {
            let states = format!("{}/{}", row.lifecycle_state, row.ec2_state);
            line("  instance", &format!("{}  {states:<20} {:<15}  {}", row.instance, row.address, row.says));
        }
        for row in &self.members {
            line("  member", &format!("{}  {}: {}", row.member, row.role, row.verdict));
        }
        line("decision", &format!("{} ({})", self.decision, self.reason.code()));
        line("because", &self.why);
        if let Some(advice) = &self.advice {
            line("advice", advice);
        }
        for call in &self.calls {
            line("call", call);
        }
        if let Some(file) = &self.file {
            line("file", "");
            for variable in file.lines() {
                line("", variable);
            }
        }
        text
    }
}

fn instance_rows(o: &Observation) -> Vec<InstanceRow> {
    let Seen::Yes(group) = &o.group else { return Vec::new() };
    let row = |(id, state): (&InstanceId, &LifecycleState)| {
        let ec2 = o.ec2.ok().and_then(|ec2| ec2.found.get(id));
        let probe = o.probes.iter().find(|probe| probe.instance.as_ref() == Some(id));
        let me = o.me.ok().is_some_and(|me| me.instance == *id);
        InstanceRow {
            instance: id.to_string(),
            lifecycle_state: state.to_string(),
            ec2_state: ec2.map_or_else(|| "unknown".to_owned(), |i| i.state.to_string()),
            address: ec2.map_or_else(|| "-".to_owned(), |i| address(&i.addresses)),
            says: match probe {
                None if me => "this node".to_owned(),
                None => "not asked".to_owned(),
                Some(probe) => says(probe),
            },
        }
    };
    group.instances.iter().map(row).collect()
}

fn says(probe: &Probe) -> String {
    let client = || match &probe.client {
        None => String::new(),
        Some(Err(absence)) => format!("; client port: {absence}"),
        Some(Ok(view)) => match &view.quorum_list {
            Seen::Yes(_) => format!("; serves, etcd {}", view.version),
            Seen::No(blind) => format!("; no quorum: {blind}"),
        },
    };
    match &probe.peer {
        PeerAnswer::Etcd(view) => match &view.cluster_version {
            Some(_) => format!("member of {}{}", view.cluster_id, client()),
            None => format!("forming {}", view.cluster_id),
        },
        PeerAnswer::Agent(said) => match &said.founders {
            Some(founders) => format!("waits without data, founders {founders}"),
            None => "waits without data".to_owned(),
        },
        PeerAnswer::Absent(absence) => format!("{absence}{}", client()),
    }
}

fn member_row(o: &Observation, p: &Policy, m: &Member) -> MemberRow {
    let verdict = match judge(o, p, m) {
        Verdict::Me => "this node".to_owned(),
        Verdict::Alive(why) => format!("stays: {why}"),
        Verdict::Dead(proof) => format!("dead: {proof}"),
        Verdict::Unknown(why) => format!("stays, too little is known: {why}"),
        Verdict::Foreign(why) => format!("stays, foreign: {why}"),
    };
    MemberRow { member: m.to_string(), role: role(m), verdict }
}

fn role(m: &Member) -> &'static str {
    match (m.published(), m.learner) {
        (false, true) => "learner, not started",
        (false, false) => "voter, not started",
        (true, true) => "learner",
        (true, false) => "voter",
    }
}

/// The calls that a decision makes, each in words.
pub fn calls(o: &Observation, action: &Action) -> Vec<String> {
    let change = match action {
        Action::Change(change) => change,
        Action::Wait | Action::Refuse | Action::Start(_) | Action::Follow(_) | Action::Serve { .. } | Action::Rest => {
            return Vec::new();
        }
    };
    match change {
        Change::Remove { member, via } => vec![format!("MemberRemove {member} at {via}")],
        Change::Add { peer_url, vote, via } => vec![format!("MemberAdd {peer_url} at {via}, as {vote}")],
        Change::Promote { member, via } => {
            via.first().map(|via| format!("MemberPromote {member} at {via}")).into_iter().collect()
        }
        Change::TagGroup { group, tags } => {
            let is_plain = o.group.ok().is_some_and(|group| group.plain.is_some());
            let (call, whose) = if is_plain {
                ("CreateTags", format!("all instances with the tag {group}"))
            } else {
                ("CreateOrUpdateTags", format!("the group {group}"))
            };
            tags.iter().map(|(key, value)| format!("{call} {key}='{value}' of {whose}")).collect()
        }
        Change::MoveLeader { to, via } => vec![format!("MoveLeader to {to} at {via}")],
        Change::CompleteHook { group, hook, instance } => {
            vec![format!("CompleteLifecycleAction {hook} of {instance} in the group {group}")]
        }
        Change::KeepWaiting { group, hook, instance } => {
            vec![format!("RecordLifecycleActionHeartbeat {hook} of {instance} in the group {group}")]
        }
        Change::MarkLeft(_) => vec!["write left.json in the state directory".to_owned()],
        Change::SetDataAside { .. } => vec!["rename member/ in the data directory".to_owned()],
        Change::BeginRecord => vec!["write the founder's record in the data directory".to_owned()],
        Change::Agree(agreement) => {
            vec![format!("put on record in the data directory: cluster {} is agreed", agreement.cluster)]
        }
        Change::GiveUp { cluster } => {
            vec![format!("put on record in the data directory: cluster {cluster} is given up")]
        }
    }
}

fn group_line(o: &Observation) -> String {
    match &o.group {
        Seen::No(blind) => blind.to_string(),
        Seen::Yes(group) => {
            let tag = group.cluster_tag.as_deref().unwrap_or("none");
            let founding =
                group.founding_tag.as_ref().map(|tag| format!(", tagged founding: {tag}")).unwrap_or_default();
            let (instances, desired) = (group.instances.len(), group.desired);
            format!("{}: {instances} instances, {desired} desired, tagged cluster: {tag}{founding}", group.name)
        }
    }
}

fn own_data_line(data: &OwnData) -> String {
    match data {
        OwnData::Empty => "none".to_owned(),
        OwnData::NoLog => "a database without a write-ahead log".to_owned(),
        OwnData::Unreadable { why } => why.clone(),
        OwnData::Log { cluster_id, member_id, had_leader, .. } => {
            let led = if *had_leader { "" } else { ", which never had a leader" };
            format!("member {member_id} of cluster {cluster_id}{led}")
        }
    }
}

fn address(addresses: &crate::model::Addresses) -> String {
    addresses.ip().map_or_else(|| "-".to_owned(), |ip| ip.to_string())
}
