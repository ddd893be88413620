//! What a person, or a machine, is shown of an observation and its decision: the dry run, `status`, `explain`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::decide::{Verdict, is_stranger, judge, listed_members};
use crate::model::{
    Action, Blind, CLUSTER_TAG, ClusterId, Decision, Member, Observation, OwnData, PeerAnswer, Policy, Probe, Reason,
    Role, Seen,
};

/// A decision with all that led to it.
#[derive(Debug, Serialize)]
pub struct Report {
    pub node: String,
    pub own_data: OwnData,
    /// The etcd that this node would start; None where it makes no difference.
    pub etcd: Option<String>,
    pub group: String,
    pub instances: Vec<InstanceRow>,
    pub members: Vec<MemberRow>,
    pub decision: &'static str,
    pub reason: Reason,
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
    pub instance: String,
    pub lifecycle_state: String,
    pub ec2_state: String,
    pub address: String,
    /// What its etcd ports say.
    pub says: String,
}

/// One member of a cluster.
#[derive(Debug, Serialize)]
pub struct MemberRow {
    pub member: String,
    pub role: &'static str,
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
        calls: calls(&decision.action),
        file,
    }
}

/// The decision's name, as in the log.
pub fn name(action: &Action) -> &'static str {
    match action {
        Action::Wait => "wait",
        Action::Refuse => "refuse",
        Action::Remove { .. } => "remove",
        Action::Add { .. } => "add",
        Action::SetDataAside { .. } => "set-data-aside",
        Action::BeginRecord => "begin-record",
        Action::Agree(_) => "agree",
        Action::GiveUp { .. } => "give-up",
        Action::TagGroup { .. } => "tag-group",
        Action::Start(_) => "start",
        Action::Follow { .. } => "follow",
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

/// The table of `status`, and whether the cluster is sound.
pub fn status(o: &Observation, p: &Policy) -> (Vec<BTreeMap<&'static str, String>>, Result<String, String>) {
    let listed = listed_members(o);
    let rows = instance_rows(o).into_iter().map(|row| {
        let probe = o.probes.iter().find(|x| x.instance.as_ref().is_some_and(|id| id.as_str() == row.instance));
        status_row(row, probe, &listed.values().copied().collect::<Vec<_>>())
    });
    (rows.collect(), soundness(o, p))
}

/// The columns of `status`, in their order.
pub const STATUS_COLUMNS: [&str; 7] = ["instance", "lifecycle", "address", "member", "role", "version", "health"];

fn status_row(row: InstanceRow, probe: Option<&Probe>, listed: &[&Member]) -> BTreeMap<&'static str, String> {
    let member = probe.and_then(|probe| listed.iter().find(|m| m.peer_urls.contains(&probe.url)));
    let view = probe.and_then(|probe| probe.client.as_ref()?.as_ref().ok());
    let leads = view.is_some_and(|v| v.leader == Some(v.member_id));
    let role = member.map_or("-", |m| if leads { "leader" } else { role(m) });
    let health = match view {
        Some(view) if view.quorum_list.ok().is_some() => "healthy".to_owned(),
        Some(view) if view.learner && view.leader.is_some() => "in sync or catching up".to_owned(),
        Some(_) => "no quorum".to_owned(),
        None => row.says,
    };
    BTreeMap::from([
        ("instance", row.instance),
        ("lifecycle", row.lifecycle_state),
        ("address", row.address),
        ("member", member.map_or_else(|| "-".to_owned(), |m| m.id.to_string())),
        ("role", role.to_owned()),
        ("version", view.map_or_else(|| "-".to_owned(), |v| v.version.clone())),
        ("health", health),
    ])
}

/// What is wrong with the group's tag: that there is none though a cluster is formed, or that it names another; None
/// where it is as it must be, or nothing is known of group or cluster. Without it, a group that loses its disks or is
/// replaced as a whole gets a second, empty cluster.
pub fn tag_fault(o: &Observation) -> Option<String> {
    let answering = o.probes.iter().filter_map(|probe| probe.client.as_ref()?.as_ref().ok());
    let confirmed = answering.filter(|view| view.quorum_list.ok().is_some()).map(|view| view.cluster_id);
    let cluster = match &o.own_data {
        OwnData::Log { cluster_id, had_leader: true, .. } => Some(*cluster_id),
        _ => confirmed.min(),
    }?;
    match &o.group.ok()?.cluster_tag {
        None => Some(format!("the group has no tag '{CLUSTER_TAG}', which must name its cluster {cluster}")),
        Some(tag) if !cluster.is_meant_by(tag) => {
            Some(format!("the group's tag '{CLUSTER_TAG}' names cluster {tag}, and its cluster is {cluster}"))
        }
        Some(_) => None,
    }
}

/// What a person must know where the cluster lists members by another scheme than the options have: switching TLS on
/// by the options alone switches nothing on (F100). None where all is as the options say.
pub fn other_scheme(o: &Observation, p: &Policy) -> Option<String> {
    let other = |m: &&Member| m.peer_urls.iter().any(|url| url.scheme() != p.peer_scheme);
    let views = o.probes.iter().filter_map(|probe| probe.client.as_ref()?.as_ref().ok());
    let confirmed = views.filter_map(|view| view.quorum_list.ok()).flatten().map(|m| (m.id, m));
    let all: BTreeMap<_, _> = confirmed.chain(listed_members(o)).collect();
    let listed: Vec<String> = all.into_values().filter(other).map(ToString::to_string).collect();
    let said = format!(
        "--etcd-peer-scheme is {}, but the cluster lists {}: their etcds listen as they are listed, whatever the options \
         say. For one member after another: `etcdctl member update ID --peer-urls=URL`, then restart its node",
        p.peer_scheme,
        listed.join(", "),
    );
    (p.role == Role::Member && !listed.is_empty()).then_some(said)
}

/// Sound: one cluster with a quorum, every instance of the group a voter, no member without a living instance, and the
/// group's tag names it.
fn soundness(o: &Observation, p: &Policy) -> Result<String, String> {
    let blind = |blind: &Blind| format!("not known: {blind}");
    let group = match &o.group {
        Seen::Yes(group) => group,
        Seen::No(why) => return Err(blind(why)),
    };
    if let Seen::No(why) = &o.ec2 {
        return Err(blind(why));
    }
    let ours = o.probes.iter().filter(|probe| !is_stranger(o, probe));
    let views = ours.filter_map(|probe| Some((probe, probe.client.as_ref()?.as_ref().ok()?)));
    let ids: Vec<ClusterId> = {
        let mut ids: Vec<ClusterId> = views.clone().map(|(_, view)| view.cluster_id).collect();
        ids.dedup();
        ids
    };
    let Some(list) = views.clone().find_map(|(_, view)| view.quorum_list.ok()) else {
        return Err("not sound: no member answers with a quorum".into());
    };
    if ids.len() > 1 {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        return Err(format!("not sound: several clusters answer: {}", ids.join(", ")));
    }
    let unfit = list.iter().filter(|m| m.learner || !m.published()).map(ToString::to_string);
    let dead = list.iter().filter(|m| matches!(judge(o, p, m), Verdict::Dead(_))).map(ToString::to_string);
    let serving = views.filter(|(_, view)| view.quorum_list.ok().is_some()).count();
    let desired = group.desired;
    let faults: Vec<String> = unfit
        .map(|m| format!("{m} is no voter yet"))
        .chain(dead.map(|m| format!("{m} is dead")))
        .chain(tag_fault(o))
        .collect();
    if !faults.is_empty() {
        return Err(format!("not sound: {}", faults.join("; ")));
    }
    if list.len() != desired || serving != list.len() {
        return Err(format!("not sound: {serving} of {} members serve, {desired} instances are desired", list.len()));
    }
    let id = ids.first().map(ToString::to_string).unwrap_or_default();
    Ok(format!("sound: cluster {id}, {serving} of {desired} members serve"))
}

fn instance_rows(o: &Observation) -> Vec<InstanceRow> {
    let Seen::Yes(group) = &o.group else { return Vec::new() };
    let row = |(id, state): (&crate::model::InstanceId, &String)| {
        let ec2 = o.ec2.ok().and_then(|ec2| ec2.found.get(id));
        let probe = o.probes.iter().find(|probe| probe.instance.as_ref() == Some(id));
        let me = o.me.ok().is_some_and(|me| me.instance == *id);
        InstanceRow {
            instance: id.to_string(),
            lifecycle_state: state.clone(),
            ec2_state: ec2.map_or_else(|| "unknown".to_owned(), |i| i.state.clone()),
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
        PeerAnswer::Member(view) => match &view.cluster_version {
            Some(_) => format!("member of {}{}", view.cluster_id, client()),
            None => format!("forming {}", view.cluster_id),
        },
        PeerAnswer::Founding(said) => match &said.founders {
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
pub fn calls(action: &Action) -> Vec<String> {
    match action {
        Action::Remove { member, via } => vec![format!("MemberRemove {member} at {via}")],
        Action::Add { peer_url, as_learner, via } => {
            vec![format!("MemberAdd {peer_url} at {via}, as {}", if *as_learner { "learner" } else { "voter" })]
        }
        Action::TagGroup { group, tags } => {
            let tags =
                tags.iter().map(|(key, value)| format!("CreateOrUpdateTags {key}='{value}' of the group {group}"));
            tags.collect()
        }
        Action::SetDataAside { .. } => vec!["rename member/ in the data directory".to_owned()],
        Action::BeginRecord => vec!["write the founder's record in the data directory".to_owned()],
        Action::Agree(agreement) => {
            vec![format!("put on record in the data directory: cluster {} is agreed", agreement.cluster)]
        }
        Action::GiveUp { cluster } => {
            vec![format!("put on record in the data directory: cluster {cluster} is given up")]
        }
        Action::Wait | Action::Refuse | Action::Start(_) | Action::Follow { .. } => Vec::new(),
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
