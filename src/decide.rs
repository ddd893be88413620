//! The decision: a pure function of an [`Observation`] and a [`Policy`].
//!
//! Owns every rule. Must not wait, log, look at a clock, a disk or a network: what it needs is in the observation.
//! The rules are named after failure catalogue entries (F..) and measured behaviour of etcd (E..), see ARCHITECTURE.md.
//! Next: `apply.rs` carries a decision out, `run.rs` looks again.
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::model::{
    Absence, Action, After, Before, Blind, BlindKind, ClientView, ClusterId, ClusterState, Decision, Ec2, EtcdVersion,
    FounderEntry, Founding, Group, Identity, InitialCluster, Instance, InstanceId, JoinAs, Member, MemberId, MemberUrl,
    Observation, OwnData, PeerAnswer, PeerView, Policy, Probe, Proof, Reason, Role, Seen, Standing, Start, Statement,
    render_initial_cluster,
};

/// Founders' etcds that start in the same instant ask each other while none serves yet, and wait one second a peer
/// (cluster_util.go:41-66, v3.7.1). So each waits until the one before it in the list serves, which takes an etcd some
/// 0.1 s on an idle disk, and at most this long for each one before it.
const FOUNDER_TURN: Duration = Duration::from_millis(300);

/// How long a member whose instance EC2 has forgotten must have been silent. It has to outlast the lag of EC2's own
/// reads ("eventual consistency", EC2 developer guide), which is seconds; the instance is unknown to two APIs already.
pub const FORGOTTEN_GRACE: Duration = Duration::from_secs(10);

/// The same for a member that was added and never started, known by its address only. Longer, because the evidence is
/// only that no instance of the group has that address, and a group list that lags could lack a node about to start.
pub const NEVER_STARTED_GRACE: Duration = Duration::from_secs(60);

/// Founders of a first generation are launched by one scaling activity, within seconds. This must stay below the time
/// in which a cluster may form, lose an instance and get its replacement: that one's list is another, and its majority
/// could be one of nodes that know nothing of the cluster.
const SAME_GENERATION: Duration = Duration::from_secs(60);

/// Decides what to do next.
pub fn decide(o: &Observation, p: &Policy) -> Decision {
    match p.role {
        Role::Consumer => follow(o),
        Role::Member => member(o, p),
    }
}

fn member(o: &Observation, p: &Policy) -> Decision {
    let me = match &o.me {
        Seen::Yes(me) => me,
        Seen::No(blind) => return wait(Reason::MetadataBlind(blind.clone())),
    };
    if let Some(state) = me.target_lifecycle_state.as_deref().filter(|s| s.starts_with("Warmed")) {
        return refuse(Reason::WarmPool { state: state.to_owned() });
    }
    let Some(start) = starting_point(o, me, p) else { return refuse(Reason::NoOwnAddress) };
    match &o.own_data {
        OwnData::Unreadable { why } => refuse(Reason::DataUnreadable { why: why.clone() }),
        OwnData::Log { cluster_id, member_id, had_leader, founders } => {
            let mine = OwnLog { cluster: *cluster_id, member: *member_id, had_leader: *had_leader, founders };
            with_data(o, p, &mine, start)
        }
        OwnData::NoLog | OwnData::Empty => without_data(o, p, me, start),
    }
}

// ---------------------------------------------------------------- a node with data of its own

struct OwnLog<'a> {
    cluster: ClusterId,
    member: MemberId,
    had_leader: bool,
    founders: &'a [FounderEntry],
}

/// Waits for nobody: a whole cluster may be coming back from a power cut while AWS is down (F51, F52).
fn with_data(o: &Observation, p: &Policy, mine: &OwnLog<'_>, start: Start) -> Decision {
    let formed = formed_clusters(o);
    let other = formed.keys().find(|id| **id != mine.cluster);
    match (formed.contains_key(&mine.cluster), other) {
        (false, Some(other)) if mine.had_leader => {
            refuse(Reason::OtherClustersData { mine: mine.cluster, formed: *other })
        }
        (false, Some(other)) => set_aside(Reason::NeverLedOtherFormed { mine: mine.cluster, formed: *other }),
        (false, None) => alone_with_data(o, p, mine, start),
        (true, _) => among_own_cluster(&formed[&mine.cluster], p, mine, start),
    }
}

fn alone_with_data(o: &Observation, p: &Policy, mine: &OwnLog<'_>, start: Start) -> Decision {
    let dead = dead_founders(o, p, mine.founders);
    let may_form = mine.founders.len() - dead.len() >= quorum(mine.founders.len());
    if !mine.had_leader && !mine.founders.is_empty() && !may_form {
        return set_aside(Reason::NeverLedFoundersDead { mine: mine.cluster, dead });
    }
    restart(start, None, Reason::OwnDataNobodyObjects)
}

fn among_own_cluster(cluster: &Cluster<'_>, p: &Policy, mine: &OwnLog<'_>, start: Start) -> Decision {
    let listed = Reason::OwnDataListed { cluster: mine.cluster };
    let confirmed = cluster.confirmed_list().map(|list| (list, list.iter().find(|m| m.id == mine.member)));
    match confirmed {
        Some((list, Some(row))) => restart(start, Some((list, row)), listed),
        None if !cluster.majority_lacks(mine.member) => restart(start, None, Reason::OwnDataNobodyObjects),
        Some((_, None)) | None if p.rejoin => set_aside(Reason::RejoinAfterRemoval { member: mine.member }),
        Some((_, None)) | None => refuse(Reason::RemovedMember { member: mine.member, cluster: mine.cluster }),
    }
}

/// etcd ignores the initial cluster when it has a log (E11). `existing` with the list as known fails closed should
/// the data vanish before etcd starts: it can only join, never create.
fn restart(mut start: Start, own: Option<(&[Member], &Member)>, reason: Reason) -> Decision {
    start.initial_cluster = match own {
        Some((list, row)) => initial_cluster_of(list, row, &mut start),
        None => vec![(start.name.to_string(), start.peer_url.clone())],
    };
    Decision { action: Action::Start(start), reason }
}

/// Founders of one's own log whose instance is proven dead, by name.
fn dead_founders(o: &Observation, p: &Policy, founders: &[FounderEntry]) -> Vec<String> {
    let dead = |f: &&FounderEntry| {
        let member = Member {
            id: MemberId(0),
            name: f.name.clone(),
            peer_urls: f.peer_urls.iter().filter_map(|u| u.parse().ok()).collect(),
            client_urls: Vec::new(),
            learner: false,
        };
        // Only EC2's own word counts here: the other proofs need a standing that is kept by member id.
        matches!(judge(o, p, &member), Verdict::Dead(Proof::Ec2State { .. }))
    };
    founders.iter().filter(dead).map(|f| f.name.clone()).collect()
}

// ---------------------------------------------------------------- a node without data

fn without_data(o: &Observation, p: &Policy, me: &Identity, start: Start) -> Decision {
    let formed = formed_clusters(o);
    let mut ids = formed.keys();
    match (ids.next(), ids.next()) {
        (Some(one), Some(other)) => refuse(Reason::TwoClusters { one: *one, other: *other }),
        (Some(id), None) => join(o, p, me, &formed[id], start),
        (None, _) => before_any_leader(o, p, me, start),
    }
}

fn before_any_leader(o: &Observation, p: &Policy, me: &Identity, start: Start) -> Decision {
    let mut forming: BTreeMap<ClusterId, &PeerView> = BTreeMap::new();
    for view in peer_views(o) {
        forming.entry(view.cluster_id).or_insert(view);
    }
    let mut views = forming.values();
    match (views.next(), views.next()) {
        (Some(one), Some(other)) => wait(Reason::TwoForming { one: one.cluster_id, other: other.cluster_id }),
        (Some(view), None) => adopt(o, p, view, me, start),
        (None, _) => found(o, p, me, start),
    }
}

/// A forming etcd's list is the agreement: it is taken over as it is (F02, F12b, E17). Without a quorum, an etcd up to
/// 3.5 that comes back from a power cut looks the same, and so does a founder that comes late: the tag tells. A founder
/// whose disk is lost must not found the cluster again, or vote twice (F04).
fn adopt(o: &Observation, p: &Policy, view: &PeerView, me: &Identity, mut start: Start) -> Decision {
    let Some(row) = own_row(&view.members, me) else {
        return wait(Reason::FormingWithoutMe { cluster: view.cluster_id });
    };
    let others = o.probes.iter().filter_map(|probe| match &probe.peer {
        PeerAnswer::Member(view) => Some((&probe.url, view)),
        PeerAnswer::Founding(_) | PeerAnswer::Absent(_) => None,
    });
    if let Some(reason) = own_version(o).and_then(|mine| clash(mine, &versions(others))) {
        return refuse(reason);
    }
    let forbidden = match &o.group {
        Seen::No(blind) => Some(Reason::GroupBlind(blind.clone())),
        Seen::Yes(group) => forbids_creation(o, p, group),
    };
    if let Some(reason) = forbidden {
        return wait(reason);
    }
    if let Some(aside) = clear_backend(o) {
        return aside;
    }
    let founders = initial_cluster_of(&view.members, row, &mut start);
    start_new(start, founders, Reason::AdoptForming { cluster: view.cluster_id })
}

/// Creates a cluster by agreement in words, never by the absence of answers (F02, F03, F07).
fn found(o: &Observation, p: &Policy, me: &Identity, start: Start) -> Decision {
    let founders = match settled_founders(o, p) {
        Ok(founders) => founders,
        Err(reason) => return wait(reason),
    };
    let mine = render_initial_cluster(&founders);
    let Some(standing) = standing_founders(o, mine.clone()).filter(|s| s.reads >= 2) else {
        return wait(Reason::SecondRead { what: format!("the founders {mine}") });
    };
    match agreement(o, p, me, &founders, &standing) {
        Err(reason) => wait(reason),
        Ok(reason) => clear_backend(o).unwrap_or_else(|| start_new(start, founders, reason)),
    }
}

fn start_new(mut start: Start, founders: Vec<(String, MemberUrl)>, reason: Reason) -> Decision {
    start.after = predecessor(&founders, &start.name);
    start.state = ClusterState::New;
    start.initial_cluster = founders;
    Decision { action: Action::Start(start), reason }
}

fn predecessor(founders: &[(String, MemberUrl)], own: &InstanceId) -> Option<After> {
    let place = founders.iter().position(|(name, _)| name == own.as_str())?;
    let (_, peer_url) = founders.get(place.checked_sub(1)?)?;
    Some(After { peer_url: peer_url.clone(), at_most: FOUNDER_TURN * u32::try_from(place).unwrap_or(1) })
}

/// The initial cluster that this group asks for, sorted by instance id, when the group is settled (F02, F06, F71).
fn settled_founders(o: &Observation, p: &Policy) -> Result<Vec<(String, MemberUrl)>, Reason> {
    let (me, group, ec2) = own_group(o)?;
    if let Some(reason) = forbids_creation(o, p, group) {
        return Err(reason);
    }
    let eligible: Vec<&InstanceId> =
        group.instances.iter().filter(|(_, state)| may_found(state)).map(|(id, _)| id).collect();
    let other: Vec<String> = group
        .instances
        .iter()
        .filter(|(_, state)| !may_found(state) && !state.starts_with("Warmed"))
        .map(|(id, state)| format!("{id} is {state}"))
        .collect();
    if eligible.len() != group.desired || !other.is_empty() || !eligible.contains(&&me.instance) {
        return Err(Reason::GroupUnsettled { eligible: eligible.len(), desired: group.desired, other });
    }
    eligible.into_iter().map(|id| founder_entry(id, ec2, p)).collect()
}

fn forbids_creation(o: &Observation, p: &Policy, group: &Group) -> Option<Reason> {
    match (p.initial_cluster, &group.cluster_tag) {
        (InitialCluster::Never, _) => Some(Reason::CreationForbidden),
        (InitialCluster::Auto, Some(tag)) => {
            Some(Reason::ClusterTagged { cluster: tag.clone(), unclear: unclear_answers(o) })
        }
        (InitialCluster::Auto, None) | (InitialCluster::Force, _) => None,
    }
}

/// The instances whose ports do speak and may be the tagged cluster, but not so that it could be understood: TLS,
/// rights, or no etcd.
fn unclear_answers(o: &Observation) -> Vec<String> {
    let unclear = o.probes.iter().filter(|probe| match &probe.peer {
        PeerAnswer::Absent(Absence::Tls(_) | Absence::Denied(_) | Absence::NotEtcd(_)) => true,
        PeerAnswer::Absent(Absence::Refused | Absence::NoAnswer(_) | Absence::NoName(_) | Absence::NotAsked) => false,
        PeerAnswer::Member(_) | PeerAnswer::Founding(_) => false,
    });
    unclear.map(|probe| format!("{}: {}", probe.url, said(Some(probe)))).collect()
}

fn founder_entry(id: &InstanceId, ec2: &Ec2, p: &Policy) -> Result<(String, MemberUrl), Reason> {
    let instance = ec2.found.get(id).filter(|i| matches!(i.state.as_str(), "pending" | "running"));
    let url = instance.and_then(|i| p.peer_url(&i.addresses));
    Ok((id.to_string(), url.ok_or_else(|| Reason::FounderWithoutAddress { instance: id.clone() })?))
}

/// Whether enough founders have said that they have no data and see the same list.
fn agreement(
    o: &Observation,
    p: &Policy,
    me: &Identity,
    founders: &[(String, MemberUrl)],
    standing: &Standing<String>,
) -> Result<Reason, Reason> {
    let mut silent: Vec<(InstanceId, Option<&Probe>)> = Vec::new();
    for id in founders.iter().map(|(name, _)| InstanceId::new(name.clone())).filter(|id| *id != me.instance) {
        let probe = o.probes.iter().find(|probe| probe.instance.as_ref() == Some(&id));
        match probe.map(|probe| &probe.peer) {
            Some(PeerAnswer::Founding(theirs)) if theirs.instance == id => {
                same_list(o, &id, theirs, &standing.what)?;
                same_language(o, theirs)?;
            }
            Some(PeerAnswer::Founding(_) | PeerAnswer::Member(_) | PeerAnswer::Absent(_)) | None => {
                silent.push((id, probe))
            }
        }
    }
    let agreed = founders.len() - silent.len();
    if silent.is_empty() {
        return Ok(Reason::FoundersAgree { founders: founders.len() });
    }
    if majority_is_enough(o, p, founders, &silent, standing) {
        let silent = silent.into_iter().map(|(id, _)| id).collect();
        return Ok(Reason::FoundersMajority { agreed, silent });
    }
    let silent = silent.iter().map(|(id, probe)| format!("{id}: {}", said(*probe))).collect();
    Err(Reason::FoundersSilent { silent, agreed, founders: founders.len() })
}

fn same_list(o: &Observation, id: &InstanceId, theirs: &Statement, mine: &str) -> Result<(), Reason> {
    let group = o.group.ok().map(|g| g.arn.as_str());
    if theirs.founders.as_deref() == Some(mine) && Some(theirs.group.as_str()) == group {
        return Ok(());
    }
    let theirs = theirs.founders.clone();
    Err(Reason::FoundersDisagree { instance: id.clone(), theirs, mine: mine.to_owned() })
}

/// Founders whose etcds do not understand each other would create a cluster and lose it (F89).
fn same_language(o: &Observation, theirs: &Statement) -> Result<(), Reason> {
    let (Some(mine), Some(version)) = (own_version(o), theirs.etcd) else { return Ok(()) };
    let founder = format!("founder {}", theirs.instance);
    clash(mine, &[(founder, version)]).map_or(Ok(()), Err)
}

/// A majority may create the cluster only in what is visibly the group's first generation: all founders were launched
/// together, and neither port of a silent one speaks. One founder of an earlier generation could be the last survivor
/// of a cluster.
fn majority_is_enough(
    o: &Observation,
    p: &Policy,
    founders: &[(String, MemberUrl)],
    silent: &[(InstanceId, Option<&Probe>)],
    standing: &Standing<String>,
) -> bool {
    let patience_over = elapsed(standing.since, o.at) >= p.founding_grace;
    let agreed = founders.len() - silent.len();
    p.founding == Founding::Majority
        && patience_over
        && agreed >= quorum(founders.len())
        && founders.iter().all(|(name, _)| same_generation(o, &InstanceId::new(name.clone())))
        && silent.iter().all(|(_, probe)| probe.is_some_and(mute))
}

fn same_generation(o: &Observation, id: &InstanceId) -> bool {
    let launched = |id: &InstanceId| o.ec2.ok()?.found.get(id)?.launched;
    let mine = o.me.ok().and_then(|me| launched(&me.instance));
    match (mine, launched(id)) {
        (Some(mine), Some(theirs)) => elapsed(mine.min(theirs), mine.max(theirs)) <= SAME_GENERATION,
        (Some(_) | None, None) | (None, Some(_)) => false,
    }
}

/// Neither port speaks: nothing listens, or nothing comes back.
fn mute(probe: &Probe) -> bool {
    let quiet = |a: &Absence| matches!(a, Absence::Refused | Absence::NoAnswer(_));
    let client_quiet = matches!(&probe.client, Some(Err(absence)) if quiet(absence));
    matches!(&probe.peer, PeerAnswer::Absent(absence) if quiet(absence)) && client_quiet
}

/// An old backend without its log must not be opened by a new member (F46).
fn clear_backend(o: &Observation) -> Option<Decision> {
    matches!(o.own_data, OwnData::NoLog).then(|| set_aside(Reason::BackendWithoutLog))
}

// ---------------------------------------------------------------- joining a formed cluster

fn join(o: &Observation, p: &Policy, me: &Identity, cluster: &Cluster<'_>, start: Start) -> Decision {
    let Some(list) = cluster.confirmed_list() else { return without_quorum(cluster) };
    if let Some(tag) = o.group.ok().and_then(|g| g.cluster_tag.clone()).filter(|t| *t != cluster.id.to_string()) {
        return refuse(Reason::NotTheTaggedCluster { tag, seen: cluster.id });
    }
    let plan = Plan { o, p, me, cluster, list };
    match own_row(list, me) {
        Some(row) if plan.has_never_run(row) => plan.resume(row, start),
        Some(row) => plan.reclaim(row),
        None => plan.enter(start),
    }
}

fn without_quorum(cluster: &Cluster<'_>) -> Decision {
    let denied = cluster.client_failures().find_map(|(url, why)| match why {
        Blind { kind: BlindKind::Denied, why } => Some(format!("{url}: {why}")),
        _ => None,
    });
    if let Some(why) = denied {
        return refuse(Reason::Denied { why });
    }
    let answering = cluster.views.iter().map(|(url, _)| url.to_string()).collect();
    let why = cluster.client_failures().map(|(url, blind)| format!("{url}: {}", blind.why)).collect();
    wait(Reason::NoQuorum { cluster: cluster.id, answering, why })
}

/// What the steps of a join look at.
struct Plan<'a> {
    o: &'a Observation,
    p: &'a Policy,
    me: &'a Identity,
    cluster: &'a Cluster<'a>,
    list: &'a [Member],
}

impl Plan<'_> {
    /// A founder bears its name from the start, who was added at run time bears none before it publishes itself. Where
    /// nodes join as learners, `ready` makes a voter even of one that is not published yet: it may have acknowledged
    /// entries that this node, without its data, would deny under the same id.
    fn has_never_run(&self, row: &Member) -> bool {
        let mine = row.name == self.me.instance.as_str();
        let added = row.name.is_empty() && (row.learner || !self.prefers_learners());
        !row.published() && (mine || added)
    }

    /// Listed and never started: start from the list, no second add (F27).
    fn resume(&self, row: &Member, mut start: Start) -> Decision {
        if let Some(stop) = self.misfit() {
            return stop;
        }
        if let Some(aside) = clear_backend(self.o) {
            return aside;
        }
        start.initial_cluster = initial_cluster_of(self.list, row, &mut start);
        Decision { action: Action::Start(start), reason: Reason::Resume { member: row.id } }
    }

    /// My URL belongs to a member that has run, or that bears another's name (F28, F32, F46).
    fn reclaim(&self, row: &Member) -> Decision {
        let member = row.to_string();
        let owner = InstanceId::from_member_name(&row.name);
        if owner.is_none() || owner.as_ref() == Some(&self.me.instance) {
            if !silent(self.o, row) {
                return refuse(Reason::AddressTaken { member });
            }
            return self.remove(row, Reason::ReplacesOwnLostDisk { member });
        }
        match judge(self.o, self.p, row) {
            Verdict::Dead(proof) => self.remove(row, Reason::AddressReused { member, proof }),
            Verdict::Alive(_) | Verdict::Me => refuse(Reason::AddressTaken { member }),
            Verdict::Unknown(why) | Verdict::Foreign(why) => wait(Reason::OwnerUnknown { member, why }),
        }
    }

    fn enter(&self, start: Start) -> Decision {
        if let Some(former) = self.list.iter().find(|m| m.name == self.me.instance.as_str()) {
            if !silent(self.o, former) {
                return refuse(Reason::AddressTaken { member: former.to_string() });
            }
            return self.remove(former, Reason::ProvenDead { member: former.to_string(), proof: Proof::Myself });
        }
        if let Some((member, proof)) = self.first_dead() {
            return self.remove(member, Reason::ProvenDead { member: member.to_string(), proof });
        }
        match (self.misfit(), self.obstacle()) {
            (Some(stop), _) => stop,
            (None, Some(reason)) => wait(reason),
            (None, None) => self.add(start),
        }
    }

    /// What speaks against this node's etcd (F89, F90), before it is added: an etcd's first message to the others stays
    /// in their log. After the dead are removed: the cluster's version changes only while all its members answer.
    fn misfit(&self) -> Option<Decision> {
        let mine = own_version(self.o)?;
        let members = versions(self.cluster.views.iter().copied());
        let lowest = members.iter().map(|(_, version)| *version).min();
        too_old(mine, cluster_versions(self.cluster).max().or(lowest))
            .or_else(|| clash(mine, &members))
            .map(refuse)
            .or_else(|| self.lags_behind(mine).map(wait))
    }

    /// A member that is silent now may be of the version that the cluster's own stays at for its sake. etcd raises that
    /// one within 4 s once all members answer (version/monitor.go, v3.6.16).
    fn lags_behind(&self, mine: EtcdVersion) -> Option<Reason> {
        let version = cluster_versions(self.cluster).min()?;
        let (newer, older) = (format!("this node's etcd {mine}"), format!("the cluster's version {version}"));
        (!follows(mine, version)).then_some(Reason::VersionSkipsAMinor { newer, older })
    }

    /// Learners and members that never started go first: removing them costs nothing and they block every join (F53).
    fn first_dead(&self) -> Option<(&Member, Proof)> {
        let mut dead: Vec<(&Member, Proof)> = self
            .list
            .iter()
            .filter_map(|m| match judge(self.o, self.p, m) {
                Verdict::Dead(proof) => Some((m, proof)),
                Verdict::Me | Verdict::Alive(_) | Verdict::Unknown(_) | Verdict::Foreign(_) => None,
            })
            .collect();
        let answers = |m: &Member| self.cluster.views.iter().any(|(url, _)| m.peer_urls.contains(url));
        dead.sort_by_key(|(m, _)| (!m.learner, m.published(), answers(m), m.id));
        dead.into_iter().next()
    }

    /// What stands in the way of an add: one join at a time (F14), and only where the group wants this node.
    fn obstacle(&self) -> Option<Reason> {
        let state = match own_group(self.o) {
            Ok((me, group, _)) => group.instances.get(&me.instance).cloned().unwrap_or_default(),
            Err(reason) => return Some(reason),
        };
        if !may_found(&state) {
            return Some(Reason::Leaving { state });
        }
        let unknown = |m: &&Member| matches!(judge(self.o, self.p, m), Verdict::Unknown(_));
        if let Some(m) = self.list.iter().find(unknown) {
            return Some(Reason::SecondRead { what: format!("what becomes of member {m}") });
        }
        if let Some(other) = self.list.iter().find(|m| !m.published()) {
            return Some(Reason::OtherJoining { member: other.to_string() });
        }
        let learner = self.list.iter().find(|m| m.learner);
        learner.map(|m| Reason::LearnerNotPromoted { member: m.to_string() }).or_else(|| self.unsettled_version())
    }

    /// A version that all members are beyond is about to rise, or a downgrade is under way. In one, no etcd starts that
    /// has no data: it wants a cluster that is still one minor above (cluster_util.go:174-185, v3.6.16).
    fn unsettled_version(&self) -> Option<Reason> {
        own_version(self.o)?;
        let answers = |m: &Member| self.cluster.views.iter().any(|(url, _)| m.peer_urls.contains(url));
        let all = self.list.iter().all(answers).then_some(&self.cluster.views)?;
        let lowest = versions(all.iter().copied()).into_iter().map(|(_, version)| version).min()?;
        let cluster = cluster_versions(self.cluster).max().filter(|cluster| cluster.line() < lowest.line())?;
        Some(Reason::VersionUnsettled { cluster: cluster.to_string(), lowest: lowest.to_string() })
    }

    /// Removes a member, unless the rest would lose its quorum (S3, F41).
    fn remove(&self, member: &Member, reason: Reason) -> Decision {
        let voters = self.list.iter().filter(|m| !m.learner && m.id != member.id).count();
        let reachable = self.reachable_voters(Some(member.id));
        let needed = quorum(voters);
        if !member.learner && reachable < needed {
            return wait(Reason::RemovalCostsQuorum { member: member.to_string(), reachable, needed });
        }
        match self.cluster.spokesman(self.p, member.id) {
            Some(via) => Decision { action: Action::Remove { member: member.id, via }, reason },
            None => without_quorum(self.cluster),
        }
    }

    /// Adds this node; a voter only where the cluster survives if it never starts (S3, F25, E13).
    fn add(&self, start: Start) -> Decision {
        let voters = self.list.iter().filter(|m| !m.learner).count();
        let reachable = self.reachable_voters(None);
        let needed = quorum(voters + 1);
        let as_learner = self.prefers_learners() || (reachable < needed && self.p.join_as == JoinAs::Auto);
        if !as_learner && reachable < needed {
            return wait(Reason::AdditionRisksQuorum { reachable, needed });
        }
        if let Some(aside) = clear_backend(self.o) {
            return aside;
        }
        let Some(via) = self.cluster.spokesman(self.p, MemberId(0)) else { return without_quorum(self.cluster) };
        let caution = own_version(self.o).and_then(|mine| upgrade_trap(mine, self.cluster));
        let reason = Reason::Joining { cluster: self.cluster.id, members: self.list.len(), as_learner, caution };
        Decision { action: Action::Add { peer_url: start.peer_url, as_learner, via }, reason }
    }

    /// Published voters whose etcd answered as a member of this cluster, without the given one.
    fn reachable_voters(&self, without: Option<MemberId>) -> usize {
        let answers = |m: &&Member| self.cluster.views.iter().any(|(url, _)| m.peer_urls.contains(url));
        let voters = self.list.iter().filter(|m| m.published() && !m.learner && Some(m.id) != without);
        voters.filter(answers).count()
    }

    fn prefers_learners(&self) -> bool {
        match self.p.join_as {
            JoinAs::Learner => true,
            JoinAs::Voter => false,
            JoinAs::Auto => {
                let safe = |view: &PeerView| view.server_version.parse().is_ok_and(learners_are_safe);
                self.cluster.views.iter().all(|(_, view)| safe(view))
            }
        }
    }
}

/// Versions from which a learner's promotion is kept for good: etcd 3.5.26, 3.6.6 (F55, etcd#19557, #20793, #20340).
fn learners_are_safe(version: EtcdVersion) -> bool {
    match version.line() {
        (3, 5) => version.patch >= 26,
        (3, 6) => version.patch >= 6,
        line => line >= (3, 7),
    }
}

// ---------------------------------------------------------------- etcd's version

/// etcd itself ends one that is below the cluster's version, but only after its add (cluster_util.go:199, v3.7.3).
fn too_old(mine: EtcdVersion, cluster: Option<EtcdVersion>) -> Option<Reason> {
    let cluster = cluster.filter(|cluster| mine.line() < cluster.line())?;
    Some(Reason::VersionTooOld { mine: mine.to_string(), cluster: cluster.to_string() })
}

/// The first of the others that this node's etcd cannot be in one cluster with. An etcd publishes itself in words that
/// one two minors below does not have: 3.6 and later make every 3.4 panic, again at each restart, and 3.7 panics itself
/// among 3.5 (seen with 3.4.23, 3.5.35, 3.6.16 and 3.7.3).
fn clash(mine: EtcdVersion, others: &[(String, EtcdVersion)]) -> Option<Reason> {
    others.iter().find_map(|(who, version)| {
        let (this, other) = (format!("this node's etcd {mine}"), format!("{who} with etcd {version}"));
        match (follows(mine, *version), follows(*version, mine)) {
            (true, true) => None,
            (false, _) => Some(Reason::VersionSkipsAMinor { newer: this, older: other }),
            (true, false) => Some(Reason::VersionSkipsAMinor { newer: other, older: this }),
        }
    })
}

/// Whether an etcd is not more than one minor above another: what etcd supports
/// (<https://etcd.io/docs/v3.6/upgrades/upgrading-etcd/>, read 2026-11-25).
fn follows(newer: EtcdVersion, older: EtcdVersion) -> bool {
    newer.line() <= older.line() || newer.line() == (older.major, older.minor.saturating_add(1))
}

/// The patches that every member should have before an upgrade, or it may fail on what older ones left in the log
/// (<https://etcd.io/blog/2025/zombie_members_upgrade/>, <https://etcd.io/docs/v3.7/upgrades/upgrade_3_7/>).
fn upgrade_trap(mine: EtcdVersion, cluster: &Cluster<'_>) -> Option<String> {
    let first = match mine.line() {
        (3, 6) => EtcdVersion::new(3, 5, 26),
        (3, 7) => EtcdVersion::new(3, 6, 11),
        _ => return None,
    };
    let members = versions(cluster.views.iter().copied());
    let (member, version) = members.iter().find(|(_, version)| *version < first)?;
    Some(format!("{member} has etcd {version}, and all should have {first} or later before one has {mine}"))
}

/// The etcds of members, less those that tell none that is understood.
fn versions<'a>(views: impl Iterator<Item = (&'a MemberUrl, &'a PeerView)>) -> Vec<(String, EtcdVersion)> {
    let version =
        |(url, view): (&MemberUrl, &PeerView)| Some((format!("member {url}"), view.server_version.parse().ok()?));
    views.filter_map(version).collect()
}

/// The cluster's own version as its members tell it. 3.0 says nothing: a cluster begins with it where not all founders
/// answer (version/monitor.go, v3.6.16).
fn cluster_versions(cluster: &Cluster<'_>) -> impl Iterator<Item = EtcdVersion> {
    let told = cluster.views.iter().filter_map(|(_, view)| view.cluster_version.as_ref()?.parse().ok());
    told.filter(|version: &EtcdVersion| version.line() != (3, 0))
}

/// None where it is not known, or not asked.
fn own_version(o: &Observation) -> Option<EtcdVersion> {
    o.etcd.as_ref()?.ok().copied()
}

// ---------------------------------------------------------------- who is dead

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
    let (me, group, ec2) = match own_group(o) {
        Ok(seen) => seen,
        Err(reason) => return Verdict::Unknown(reason.to_string()),
    };
    let owner = InstanceId::from_member_name(&m.name).or_else(|| owner_by_address(m, ec2, group));
    let Some(owner) = owner else { return judge_unowned(o, p, me, m) };
    if owner == me.instance {
        return Verdict::Me;
    }
    match (ec2.found.get(&owner), group.instances.get(&owner)) {
        (Some(i), _) if matches!(i.state.as_str(), "shutting-down" | "terminated") => {
            Verdict::Dead(Proof::Ec2State { instance: owner, state: i.state.clone() })
        }
        (Some(i), _) => Verdict::Alive(format!("EC2 says that {owner} is {}", i.state)),
        (None, Some(state)) => Verdict::Alive(format!("the group lists {owner} as {state}")),
        (None, None) if !ec2.asked.contains(&owner) => {
            Verdict::Unknown(format!("EC2 has not been asked about {owner} yet"))
        }
        (None, None) if !silent(o, m) => {
            Verdict::Alive(format!("EC2 does not know {owner}, but its peer port is not silent"))
        }
        (None, None) if !m.peer_urls.iter().any(|url| in_vpc(me, url)) => {
            Verdict::Foreign(format!("EC2 does not know {owner}, and its address is not in this VPC"))
        }
        (None, None) => match confirmed_silence(o, m, FORGOTTEN_GRACE) {
            Some(silent_for) => Verdict::Dead(Proof::Forgotten { instance: owner, silent_for }),
            None => Verdict::Unknown(format!("EC2 does not know {owner}; a later read must confirm it")),
        },
    }
}

/// A member with no instance to its name. One that never started and whose address nobody in the group holds was left
/// behind by a node that died between its add and its start (F26).
fn judge_unowned(o: &Observation, p: &Policy, me: &Identity, m: &Member) -> Verdict {
    let never_started = m.name.is_empty() && !m.published() && m.peer_urls.iter().any(|url| in_vpc(me, url));
    match confirmed_silence(o, m, NEVER_STARTED_GRACE) {
        Some(silent_for) if never_started => Verdict::Dead(Proof::NeverStarted { silent_for }),
        Some(silent_for) if p.prune_foreign => Verdict::Dead(Proof::Foreign { silent_for }),
        Some(_) | None => Verdict::Foreign("its name and address belong to no instance of this group".to_owned()),
    }
}

fn owner_by_address(m: &Member, ec2: &Ec2, group: &Group) -> Option<InstanceId> {
    let holds = |i: &Instance| m.peer_urls.iter().any(|url| i.addresses.hold(url));
    let gone = |i: &Instance| matches!(i.state.as_str(), "shutting-down" | "terminated");
    let holders = ec2.found.iter().filter(|(_, i)| holds(i));
    holders.min_by_key(|(id, i)| (gone(i), !group.instances.contains_key(*id))).map(|(id, _)| id.clone())
}

/// How long a silent member has looked gone if that is long enough and confirmed by a second read of AWS.
fn confirmed_silence(o: &Observation, m: &Member, grace: Duration) -> Option<Duration> {
    let standing = standing_suspicion(o, m).filter(|_| silent(o, m))?;
    Some(elapsed(standing.since, o.at)).filter(|silent_for| *silent_for >= grace && standing.reads >= 2)
}

/// The passes that found a member gone, this one included; None without a group.
fn standing_suspicion(o: &Observation, m: &Member) -> Option<Standing<()>> {
    let earlier = o.before.as_ref().and_then(|b| b.suspects.get(&m.id));
    Some(continued(earlier, (), o.at, o.group.ok()?.read_at))
}

/// Whether nothing comes from any of a member's peer URLs. A URL at this node's own address is nobody else's any more.
fn silent(o: &Observation, m: &Member) -> bool {
    let quiet = |probe: &Probe| {
        matches!(&probe.peer, PeerAnswer::Absent(Absence::Refused | Absence::NoAnswer(_) | Absence::NoName(_)))
    };
    m.peer_urls.iter().all(|url| {
        let mut probes = o.probes.iter().filter(|probe| probe.url == *url).peekable();
        let asked = probes.peek().is_some();
        (asked && probes.all(quiet)) || (!asked && o.me.ok().is_some_and(|me| me.addresses.hold(url)))
    })
}

fn in_vpc(me: &Identity, url: &MemberUrl) -> bool {
    match url.address() {
        Some(address) => me.vpc_ranges.iter().any(|range| range_holds(range, address)),
        None => {
            let domain = |name: &str| name.split_once('.').map(|(_, domain)| domain.to_ascii_lowercase());
            let mine = me.addresses.dns_name.as_deref().and_then(domain);
            mine.is_some() && mine == domain(url.host())
        }
    }
}

fn range_holds(range: &str, address: IpAddr) -> bool {
    let Some((base, bits)) = range.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    // As 128-bit numbers, an IPv4 address in the lowest 32 bits.
    let (width, base, address) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => (32, u32::from(base).into(), u32::from(address).into()),
        (IpAddr::V6(base), IpAddr::V6(address)) => (128, u128::from(base), u128::from(address)),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    bits <= width && (base ^ address).checked_shr(width - bits).unwrap_or(0) == 0
}

// ---------------------------------------------------------------- what one pass leaves to the next

/// What the next observation has to know of this one.
pub fn remember(o: &Observation, p: &Policy) -> Before {
    let settled = settled_founders(o, p).ok();
    let founders = settled.and_then(|list| standing_founders(o, render_initial_cluster(&list)));
    let listed = listed_members(o);
    let gone = listed.values().filter(|m| looks_gone(o, p, m));
    let suspects = gone.filter_map(|m| Some((m.id, standing_suspicion(o, m)?))).collect();
    let mut member_instances: BTreeSet<InstanceId> =
        listed.values().filter_map(|m| InstanceId::from_member_name(&m.name)).collect();
    if let OwnData::Log { founders, .. } = &o.own_data {
        member_instances.extend(founders.iter().filter_map(|f| InstanceId::from_member_name(&f.name)));
    }
    Before { founders, suspects, member_instances }
}

fn looks_gone(o: &Observation, p: &Policy, m: &Member) -> bool {
    let candidate = match judge(o, p, m) {
        Verdict::Unknown(_) => own_group(o).is_ok_and(|(_, _, ec2)| {
            InstanceId::from_member_name(&m.name).is_some_and(|owner| ec2.asked.contains(&owner))
        }),
        Verdict::Foreign(_) | Verdict::Dead(_) => true,
        Verdict::Me | Verdict::Alive(_) => false,
    };
    candidate && silent(o, m)
}

fn continued<T>(earlier: Option<&Standing<T>>, what: T, at: SystemTime, read_at: SystemTime) -> Standing<T> {
    match earlier {
        None => Standing { what, since: at, read_at, reads: 1 },
        Some(s) => {
            let reads = s.reads.saturating_add(u32::from(s.read_at != read_at));
            Standing { what, since: s.since, read_at, reads }
        }
    }
}

/// A list of founders with the passes counted that found it, this one included; None without a group.
fn standing_founders(o: &Observation, list: String) -> Option<Standing<String>> {
    let read_at = o.group.ok()?.read_at;
    let earlier = o.before.as_ref().and_then(|b| b.founders.as_ref());
    Some(continued(earlier.filter(|s| s.what == list), list, o.at, read_at))
}

/// What this node tells the other founders: the list only when its group is settled and nobody answers as etcd; None
/// while it does not know who or where it is.
pub fn statement(o: &Observation, p: &Policy) -> Option<Statement> {
    // Who sees an etcd, formed or forming, agrees to no new cluster.
    let sees_none = peer_views(o).next().is_none();
    let founders = settled_founders(o, p).ok().filter(|_| sees_none).map(|list| render_initial_cluster(&list));
    let (me, group) = (o.me.ok()?, o.group.ok()?);
    Some(Statement { instance: me.instance.clone(), group: group.arn.clone(), founders, etcd: own_version(o) })
}

/// Every member that anyone lists, the quorum's word first.
pub fn listed_members(o: &Observation) -> BTreeMap<MemberId, &Member> {
    let clusters = formed_clusters(o);
    let confirmed = clusters.values().filter_map(Cluster::confirmed_list).flatten();
    let local = peer_views(o).flat_map(|view| &view.members);
    let mut listed = BTreeMap::new();
    for member in confirmed.chain(local) {
        listed.entry(member.id).or_insert(member);
    }
    listed
}

// ---------------------------------------------------------------- consumers

/// The client URLs of the published voters (F81, F82). A consumer decides on no member and writes to none (F39).
fn follow(o: &Observation) -> Decision {
    if let Seen::No(blind) = &o.group {
        return wait(Reason::GroupBlind(blind.clone()));
    }
    if let Seen::No(blind) = &o.ec2 {
        return wait(Reason::Ec2Blind(blind.clone()));
    }
    let mut lists: BTreeMap<ClusterId, &[Member]> = BTreeMap::new();
    for (_, view) in client_views(o) {
        if let Seen::Yes(list) = &view.quorum_list {
            lists.insert(view.cluster_id, list);
        }
    }
    let mut found = lists.iter();
    match (found.next(), found.next()) {
        (Some((one, _)), Some((other, _))) => refuse(Reason::TwoClusters { one: *one, other: *other }),
        (Some((_, list)), None) if endpoints(o, list).is_empty() => wait(nobody_serves(o)),
        (Some((cluster, list)), None) => Decision {
            action: Action::Follow { endpoints: endpoints(o, list) },
            reason: Reason::Endpoints { cluster: *cluster },
        },
        (None, _) => wait(nobody_serves(o)),
    }
}

fn nobody_serves(o: &Observation) -> Reason {
    let denied = client_views(o).filter_map(|(url, view)| match &view.quorum_list {
        Seen::No(Blind { kind: BlindKind::Denied, why }) => Some(format!("{url}: {why}")),
        Seen::No(_) | Seen::Yes(_) => None,
    });
    match denied.min() {
        Some(why) => Reason::Denied { why },
        None => Reason::NoMemberAnswers { asked: o.probes.len() },
    }
}

/// The published voters' client URLs, less those of instances that are gone: a consumer must not wait for the next
/// member to prune them.
fn endpoints(o: &Observation, list: &[Member]) -> Vec<MemberUrl> {
    let living = list.iter().filter(|m| !m.learner && !has_left(o, m));
    let urls: BTreeSet<&MemberUrl> = living.flat_map(|m| &m.client_urls).collect();
    urls.into_iter().cloned().collect()
}

fn has_left(o: &Observation, m: &Member) -> bool {
    let Some(id) = InstanceId::from_member_name(&m.name) else { return false };
    let in_group = o.group.ok().is_some_and(|group| group.instances.contains_key(&id));
    let state = o.ec2.ok().and_then(|ec2| ec2.found.get(&id)).map(|i| i.state.as_str());
    !in_group || matches!(state, Some("shutting-down" | "terminated"))
}

// ---------------------------------------------------------------- reading an observation

/// A cluster that had a leader, and what its members said.
struct Cluster<'a> {
    id: ClusterId,
    /// By peer URL.
    views: Vec<(&'a MemberUrl, &'a PeerView)>,
    clients: Vec<(&'a MemberUrl, &'a Result<ClientView, Absence>)>,
}

impl<'a> Cluster<'a> {
    /// The list of a member that a quorum confirmed: the authority (F20).
    fn confirmed_list(&self) -> Option<&'a [Member]> {
        self.serving().find_map(|(_, view)| view.quorum_list.ok()).map(Vec::as_slice)
    }

    fn serving(&self) -> impl Iterator<Item = (&'a MemberUrl, &'a ClientView)> {
        self.clients.iter().filter_map(|(url, view)| Some((*url, view.as_ref().ok()?)))
    }

    /// The client URL of a voter to talk to about others: one that a quorum listens to and not the one in question.
    fn spokesman(&self, p: &Policy, not: MemberId) -> Option<MemberUrl> {
        let fit = |view: &ClientView| !view.learner && view.member_id != not && view.quorum_list.ok().is_some();
        let (peer_url, _) = self.serving().find(|(_, view)| fit(view))?;
        Some(p.client_url_beside(peer_url))
    }

    /// Whether a majority of this cluster's voters say each for itself that a member is not listed. The way to know
    /// it where client auth hides the confirmed list. One that knows no leader may still read its log, and has no say.
    fn majority_lacks(&self, member: MemberId) -> bool {
        let led = |url: &MemberUrl| self.serving().any(|(of, client)| of == url && client.leader.is_some());
        let lacking = self.views.iter().filter(|(url, _)| led(url));
        let lacking = lacking.filter(|(_, view)| !view.members.iter().any(|m| m.id == member));
        lacking.clone().any(|(_, view)| {
            let voters = view.members.iter().filter(|m| !m.learner).count();
            let voices = view.members.iter().filter(|m| !m.learner);
            let voices = voices.filter(|m| lacking.clone().any(|(url, _)| m.peer_urls.contains(url))).count();
            voices >= quorum(voters)
        })
    }

    fn client_failures(&self) -> impl Iterator<Item = (&'a MemberUrl, Blind)> {
        self.clients.iter().filter_map(|(url, view)| match view {
            Ok(view) => match &view.quorum_list {
                Seen::Yes(_) => None,
                Seen::No(blind) => Some((*url, blind.clone())),
            },
            Err(Absence::Denied(why)) => Some((*url, Blind { kind: BlindKind::Denied, why: why.clone() })),
            Err(absence) => Some((*url, Blind { kind: BlindKind::Unreachable, why: absence.to_string() })),
        })
    }
}

fn peer_views(o: &Observation) -> impl Iterator<Item = &PeerView> {
    o.probes.iter().filter_map(|probe| match &probe.peer {
        PeerAnswer::Member(view) => Some(view),
        PeerAnswer::Founding(_) | PeerAnswer::Absent(_) => None,
    })
}

fn client_views(o: &Observation) -> impl Iterator<Item = (&MemberUrl, &ClientView)> {
    o.probes.iter().filter_map(|probe| match &probe.client {
        Some(Ok(view)) => Some((&probe.url, view)),
        Some(Err(_)) | None => None,
    })
}

/// The clusters that had a leader, by what any member says (E17: `not_decided` before the first).
fn formed_clusters(o: &Observation) -> BTreeMap<ClusterId, Cluster<'_>> {
    let mut formed: BTreeMap<ClusterId, Cluster<'_>> = BTreeMap::new();
    let mut probes: Vec<&Probe> = o.probes.iter().collect();
    probes.sort_by(|a, b| a.url.cmp(&b.url));
    for probe in probes {
        let view = match &probe.peer {
            PeerAnswer::Member(view) => view,
            PeerAnswer::Founding(_) | PeerAnswer::Absent(_) => continue,
        };
        let led = matches!(&probe.client, Some(Ok(client)) if client.leader.is_some());
        let ran = view.members.iter().any(Member::published);
        if view.cluster_version.is_none() && !led && !ran {
            continue;
        }
        let id = view.cluster_id;
        let cluster = formed.entry(id).or_insert(Cluster { id, views: Vec::new(), clients: Vec::new() });
        cluster.views.push((&probe.url, view));
        cluster.clients.extend(probe.client.as_ref().map(|client| (&probe.url, client)));
    }
    formed
}

/// The group, EC2's reply and this node, where both replies hold this node: a reply that lacks the one who asks is
/// partial or another's, and proves nothing (F34).
fn own_group(o: &Observation) -> Result<(&Identity, &Group, &Ec2), Reason> {
    let me = match &o.me {
        Seen::Yes(me) => me,
        Seen::No(blind) => return Err(Reason::MetadataBlind(blind.clone())),
    };
    let group = match &o.group {
        Seen::Yes(group) => group,
        Seen::No(blind) => return Err(Reason::GroupBlind(blind.clone())),
    };
    let ec2 = match &o.ec2 {
        Seen::Yes(ec2) => ec2,
        Seen::No(blind) => return Err(Reason::Ec2Blind(blind.clone())),
    };
    if !group.instances.contains_key(&me.instance) || !ec2.found.contains_key(&me.instance) {
        return Err(Reason::NotInGroup { group: group.name.clone() });
    }
    Ok((me, group, ec2))
}

/// States in which an instance is or will be part of the group. States that are not known are kept and not counted
/// (F43): the set grows (Auto Scaling user guide, "Instance lifecycle").
fn may_found(state: &str) -> bool {
    matches!(state, "Pending" | "Pending:Wait" | "Pending:Proceed" | "InService")
}

/// What a start of this node has in common in all cases; None where it has no address.
fn starting_point(o: &Observation, me: &Identity, p: &Policy) -> Option<Start> {
    Some(Start {
        name: me.instance.clone(),
        state: ClusterState::Existing,
        initial_cluster: Vec::new(),
        token: o.group.ok().map(|g| token_of(&g.arn)).unwrap_or_default(),
        peer_url: p.peer_url(&me.addresses)?,
        client_url: p.client_url(&me.addresses)?,
        listen: me.addresses.ip()?,
        after: None,
    })
}

/// The member whose peer URL leads to this node, in whichever form the cluster lists it (F29).
fn own_row<'a>(list: &'a [Member], me: &Identity) -> Option<&'a Member> {
    list.iter().find(|m| m.peer_urls.iter().any(|url| me.addresses.hold(url)))
}

/// Every member of a list as etcd wants it: learners and unstarted ones too (F18), one entry a URL (F19), a name of
/// its own for each (F17: equal names merge; etcd does not compare names). The own entry keeps the list's form of
/// the URL.
fn initial_cluster_of(list: &[Member], own: &Member, start: &mut Start) -> Vec<(String, MemberUrl)> {
    if let Some(url) = own.peer_urls.first() {
        start.peer_url = url.clone();
    }
    let mut taken = BTreeSet::from([start.name.to_string()]);
    let mut entries = Vec::new();
    for m in list {
        let name = if m.id == own.id { start.name.to_string() } else { unique_name(m, &mut taken) };
        entries.extend(m.peer_urls.iter().map(|url| (name.clone(), url.clone())));
    }
    entries.sort();
    entries
}

fn unique_name(m: &Member, taken: &mut BTreeSet<String>) -> String {
    let plain = !m.name.is_empty() && m.name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'='));
    let name = if plain && !taken.contains(&m.name) { m.name.clone() } else { format!("member-{}", m.id) };
    taken.insert(name.clone());
    name
}

/// The cluster token: the group's ARN, which no other group ever has (F11), less the characters that would need quotes.
fn token_of(arn: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '-' | '_' | '.') { c } else { '_' };
    arn.chars().map(plain).collect()
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// The time between two moments; nothing where the clock went back.
fn elapsed(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

fn said(probe: Option<&Probe>) -> String {
    match probe.map(|probe| &probe.peer) {
        None => "has no address".to_owned(),
        Some(PeerAnswer::Absent(absence)) => absence.to_string(),
        Some(PeerAnswer::Member(_)) => "answers as etcd".to_owned(),
        Some(PeerAnswer::Founding(_)) => "waits too".to_owned(),
    }
}

fn wait(reason: Reason) -> Decision {
    Decision { action: Action::Wait, reason }
}

fn refuse(reason: Reason) -> Decision {
    Decision { action: Action::Refuse, reason }
}

fn set_aside(reason: Reason) -> Decision {
    Decision { action: Action::SetDataAside, reason }
}
