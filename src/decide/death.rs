//! Who is dead: what is known of a member's instance, and for how long that has been so.

use std::net::IpAddr;
use std::time::Duration;

use super::view::{continued, elapsed, is_stranger, own_group};
use crate::model::{
    Absence, Ec2, Group, Identity, Instance, InstanceId, Member, MemberUrl, Observation, PeerAnswer, Policy, Probe,
    Proof, Seen, Sighting,
};

/// How long a member whose instance EC2 has forgotten must have been silent. It has to outlast the lag of EC2's own
/// reads ("eventual consistency", EC2 developer guide), which is seconds; the instance is unknown to two APIs already.
pub const FORGOTTEN_GRACE: Duration = Duration::from_secs(10);

/// The same for a member that was added and never started, known by its address only. Longer, because the evidence is
/// only that no instance of the group has that address, and a group list that lags could lack a node about to start.
pub const NEVER_STARTED_GRACE: Duration = Duration::from_secs(60);

/// The same for an instance that its group terminates: it never serves again, and has had time to leave by itself.
pub const LEAVING_GRACE: Duration = Duration::from_secs(30);

/// What is known of a member's instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This node.
    Me,
    /// Never removed; why.
    Alive(String),
    /// Gone for good.
    Dead(Proof),
    /// Too little is known, or not for long enough; why.
    Unknown(String),
    /// Belongs to no instance, past or present (F45); why.
    Foreign(String),
}

/// Judges one member. Only positive evidence makes it dead; silence alone never does (F33-F38).
pub fn judge(o: &Observation, p: &Policy, m: &Member) -> Verdict {
    match own_group(o) {
        Ok((me, group, ec2)) => judge_by(o, p, (Some(me), group, ec2), m),
        Err(reason) => Verdict::Unknown(reason.to_string()),
    }
}

/// The same for who only looks: from outside, no reply has to hold the one who asks, and nothing is removed on this word.
pub(super) fn judge_from_anywhere(o: &Observation, p: &Policy, m: &Member) -> Verdict {
    match (&o.group, &o.ec2) {
        (Seen::Yes(group), Seen::Yes(ec2)) if o.is_from_outside() => judge_by(o, p, (None, group, ec2), m),
        (Seen::Yes(_) | Seen::No(_), _) => judge(o, p, m),
    }
}

fn judge_by(o: &Observation, p: &Policy, (me, group, ec2): (Option<&Identity>, &Group, &Ec2), m: &Member) -> Verdict {
    let Some(owner) = owner_of(m, ec2, group) else { return judge_unowned(o, p, (me, ec2), m) };
    if me.is_some_and(|me| me.instance == owner) {
        return Verdict::Me;
    }
    let proof = ec2_proof(ec2, &owner).or_else(|| leaving_proof(o, &owner).filter(|_| silent(o, p, m)));
    if let Some(proof) = proof {
        return contradiction(o, me, ec2, &owner, m).map_or(Verdict::Dead(proof), Verdict::Alive);
    }
    match (ec2.found.get(&owner), group.instances.get(&owner)) {
        (Some(i), _) => Verdict::Alive(format!("EC2 says that {owner} is {}", i.state)),
        (None, Some(state)) => Verdict::Alive(format!("the group lists {owner} as {state}")),
        (None, None) if !ec2.asked.contains(&owner) => {
            Verdict::Unknown(format!("EC2 has not been asked about {owner} yet"))
        }
        (None, None) if !silent(o, p, m) => {
            Verdict::Alive(format!("EC2 does not know {owner}, but its peer port is not silent"))
        }
        (None, None) if me.is_some_and(|me| !m.peer_urls.iter().any(|url| in_vpc(me, url))) => {
            Verdict::Foreign(format!("EC2 does not know {owner}, and its address is not in this VPC"))
        }
        (None, None) => match confirmed_silence(o, p, m, FORGOTTEN_GRACE) {
            Some(silent_for) => Verdict::Dead(Proof::Forgotten { instance: owner, silent_for }),
            None => Verdict::Unknown(format!("EC2 does not know {owner}; a later read must confirm it")),
        },
    }
}

/// A member with no instance to its name. One that never started and whose address nobody in the group holds was left
/// behind by a node that died between its add and its start (F26).
fn judge_unowned(o: &Observation, p: &Policy, (me, ec2): (Option<&Identity>, &Ec2), m: &Member) -> Verdict {
    // At a further address of an instance may be a container's etcd, which a person adds just now.
    let held = ec2.found.values().any(|i| m.peer_urls.iter().any(|url| i.has(url)));
    let near = me.is_some_and(|me| m.peer_urls.iter().any(|url| in_vpc(me, url)));
    let never_started = m.name.is_empty() && !m.published() && !held && near;
    match confirmed_silence(o, p, m, NEVER_STARTED_GRACE) {
        Some(silent_for) if never_started => Verdict::Dead(Proof::NeverStarted { silent_for }),
        Some(silent_for) if p.prune_foreign => Verdict::Dead(Proof::Foreign { silent_for }),
        Some(_) | None => Verdict::Foreign("its name and address belong to no instance of this group".to_owned()),
    }
}

/// EC2's own word that an instance is gone for good (F37).
pub(super) fn ec2_proof(ec2: &Ec2, owner: &InstanceId) -> Option<Proof> {
    let i = ec2.found.get(owner).filter(|i| i.state.has_ended())?;
    Some(Proof::Ec2State { instance: owner.clone(), state: i.state.clone() })
}

/// An instance that its group terminates and that has been silent for long enough. A hook may hold it for hours, and EC2
/// calls it running all that time.
pub(super) fn leaving_proof(o: &Observation, id: &InstanceId) -> Option<Proof> {
    let standing = gone_leaver(o, id)?;
    let silent_for = elapsed(standing.first_seen, o.taken_at);
    let proven = silent_for >= LEAVING_GRACE && standing.reads >= 2;
    proven.then(|| Proof::Leaving { instance: id.clone(), silent_for })
}

/// The passes that found an instance which its group terminates without a sign of life, this one included.
pub(super) fn gone_leaver(o: &Observation, id: &InstanceId) -> Option<Sighting<()>> {
    let group = o.group.ok()?;
    group.instances.get(id).filter(|state| state.is_terminating())?;
    let ended = o.ec2.ok()?.found.get(id).is_some_and(|i| i.state.has_ended());
    let mut ports = o.probes.iter().filter(|probe| probe.instance.as_ref() == Some(id)).peekable();
    let quiet =
        ports.peek().is_some() && ports.all(|probe| is_quiet(&probe.peer) && !matches!(probe.client, Some(Ok(_))));
    let earlier = o.history.as_ref().and_then(|before| before.silent_leavers.get(id));
    (ended || quiet).then(|| continued(earlier, (), o.taken_at, group.read_at))
}

/// What speaks against EC2's word about the instance that a member is named after: an instance which started from a copy
/// of the member's disk has given it its own name (F88). One that waits without data at the address is not the member.
fn contradiction(o: &Observation, me: Option<&Identity>, ec2: &Ec2, owner: &InstanceId, m: &Member) -> Option<String> {
    let at_its_url = |probe: &&Probe| m.peer_urls.contains(&probe.asked) && !is_stranger(o, probe);
    let mut probes = o.probes.iter().filter(at_its_url);
    let state = ec2.found.get(owner).map_or("unknown", |i| i.state.as_str());
    let itself = |probe: &Probe| matches!(&probe.client, Some(Ok(client)) if client.member_id == m.id);
    if let Some(probe) = probes.clone().find(|probe| state == "terminated" && itself(probe)) {
        return Some(format!("EC2 says that {owner} is {state}, but the member answers at {}", probe.asked));
    }
    let without: Vec<&InstanceId> = me.map(|me| &me.instance).into_iter().chain([owner]).collect();
    let (holder, instance) = living_holder(ec2, m, &without)?;
    let vacant = probes.any(|probe| matches!(probe.peer, PeerAnswer::Agent(_)));
    let why = || format!("EC2 says that {owner} is {state}, but its address is that of {holder}, {}", instance.state);
    (!vacant).then(why)
}

/// The instance that a member stands for: by its own word, or else by its address (F26).
pub(super) fn owner_of(m: &Member, ec2: &Ec2, group: &Group) -> Option<InstanceId> {
    m.instance().or_else(|| {
        let holders = ec2.found.iter().filter(|(_, i)| holds(i, m));
        holders
            .min_by_key(|(id, i)| (i.state.has_ended(), !group.instances.contains_key(*id)))
            .map(|(id, _)| id.clone())
    })
}

/// An instance that is not gone and has one of a member's addresses, the given ones left out.
pub(super) fn living_holder<'a>(
    ec2: &'a Ec2,
    m: &Member,
    without: &[&InstanceId],
) -> Option<(&'a InstanceId, &'a Instance)> {
    ec2.found.iter().find(|(id, i)| !without.contains(id) && !i.state.has_ended() && holds(i, m))
}

pub(super) fn holds(i: &Instance, m: &Member) -> bool {
    m.peer_urls.iter().any(|url| i.addresses.hold(url))
}

/// How long a silent member has looked gone if that is long enough and confirmed by a second read of AWS.
fn confirmed_silence(o: &Observation, p: &Policy, m: &Member, grace: Duration) -> Option<Duration> {
    let standing = suspicion(o, m).filter(|_| silent(o, p, m))?;
    Some(elapsed(standing.first_seen, o.taken_at)).filter(|silent_for| *silent_for >= grace && standing.reads >= 2)
}

/// The passes that found a member gone, this one included; None without a group.
pub(super) fn suspicion(o: &Observation, m: &Member) -> Option<Sighting<()>> {
    let earlier = o.history.as_ref().and_then(|b| b.suspects.get(&m.id));
    Some(continued(earlier, (), o.taken_at, o.group.ok()?.read_at))
}

/// Whether nothing of a member comes from any of its peer URLs. What leads to this node's own peer port is nobody
/// else's any more, and a stranger at a URL is not the member.
pub(super) fn silent(o: &Observation, p: &Policy, m: &Member) -> bool {
    let quiet = |probe: &Probe| is_quiet(&probe.peer) || is_stranger(o, probe);
    let own = |url: &MemberUrl| o.me.ok().is_some_and(|me| p.is_peer_url_of(&me.addresses, url));
    m.peer_urls.iter().all(|url| {
        let mut probes = o.probes.iter().filter(|probe| probe.asked == *url).peekable();
        let asked = probes.peek().is_some();
        (asked && probes.all(quiet)) || (!asked && own(url))
    })
}

pub(super) fn is_quiet(answer: &PeerAnswer) -> bool {
    matches!(answer, PeerAnswer::Absent(Absence::Refused | Absence::NoAnswer(_) | Absence::NoName(_)))
}

/// Whether a URL leads into this VPC. All VPCs of a region share one domain, so a name counts only where it holds the
/// address (F93): one that does not cannot be resolved any more when its instance is gone.
fn in_vpc(me: &Identity, url: &MemberUrl) -> bool {
    let address = url.address().or_else(|| {
        let (host, domain) = url.host().split_once('.')?;
        let (_, mine) = me.addresses.dns_name.as_deref()?.split_once('.')?;
        // As EC2 forms it: ip-10-0-0-1.ec2.internal (EC2 user guide, "EC2 instance hostnames", read 2026-11-26).
        let address = host.strip_prefix("ip-")?.replace('-', ".").parse().ok()?;
        domain.eq_ignore_ascii_case(mine).then_some(IpAddr::V4(address))
    });
    address.is_some_and(|address| me.vpc_ranges.iter().any(|range| range.contains(&address)))
}
