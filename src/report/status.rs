//! What `status` tells programs. `docs/status.schema.json` says the same, and a test holds the one against the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::Serialize;

use super::health_table;
use crate::decide::health::{Cause, Unsound, clusters};
use crate::decide::{Health, Standing};
use crate::model::{
    ClusterId, Database, Ec2State, InstanceId, LifecycleState, Member, MemberId, MemberUrl, Observation,
};

/// Grows when a program that reads it would misread it.
const SCHEMA_VERSION: u32 = 1;

/// The group's cluster, and whether it is sound.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    /// Of what follows.
    pub schema_version: u32,
    /// The group's name; None where it could not be read.
    pub group: Option<&'a str>,
    /// How many instances the group is to have.
    pub desired: Option<usize>,
    /// The one cluster whose members answer; None where none does, or several.
    pub cluster_id: Option<ClusterId>,
    /// All of those.
    pub clusters: BTreeSet<ClusterId>,
    /// None where that is not known.
    pub sound: Option<bool>,
    /// What weighs most against it; None where nothing does.
    pub reason: Option<Cause>,
    /// For people, in a line.
    pub summary: String,
    /// All that is not as it must be, a sentence each.
    pub ills: Vec<String>,
    /// Those that anybody lists.
    pub members: Vec<MemberStatus<'a>>,
    /// The table for people: one row an instance of the group, by column.
    pub nodes: Vec<BTreeMap<&'static str, String>>,
}

/// One member.
#[derive(Debug, Serialize)]
pub struct MemberStatus<'a> {
    /// Its id.
    pub id: MemberId,
    /// Empty for one that has not started yet.
    pub name: &'a str,
    /// Where its peers reach it.
    pub peer_urls: &'a [MemberUrl],
    /// The instance that it stands for; None where it stands for none that is known.
    pub instance: Option<InstanceId>,
    /// What EC2 says of that; None where it says nothing.
    pub ec2_state: Option<&'a Ec2State>,
    /// What its group says of it; None where it is not of the group.
    pub lifecycle_state: Option<&'a LifecycleState>,
    /// `voter` or `learner`; `unstarted` before its etcd has ever run inside the cluster.
    pub role: &'static str,
    /// Whether it leads.
    pub leads: bool,
    /// How it is.
    pub verdict: Standing,
    /// What speaks for that, for people.
    pub why: Option<String>,
    /// How many entries of the log it has yet to apply.
    pub lag: Option<u64>,
    /// Its alarms, by whichever member tells of them: `NOSPACE`, `CORRUPT`.
    pub alarms: BTreeSet<String>,
    /// All that its etcd finds wrong, in etcd's words; the alarms of others are among it.
    pub faults: &'a [String],
    /// None where its client port told nothing.
    pub database: Option<Database>,
    /// Its etcd's version.
    pub version: Option<&'a str>,
    /// The end of the certificate that its peer port shows, or its client port where the other lets nobody in, RFC 3339;
    /// None in the clear, and where neither does.
    pub certificate_until: Option<String>,
}

impl<'a> Status<'a> {
    /// Puts it together; `ends` are of the certificates that client ports show.
    pub fn new(
        o: &'a Observation,
        members: &'a [Health<'a>],
        ends: &BTreeMap<MemberId, SystemTime>,
        sound: &Result<String, Unsound>,
    ) -> Self {
        let clusters = clusters(o);
        let unsound = sound.as_ref().err();
        Self {
            schema_version: SCHEMA_VERSION,
            group: o.group.ok().map(|group| group.name.as_str()),
            desired: o.group.ok().map(|group| group.desired),
            cluster_id: clusters.first().copied().filter(|_| clusters.len() == 1),
            clusters,
            sound: match sound {
                Ok(_) => Some(true),
                Err(Unsound::Ill(_)) => Some(false),
                Err(Unsound::Unknown(_)) => None,
            },
            reason: unsound.and_then(Unsound::cause),
            summary: sound.as_ref().map_or_else(ToString::to_string, Clone::clone),
            ills: unsound.map(Unsound::ills).unwrap_or_default().into_iter().map(str::to_owned).collect(),
            members: members.iter().map(|health| MemberStatus::new(o, health, ends.get(&health.member.id))).collect(),
            nodes: health_table(o, members).rows,
        }
    }
}

impl<'a> MemberStatus<'a> {
    fn new(o: &'a Observation, health: &'a Health<'a>, end: Option<&SystemTime>) -> Self {
        let Health { member, instance, view, peer, .. } = health;
        let known = instance.as_ref().and_then(|id| o.ec2.ok()?.found.get(id));
        let until = peer.and_then(|peer| peer.certificate_until).or(end.copied());
        Self {
            id: member.id,
            name: &member.name,
            peer_urls: &member.peer_urls,
            ec2_state: known.map(|instance| &instance.state),
            lifecycle_state: instance.as_ref().and_then(|id| o.group.ok()?.instances.get(id)),
            instance: instance.clone(),
            role: role(member),
            leads: health.leads,
            verdict: health.standing,
            why: health.why.clone(),
            lag: health.behind,
            alarms: alarms(o, member.id),
            faults: view.map(|view| view.faults.as_slice()).unwrap_or_default(),
            database: view.and_then(|view| view.database),
            version: view.map(|view| view.version.as_str()).or_else(|| Some((*peer)?.server_version.as_str())),
            certificate_until: until.map(|end| humantime::format_rfc3339_seconds(end).to_string()),
        }
    }
}

fn role(member: &Member) -> &'static str {
    match (member.published(), member.learner) {
        (false, _) => "unstarted",
        (true, true) => "learner",
        (true, false) => "voter",
    }
}

/// Every member tells of the alarms of all: `memberID:10501334649042878790 alarm:NOSPACE`, with the id in decimal.
fn alarms(o: &Observation, member: MemberId) -> BTreeSet<String> {
    let views = o.probes.iter().filter_map(|probe| probe.client.as_ref()?.as_ref().ok());
    let of_member = |fault: &String| {
        let mut words = fault.split_whitespace();
        let id = words.next()?.strip_prefix("memberID:")?.parse().ok()?;
        let alarm = words.next()?.strip_prefix("alarm:")?;
        (MemberId(id) == member).then(|| alarm.to_owned())
    };
    views.flat_map(|view| &view.faults).filter_map(of_member).collect()
}
