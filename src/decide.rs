//! The decision: a pure function of an [`Observation`] and a [`Policy`].
//!
//! Owns every rule. Must not wait, log, look at a clock, a disk or a network: what it needs is in the observation.
//! The rules are named after failure catalogue entries (F..) and measured behaviour of etcd (E..), see ARCHITECTURE.md.
//! Next: `apply.rs` carries a decision out, `run.rs` looks again.
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::agreement::{self, Tagged};
use crate::model::{
    Absence, Action, After, Agreement, Before, Blind, BlindKind, CLUSTER_TAG, ClientView, ClusterId, ClusterState,
    Decision, Ec2, EtcdVersion, FOUNDING_TAG, Founder, FounderEntry, Founding, Group, Identity, InitialCluster,
    Instance, InstanceId, JoinAs, Lack, Member, MemberId, MemberUrl, Observation, OwnData, PeerAnswer, PeerView,
    Policy, Probe, Proof, Reason, Record, Role, Seen, Standing, Start, Statement, in_initial_cluster,
    render_initial_cluster,
};

/// A founder's etcd asks the others in the order of their peer URLs, takes the first answer, and waits one second for
/// each that has started and does not serve yet (cluster_util.go:41-66, cluster.go `PeerURLs`, v3.7.1). So all but the
/// first wait until one before them in that order serves, which takes an etcd some 0.1 s on an idle disk, and at most
/// this long for each one before them: as long as the wait that it spares.
const FOUNDER_TURN: Duration = Duration::from_secs(1);

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

/// How long ago a first generation may have been launched. Founders of one scaling activity are launched together a
/// year later too: then the silent one may be the last survivor of their cluster. A fresh group agrees within minutes
/// of its launch even where its boot is slow.
const LAUNCHED_JUST_NOW: Duration = Duration::from_secs(15 * 60);

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
            with_data(o, p, me, &mine, start)
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
fn with_data(o: &Observation, p: &Policy, me: &Identity, mine: &OwnLog<'_>, start: Start) -> Decision {
    let formed = formed_clusters(o);
    let other = formed.keys().find(|id| **id != mine.cluster);
    match (formed.contains_key(&mine.cluster), other) {
        // The group's own word: the other is a stranger, and the rest of this cluster may be coming back as well. To
        // start is safe: etcds of different clusters do not talk to each other.
        (false, Some(other)) if tag_names(o, mine.cluster) => {
            let at = formed[other].views.iter().map(|(url, _)| url.to_string()).collect();
            restart(start, None, Reason::OwnDataTagged { mine: mine.cluster, other: *other, at })
        }
        (false, Some(other)) if mine.had_leader => {
            refuse(Reason::OtherClustersData { mine: mine.cluster, formed: *other })
        }
        (false, Some(other)) => set_aside(Reason::NeverLedOtherFormed { mine: mine.cluster, formed: *other }),
        (false, None) => alone_with_data(o, mine, start),
        (true, _) => {
            let cluster = &formed[&mine.cluster];
            let stopped = copied(o, p, me, cluster, mine).or_else(|| log_ahead(o, cluster).map(refuse));
            stopped.unwrap_or_else(|| among_own_cluster(cluster, p, mine, start))
        }
    }
}

/// What was committed once is so in every later state of a cluster. One whose quorum has committed less than this node
/// was made of an older copy, or afresh with the same ids: etcd panics in it, or gives up its own log (F86).
fn log_ahead(o: &Observation, cluster: &Cluster<'_>) -> Option<Reason> {
    let (mine, theirs) = (o.own_commit?, cluster.commit()?);
    (mine > theirs).then_some(Reason::LogAhead { cluster: cluster.id, mine, theirs })
}

/// A log that never had a leader holds nothing. It is kept for as long as enough of its founders can still start; then
/// it makes room for another founding.
fn alone_with_data(o: &Observation, mine: &OwnLog<'_>, start: Start) -> Decision {
    if mine.had_leader || mine.founders.is_empty() {
        return restart(start, told_by_clients(o, mine), Reason::OwnDataNobodyObjects);
    }
    let agreed = o.record.ok().and_then(|r| r.agreed.as_ref()).filter(|agreed| agreed.cluster == mine.cluster);
    let founders = match agreed {
        Some(agreed) => agreed.founders.iter().map(|f| (f.instance.clone(), Disk::of(f.nonce.as_ref()))).collect(),
        // A founding of before there were records.
        None => own_founders(o).into_iter().map(|id| (id, Disk::Untold)).collect::<Vec<_>>(),
    };
    let Lost { all, unsure } = lost_founders(o, mine.cluster, &founders);
    let may_form = |lost: usize| founders.len().saturating_sub(lost) >= quorum(mine.founders.len());
    if gave_up(o.record.ok(), mine.cluster) || !may_form(all.len()) {
        return Decision {
            action: Action::SetDataAside { gives_up: Some(mine.cluster) },
            reason: Reason::NeverLedFoundersLost { mine: mine.cluster, lost: all },
        };
    }
    if !may_form(all.len() + unsure.len()) {
        return wait(Reason::SecondRead { what: format!("that the founders {} are gone", unsure.join(", ")) });
    }
    // Founders may have agreed twice, in a smaller and a larger company. All go by the tag.
    if let Some(tagged) = o.group.ok().and_then(|group| other_cluster(group, mine.cluster)) {
        return Decision {
            action: Action::SetDataAside { gives_up: Some(mine.cluster) },
            reason: Reason::NeverLedOtherFounding { mine: mine.cluster, tagged },
        };
    }
    match agreed.and_then(|agreed| founders_missing(o, agreed)) {
        Some(waiting_for) => wait(Reason::FoundersNotBack { mine: mine.cluster, waiting_for }),
        None => restart(start, None, Reason::OwnDataNobodyObjects),
    }
}

/// The own cluster's list, as the client ports have it, and the own entry. They still tell by which scheme this member is
/// listed where the peers' ports speak another one than the options say (F100).
fn told_by_clients<'a>(o: &'a Observation, mine: &OwnLog<'_>) -> Option<(&'a [Member], &'a Member)> {
    let lists = client_views(o).filter(|(_, view)| view.cluster_id == mine.cluster);
    let mut lists = lists.filter_map(|(_, view)| view.quorum_list.ok());
    lists.find_map(|list| Some((list.as_slice(), list.iter().find(|m| m.id == mine.member)?)))
}

/// The cluster that the group's tags name instead of this one; None where they name this one, or none.
fn other_cluster(group: &Group, mine: ClusterId) -> Option<String> {
    let formed = group.cluster_tag.clone().filter(|tag| !mine.is_meant_by(tag));
    formed.or_else(|| Some(tagged(group).filter(|tagged| tagged.cluster != mine)?.cluster.to_string()))
}

/// Whom the first leader of a founding waits for; None where a quorum of its founders is here to elect it.
///
/// Nothing is lost by waiting, and an etcd that waits in the place of its agent hears of no founder that is lost (F87).
/// Without AWS nobody is seen, and whoever has data starts (F51).
fn founders_missing(o: &Observation, agreed: &Agreement) -> Option<Vec<InstanceId>> {
    let (me, _, _) = own_group(o).ok()?;
    let here = |f: &&Founder| {
        let says_so = statement_of(o, &f.instance)
            .is_some_and(|theirs| f.nonce.as_ref() == Some(&theirs.nonce) && !has_moved_on(o, theirs, agreed.cluster));
        let runs = etcds(o).any(|(url, view)| *url == f.peer_url && view.cluster_id == agreed.cluster);
        f.instance == me.instance || says_so || runs
    };
    let (here, missing): (Vec<&Founder>, Vec<&Founder>) = agreed.founders.iter().partition(here);
    let enough = here.len() >= quorum(agreed.founders.len());
    (!enough).then(|| missing.into_iter().map(|f| f.instance.clone()).collect())
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

/// What to do on a disk whose member is another node's: two etcds with one id vote twice and cut each other off (F88).
/// None where the member is this node's, or was moved here from an instance that is gone.
fn copied(o: &Observation, p: &Policy, me: &Identity, cluster: &Cluster<'_>, mine: &OwnLog<'_>) -> Option<Decision> {
    let here = o.ec2.ok().and_then(|ec2| ec2.found.get(&me.instance));
    let leads_here = |url: &MemberUrl| me.addresses.hold(url) || here.is_some_and(|i| i.has(url));
    let is_copy = |why: String| {
        let member = cluster.row(mine.member).map_or_else(|| mine.member.to_string(), ToString::to_string);
        Some(refuse(Reason::DiskIsACopy { member, why }))
    };
    if let Some((url, _)) = cluster.serving().find(|(url, view)| view.member_id == mine.member && !leads_here(url)) {
        return is_copy(format!("it answers at {url}"));
    }
    let row = cluster.row(mine.member).filter(|row| !row.peer_urls.iter().any(leads_here))?;
    if let Some((holder, instance)) = o.ec2.ok().and_then(|ec2| living_holder(ec2, row, &[&me.instance])) {
        return is_copy(format!("it has the address of {holder}, which is {}", instance.state));
    }
    InstanceId::from_member_name(&row.name).filter(|owner| *owner != me.instance)?;
    match judge(o, p, row) {
        Verdict::Me | Verdict::Dead(_) => None,
        Verdict::Alive(why) | Verdict::Foreign(why) => is_copy(why),
        Verdict::Unknown(_) => Some(wait(Reason::SecondRead { what: format!("what becomes of member {row}") })),
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

/// Founders that will never take part in their founding, each with the reason; and those of which that is not sure yet.
struct Lost {
    all: Vec<String>,
    unsure: Vec<String>,
}

/// Which disk a founder agreed with.
enum Disk<'a> {
    Is(&'a str),
    /// It was silent when a majority agreed: it has no part before there is a leader.
    Silent,
    Untold,
}

impl<'a> Disk<'a> {
    fn of(nonce: Option<&'a String>) -> Self {
        nonce.map_or(Self::Silent, |nonce| Self::Is(nonce))
    }
}

/// A founder is lost to its founding when its instance is gone, when it has given it up, when its disk is another, or
/// when it has agreed to another founding since and no tag leads it back.
fn lost_founders(o: &Observation, cluster: ClusterId, founders: &[(InstanceId, Disk<'_>)]) -> Lost {
    let mut lost = Lost { all: Vec::new(), unsure: Vec::new() };
    for (id, disk) in founders {
        let said = statement_of(o, id);
        let why = match (instance_of(o, id), disk) {
            (_, Disk::Silent) => Some("was silent".to_owned()),
            (Lives::Gone(why), _) => Some(why),
            (Lives::Perhaps, _) => {
                lost.unsure.push(id.to_string());
                None
            }
            (Lives::Yes, _) if said.is_some_and(|s| s.given_up.contains(&cluster)) => Some("gave it up".to_owned()),
            (Lives::Yes, Disk::Is(nonce)) if said.is_some_and(|s| s.nonce != *nonce) => {
                Some("has another disk".to_owned())
            }
            (Lives::Yes, _) if said.is_some_and(|s| has_moved_on(o, s, cluster)) => {
                Some("agreed to another founding".to_owned())
            }
            (Lives::Yes, Disk::Is(_) | Disk::Untold) => None,
        };
        lost.all.extend(why.map(|why| format!("{id} ({why})")));
    }
    lost
}

/// Whether a founder has agreed to another founding, and nothing will make it start this one.
fn has_moved_on(o: &Observation, theirs: &Statement, cluster: ClusterId) -> bool {
    let tagged = o.group.ok().and_then(tagged).is_some_and(|tagged| tagged.cluster == cluster);
    !tagged && theirs.agreed.is_some_and(|agreed| agreed != cluster)
}

/// What is known of an instance that founded.
enum Lives {
    Yes,
    Gone(String),
    /// Neither EC2 nor the group knows it, and a later read must confirm that.
    Perhaps,
}

fn instance_of(o: &Observation, id: &InstanceId) -> Lives {
    let Ok((_, _, ec2)) = own_group(o) else { return Lives::Yes };
    match ec2.found.get(id) {
        Some(i) if matches!(i.state.as_str(), "shutting-down" | "terminated") => Lives::Gone(i.state.clone()),
        Some(_) => Lives::Yes,
        None => match forgotten(o, id) {
            None => Lives::Yes,
            Some(s) if s.reads >= 2 && elapsed(s.since, o.at) >= FORGOTTEN_GRACE => {
                Lives::Gone("unknown to EC2".to_owned())
            }
            Some(_) => Lives::Perhaps,
        },
    }
}

/// The passes in which neither EC2 nor the group knew an instance, this one included; None where one of them does.
fn forgotten(o: &Observation, id: &InstanceId) -> Option<Standing<()>> {
    let (_, group, ec2) = own_group(o).ok()?;
    let unknown = ec2.asked.contains(id) && !ec2.found.contains_key(id) && !group.instances.contains_key(id);
    let earlier = o.before.as_ref().and_then(|b| b.forgotten_founders.get(id));
    unknown.then(|| continued(earlier, (), o.at, group.read_at))
}

fn statement_of<'a>(o: &'a Observation, id: &InstanceId) -> Option<&'a Statement> {
    o.probes.iter().find_map(|probe| match &probe.peer {
        PeerAnswer::Founding(theirs) if theirs.instance == *id && probe.instance.as_ref() == Some(id) => Some(theirs),
        PeerAnswer::Founding(_) | PeerAnswer::Member(_) | PeerAnswer::Absent(_) => None,
    })
}

fn gave_up(record: Option<&Record>, cluster: ClusterId) -> bool {
    record.is_some_and(|record| record.given_up.contains(&cluster))
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

/// Nobody answers who has known a leader. What the group's tag names comes first: its founders have agreed, and some of
/// their etcds may run.
fn before_any_leader(o: &Observation, p: &Policy, me: &Identity, start: Start) -> Decision {
    let group = match own_group(o) {
        Ok((_, group, _)) => group,
        Err(reason) => return wait(reason),
    };
    let record = match &o.record {
        Seen::Yes(record) => record,
        Seen::No(Blind { kind: BlindKind::Absent, .. }) => {
            return Decision { action: Action::BeginRecord, reason: Reason::NothingOnRecord };
        }
        Seen::No(blind) => return refuse(Reason::RecordUnusable { why: blind.why.clone() }),
    };
    if let Some(reason) = forbids_creation(o, p, group) {
        return wait(reason);
    }
    let beginning = Beginning { o, p, me, group, record };
    match (&group.founding_tag, tagged(group)) {
        (Some(tag), None) if p.initial_cluster != InitialCluster::Force => {
            wait(Reason::FoundingTagUnreadable { tag: tag.clone() })
        }
        (_, Some(tagged)) if tagged.nonce(&me.instance) == Some(&record.nonce) => beginning.complete(&tagged, start),
        (_, Some(tagged)) if p.initial_cluster != InitialCluster::Force => match beginning.holds(&tagged) {
            Some(why) => wait(Reason::OthersFounding { cluster: tagged.cluster, why }),
            None => beginning.found(start),
        },
        (_, _) => beginning.found(start),
    }
}

/// What the founding tag says; None where there is none, or none that this program wrote.
fn tagged(group: &Group) -> Option<Tagged> {
    group.founding_tag.as_deref().and_then(agreement::read_tag)
}

/// What a node without data looks at before its group's cluster has had a leader.
struct Beginning<'a> {
    o: &'a Observation,
    p: &'a Policy,
    me: &'a Identity,
    group: &'a Group,
    record: &'a Record,
}

impl Beginning<'_> {
    /// Starts the founding that the tag names, of which this very disk is a founder: it has no log, so it has started
    /// nothing yet. That needs nobody's answer; the tag is the word of all (F87).
    fn complete(&self, tagged: &Tagged, start: Start) -> Decision {
        if let Some(aside) = clear_backend(self.o) {
            return aside;
        }
        let founders = tagged.founders.iter().map(|(id, nonce)| (id.clone(), Disk::of(nonce.as_ref())));
        let lost = lost_founders(self.o, tagged.cluster, &founders.collect::<Vec<_>>());
        let lost_for_good = || Decision {
            action: Action::GiveUp { cluster: tagged.cluster },
            reason: Reason::FoundingLost { cluster: tagged.cluster, lost: lost.all.clone() },
        };
        if tagged.founders.len() - lost.all.len() < quorum(tagged.founders.len()) {
            return lost_for_good();
        }
        match self.list_of(tagged) {
            Ok(agreement) if self.record.agreed.as_ref() != Some(&agreement) => {
                let reason = Reason::AgreedFounding { cluster: agreement.cluster };
                Decision { action: Action::Agree(agreement), reason }
            }
            Ok(agreement) => self.start(start, &agreement),
            // Only EC2 knew the address of an instance that is gone.
            Err(_) if !lost.all.is_empty() => lost_for_good(),
            Err(reason) => wait(reason),
        }
    }

    /// The tagged founders with their peer URLs: as this node agreed to them, as EC2 has them, or as a founder's etcd
    /// lists them. Only a list that makes the tagged cluster's id is the one.
    fn list_of(&self, tagged: &Tagged) -> Result<Agreement, Reason> {
        if let Some(agreed) = self.record.agreed.as_ref().filter(|agreed| agreed.cluster == tagged.cluster) {
            return Ok(agreed.clone());
        }
        let listed = peer_views(self.o).find(|view| view.cluster_id == tagged.cluster).and_then(|view| {
            let row = |id: &InstanceId| view.members.iter().find(|m| m.name == id.as_str());
            let urls: Option<Vec<_>> =
                tagged.founders.iter().map(|(id, _)| row(id)?.peer_urls.first().cloned()).collect();
            tagged.with_urls(&self.group.arn, urls?)
        });
        if let Some(agreement) = listed {
            return Ok(agreement);
        }
        let (_, _, ec2) = own_group(self.o)?;
        let urls: Result<Vec<_>, Reason> =
            tagged.founders.iter().map(|(id, _)| Ok(founder_entry(id, ec2, self.p)?.1)).collect();
        let others = || Reason::OthersFounding {
            cluster: tagged.cluster,
            why: "its founders have other addresses now".to_owned(),
        };
        tagged.with_urls(&self.group.arn, urls?).ok_or_else(others)
    }

    /// Why a tagged founding that is not this disk's may still become a cluster, or have been one; None where it is void.
    ///
    /// It never had a leader and never will have one when too few founders are left to be its first quorum, for each
    /// of the others says that its disk never led it and will not run it; who was silent is not named by its disk, and
    /// cannot start it before there is a leader. And nobody holds it any more when each founder says so, is gone, or has
    /// another disk now: nobody else has ever joined it, for a joiner sees to the cluster's tag first (F87).
    fn holds(&self, tagged: &Tagged) -> Option<String> {
        let cluster = tagged.cluster;
        let gave_up = |id: &InstanceId| match *id == self.me.instance {
            true => gave_up(Some(self.record), cluster),
            false => statement_of(self.o, id).is_some_and(|s| s.given_up.contains(&cluster)),
        };
        let gone = |id: &InstanceId| matches!(instance_of(self.o, id), Lives::Gone(why) if why != "shutting-down");
        let another_disk = |id: &InstanceId| {
            *id == self.me.instance || statement_of(self.o, id).is_some_and(|s| tagged.nonce(id) != Some(&s.nonce))
        };
        let (mut first, mut holding) = (0, Vec::new());
        for (id, nonce) in tagged.founders.iter().filter(|(id, _)| !gave_up(id)) {
            first += usize::from(nonce.is_some());
            holding.extend((!gone(id) && !another_disk(id)).then(|| id.to_string()));
        }
        let void = first < quorum(tagged.founders.len()) || holding.is_empty();
        (!void).then(|| format!("{} may hold it", holding.join(", ")))
    }

    /// Creates a cluster by agreement in words, never by the absence of answers (F02, F03, F07).
    fn found(&self, start: Start) -> Decision {
        let forming: BTreeSet<ClusterId> = peer_views(self.o).map(|view| view.cluster_id).collect();
        if let Some(one) = forming.first() {
            // Somebody has started it, so all had agreed: this node too, and its disk has started nothing since.
            let own = |agreed: &&Agreement| forming.contains(&agreed.cluster) && self.is_founder(agreed);
            return match self.record.agreed.as_ref().filter(own) {
                Some(agreed) => clear_backend(self.o).unwrap_or_else(|| self.start(start, agreed)),
                None => wait(Reason::FormingWithoutMe { cluster: *one }),
            };
        }
        match self.agreement() {
            Err(reason) => wait(reason),
            Ok(_) if matches!(self.o.own_data, OwnData::NoLog) => set_aside(Reason::BackendWithoutLog),
            Ok((agreement, reason)) if self.record.agreed.as_ref() != Some(&agreement) => {
                Decision { action: Action::Agree(agreement), reason }
            }
            Ok((agreement, reason)) => match agreement::tag_of(&agreement).filter(|_| !self.untaggable()) {
                Some(tag) => self.tag(&agreement, tag, reason),
                None => self.start_untagged(&agreement, start),
            },
        }
    }

    /// Not so where the record came with a copy of another instance's disk.
    fn is_founder(&self, agreed: &Agreement) -> bool {
        agreed.founders.iter().any(|f| f.instance == self.me.instance && f.nonce.as_ref() == Some(&self.record.nonce))
    }

    /// The tag comes before the start, so that whoever comes later knows. What counts is what AWS shows afterwards: of
    /// two different agreements the last one stands (F87).
    fn tag(&self, agreement: &Agreement, tag: String, reason: Reason) -> Decision {
        if self.o.before.as_ref().is_some_and(|b| b.tagged.get(FOUNDING_TAG) == Some(&tag)) {
            return wait(Reason::SecondRead { what: format!("the group's tag '{FOUNDING_TAG}'") });
        }
        let mut tags = BTreeMap::from([(FOUNDING_TAG.to_owned(), tag)]);
        if self.group.cluster_tag.is_some() {
            // By force, and so that all others can join it.
            tags.insert(CLUSTER_TAG.to_owned(), agreement.cluster.to_string());
        }
        Decision { action: Action::TagGroup { group: self.group.name.clone(), tags }, reason }
    }

    /// Where the role may not tag, a founder starts once every other one says that it has put the same on record.
    fn start_untagged(&self, agreement: &Agreement, start: Start) -> Decision {
        let agrees =
            |id: &InstanceId| statement_of(self.o, id).is_some_and(|theirs| theirs.agreed == Some(agreement.cluster));
        let others = agreement.founders.iter().map(|f| &f.instance).filter(|id| **id != self.me.instance);
        let waiting_for: Vec<InstanceId> = others.filter(|id| !agrees(id)).cloned().collect();
        match waiting_for.is_empty() {
            true => self.start(start, agreement),
            false => wait(Reason::FoundersAgreeing { cluster: agreement.cluster, waiting_for }),
        }
    }

    fn untaggable(&self) -> bool {
        self.o.before.as_ref().is_some_and(|b| b.untaggable)
    }

    fn start(&self, mut start: Start, agreement: &Agreement) -> Decision {
        if let Some(reason) = own_version(self.o).and_then(|mine| clash(mine, &versions(etcds(self.o)))) {
            return refuse(reason);
        }
        start.token = agreement::token(&self.group.arn, &agreement.founders);
        start.initial_cluster = agreement.initial_cluster();
        let own = agreement.founders.iter().find(|f| f.instance == start.name);
        start.peer_url = own.map_or(start.peer_url, |f| f.peer_url.clone());
        start.after = earlier_founders(&start.initial_cluster, &start.peer_url);
        start.state = ClusterState::New;
        Decision { action: Action::Start(start), reason: Reason::AgreedFounding { cluster: agreement.cluster } }
    }

    /// Whether enough founders have said that they have no data and see the same list, which two reads of AWS gave.
    fn agreement(&self) -> Result<(Agreement, Reason), Reason> {
        let list = settled_founders(self.o, self.p)?;
        let mine = render_initial_cluster(&list);
        let standing = standing_founders(self.o, mine.clone()).filter(|s| s.reads >= 2);
        let standing = standing.ok_or_else(|| Reason::SecondRead { what: format!("the founders {mine}") })?;
        let mut founders = Vec::new();
        let mut silent: Vec<(InstanceId, Option<&Probe>)> = Vec::new();
        for (name, peer_url) in &list {
            let instance = InstanceId::new(name.clone());
            let nonce = match statement_of(self.o, &instance) {
                _ if instance == self.me.instance => Some(self.record.nonce.clone()),
                Some(theirs) => {
                    same_list(self.group, theirs, &mine)?;
                    same_language(self.o, theirs)?;
                    Some(theirs.nonce.clone())
                }
                None => {
                    let probe = self.o.probes.iter().find(|probe| probe.instance.as_ref() == Some(&instance));
                    silent.push((instance.clone(), probe));
                    None
                }
            };
            founders.push(Founder { instance, peer_url: peer_url.clone(), nonce });
        }
        let agreed = founders.len() - silent.len();
        let reason = if silent.is_empty() {
            Reason::FoundersAgree { founders: agreed }
        } else if self.majority_is_enough(&founders, &silent, &standing) {
            Reason::FoundersMajority { agreed, silent: silent.into_iter().map(|(id, _)| id).collect() }
        } else {
            let silent = silent.iter().map(|(id, probe)| format!("{id}: {}", said(*probe))).collect();
            return Err(Reason::FoundersSilent { silent, agreed, founders: founders.len() });
        };
        Ok((agreement::agree(&self.group.arn, founders), reason))
    }

    /// A majority may create the cluster only where the group can be tagged with it, and in what is visibly the group's
    /// first generation: all founders were launched together and just now, and neither port of a silent one speaks. One
    /// founder of an earlier generation could be the last survivor of a cluster (F85).
    fn majority_is_enough(
        &self,
        founders: &[Founder],
        silent: &[(InstanceId, Option<&Probe>)],
        standing: &Standing<String>,
    ) -> bool {
        let patience_over = elapsed(standing.since, self.o.at) >= self.p.founding_grace;
        let agreed = founders.len() - silent.len();
        self.p.founding == Founding::Majority
            && !self.untaggable()
            && patience_over
            && agreed >= quorum(founders.len())
            && founders.iter().all(|f| same_generation(self.o, &f.instance) && launched_just_now(self.o, &f.instance))
            && silent.iter().all(|(_, probe)| probe.is_some_and(mute))
    }
}

/// The founders that etcd asks before this one; None for the first.
fn earlier_founders(founders: &[(String, MemberUrl)], own: &MemberUrl) -> Option<After> {
    // As text, as etcd sorts them.
    let earlier = founders.iter().map(|(_, url)| url).filter(|url| url.to_string() < own.to_string());
    let mut peer_urls: Vec<MemberUrl> = earlier.cloned().collect();
    peer_urls.sort_by_key(ToString::to_string);
    (!peer_urls.is_empty()).then_some(After { peer_urls, turn: FOUNDER_TURN })
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

/// Founders whose etcds do not understand each other would create a cluster and lose it (F89).
fn same_language(o: &Observation, theirs: &Statement) -> Result<(), Reason> {
    let (Some(mine), Some(version)) = (own_version(o), theirs.etcd) else { return Ok(()) };
    let founder = format!("founder {}", theirs.instance);
    clash(mine, &[(founder, version)]).map_or(Ok(()), Err)
}

fn same_list(group: &Group, theirs: &Statement, mine: &str) -> Result<(), Reason> {
    if theirs.founders.as_deref() == Some(mine) && theirs.group == group.arn {
        return Ok(());
    }
    let (instance, theirs) = (theirs.instance.clone(), theirs.founders.clone());
    Err(Reason::FoundersDisagree { instance, theirs, mine: mine.to_owned() })
}

fn same_generation(o: &Observation, id: &InstanceId) -> bool {
    let launched = |id: &InstanceId| o.ec2.ok()?.found.get(id)?.launched;
    let mine = o.me.ok().and_then(|me| launched(&me.instance));
    match (mine, launched(id)) {
        (Some(mine), Some(theirs)) => elapsed(mine.min(theirs), mine.max(theirs)) <= SAME_GENERATION,
        (Some(_) | None, None) | (None, Some(_)) => false,
    }
}

/// By the clock of AWS: this node's may be wrong at a first boot. A stop and start makes an instance look launched anew
/// (EC2 API reference, `Instance`, `launchTime`), which the tag must guard against.
fn launched_just_now(o: &Observation, id: &InstanceId) -> bool {
    let launched = o.ec2.ok().and_then(|ec2| ec2.found.get(id)?.launched);
    let date = o.group.ok().and_then(|group| group.date);
    launched.zip(date).is_some_and(|(launched, date)| elapsed(launched, date) <= LAUNCHED_JUST_NOW)
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
    let Some(list) = cluster.confirmed_list() else { return without_quorum(o, p, cluster) };
    // `force` is a person's word that the tag is wrong.
    let wrong = other_tag(o, cluster.id).filter(|_| p.initial_cluster != InitialCluster::Force);
    if let Some(tag) = wrong {
        return refuse(Reason::NotTheTaggedCluster { tag: tag.to_owned(), seen: cluster.id });
    }
    let plan = Plan { o, p, me, cluster, list };
    match own_row(list, me, p) {
        Some(row) if plan.has_never_run(row) => plan.resume(row, start),
        Some(row) => plan.reclaim(row),
        None => plan.enter(start),
    }
}

/// The group's tag where it names another cluster than this one.
fn other_tag(o: &Observation, cluster: ClusterId) -> Option<&str> {
    o.group.ok()?.cluster_tag.as_deref().filter(|tag| !cluster.is_meant_by(tag))
}

fn tag_names(o: &Observation, cluster: ClusterId) -> bool {
    let tag = o.group.ok().and_then(|group| group.cluster_tag.as_ref());
    tag.is_some_and(|tag| cluster.is_meant_by(tag))
}

fn without_quorum(o: &Observation, p: &Policy, cluster: &Cluster<'_>) -> Decision {
    let denied = cluster.client_failures().find_map(|(url, why)| match why {
        Blind { kind: BlindKind::Denied, why } => Some(format!("{url}: {why}")),
        _ => None,
    });
    if let Some(why) = denied {
        return refuse(Reason::Denied { why });
    }
    let answering = cluster.views.iter().map(|(url, _)| url.to_string()).collect();
    let why = cluster.client_failures().map(|(url, blind)| format!("{url}: {}", blind.why)).collect();
    wait(Reason::NoQuorum { cluster: cluster.id, answering, why, lack: lack(o, p, cluster) })
}

/// Why there is no quorum. A member's own list is no authority (F20), but good enough for advice.
fn lack(o: &Observation, p: &Policy, cluster: &Cluster<'_>) -> Lack {
    let listed = cluster.views.iter().flat_map(|(_, view)| &view.members);
    let voters: BTreeMap<MemberId, &Member> = listed.filter(|m| !m.learner).map(|m| (m.id, m)).collect();
    let needed = quorum(voters.len());
    let runs = |m: &&&Member| cluster.views.iter().any(|(url, _)| m.peer_urls.contains(url));
    // A member of this node's own has lost its data.
    let exists = |m: &&&Member| !matches!(judge(o, p, m), Verdict::Dead(_) | Verdict::Me);
    if voters.values().filter(runs).count() >= needed {
        let shut = cluster.clients.iter().any(|(_, client)| client.is_err());
        return if shut { Lack::ClientPort } else { Lack::Leader };
    }
    if voters.values().filter(exists).count() >= needed { Lack::Etcds } else { Lack::Instances }
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
        let mine = row.name == self.me.instance.as_str() && self.is_no_other_disk();
        let added = row.name.is_empty() && (row.learner || !self.prefers_learners());
        !row.published() && (mine || added)
    }

    /// Whether the founder that this instance was had no other disk than this one, which may have voted: this one agreed
    /// to that founding, or none did, for it was silent then.
    fn is_no_other_disk(&self) -> bool {
        let agreed = self.o.record.ok().and_then(|record| record.agreed.as_ref());
        let tagged = self.o.group.ok().and_then(tagged).filter(|tagged| tagged.cluster == self.cluster.id);
        let silent = |t: Tagged| t.founders.iter().any(|(id, nonce)| *id == self.me.instance && nonce.is_none());
        agreed.is_some_and(|agreed| agreed.cluster == self.cluster.id) || tagged.is_some_and(silent)
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
            if !silent(self.o, self.p, row) {
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
            if !silent(self.o, self.p, former) {
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
        let Some(via) = self.spokesman(member.id) else { return self.without_quorum() };
        self.tag().unwrap_or(Decision { action: Action::Remove { member: member.id, via }, reason })
    }

    /// Writes the group's tag before the first change of a run where it does not name this cluster: a person or a tool
    /// has removed it (Terraform does), no `ready` of a member could write it, or the cluster is that of `force`.
    fn tag(&self) -> Option<Decision> {
        let group = self.o.group.ok()?;
        let named = |tag: &String| self.cluster.id.is_meant_by(tag);
        let settled = |b: &Before| b.untaggable || b.tagged.get(CLUSTER_TAG).is_some_and(named);
        if group.cluster_tag.as_ref().is_some_and(named) || self.o.before.as_ref().is_some_and(settled) {
            return None;
        }
        let tags = BTreeMap::from([(CLUSTER_TAG.to_owned(), self.cluster.id.to_string())]);
        let action = Action::TagGroup { group: group.name.clone(), tags };
        Some(Decision { action, reason: Reason::Untagged { cluster: self.cluster.id } })
    }

    fn without_quorum(&self) -> Decision {
        without_quorum(self.o, self.p, self.cluster)
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
        let Some(via) = self.spokesman(MemberId(0)) else { return self.without_quorum() };
        let caution = own_version(self.o).and_then(|mine| upgrade_trap(mine, self.cluster));
        let joining = Reason::Joining { cluster: self.cluster.id, members: self.list.len(), as_learner, caution };
        let reason = self.foreign_in_the_way().unwrap_or(joining);
        self.tag().unwrap_or(Decision { action: Action::Add { peer_url: start.peer_url, as_learner, via }, reason })
    }

    /// What may be the cause of etcd's refusal: its strict check wants every voter that has started (F21), and nobody but a
    /// person knows what became of one that belongs to no instance (F92).
    fn foreign_in_the_way(&self) -> Option<Reason> {
        let silent_voter = |m: &&Member| {
            !m.learner && silent(self.o, self.p, m) && matches!(judge(self.o, self.p, m), Verdict::Foreign(_))
        };
        let member = self.list.iter().filter(|_| self.refusals() > 0).find(silent_voter)?.to_string();
        Some(Reason::ForeignInTheWay { member })
    }

    fn refusals(&self) -> u32 {
        self.o.before.as_ref().map_or(0, |before| before.refusals)
    }

    /// The client URL of a voter to talk to about others: one that a quorum listens to and not the one in question. After
    /// a refusal the next one: etcd's strict check is the view of the member that is asked (F110).
    fn spokesman(&self, not: MemberId) -> Option<MemberUrl> {
        let fit = |view: &ClientView| !view.learner && view.member_id != not && view.quorum_list.ok().is_some();
        let fit: Vec<&MemberUrl> = self.cluster.serving().filter(|(_, view)| fit(view)).map(|(url, _)| url).collect();
        let turn = usize::try_from(self.refusals()).ok()?.checked_rem(fit.len())?;
        Some(self.p.client_url_beside(fit[turn]))
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
    let Some(owner) = owner_of(m, ec2, group) else { return judge_unowned(o, p, (me, ec2), m) };
    if owner == me.instance {
        return Verdict::Me;
    }
    if let Some(proof) = ec2_proof(ec2, &owner) {
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
        (None, None) if !m.peer_urls.iter().any(|url| in_vpc(me, url)) => {
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
fn judge_unowned(o: &Observation, p: &Policy, (me, ec2): (&Identity, &Ec2), m: &Member) -> Verdict {
    // At a further address of an instance may be a container's etcd, which a person adds just now.
    let held = ec2.found.values().any(|i| m.peer_urls.iter().any(|url| i.has(url)));
    let never_started = m.name.is_empty() && !m.published() && !held && m.peer_urls.iter().any(|url| in_vpc(me, url));
    match confirmed_silence(o, p, m, NEVER_STARTED_GRACE) {
        Some(silent_for) if never_started => Verdict::Dead(Proof::NeverStarted { silent_for }),
        Some(silent_for) if p.prune_foreign => Verdict::Dead(Proof::Foreign { silent_for }),
        Some(_) | None => Verdict::Foreign("its name and address belong to no instance of this group".to_owned()),
    }
}

/// EC2's own word that an instance is gone for good (F37).
fn ec2_proof(ec2: &Ec2, owner: &InstanceId) -> Option<Proof> {
    let i = ec2.found.get(owner).filter(|i| has_ended(i))?;
    Some(Proof::Ec2State { instance: owner.clone(), state: i.state.clone() })
}

/// What speaks against EC2's word about the instance that a member is named after: an instance which started from a copy
/// of the member's disk has given it its own name (F88). One that waits without data at the address is not the member.
fn contradiction(o: &Observation, me: &Identity, ec2: &Ec2, owner: &InstanceId, m: &Member) -> Option<String> {
    let at_its_url = |probe: &&Probe| m.peer_urls.contains(&probe.url) && !is_stranger(o, probe);
    let mut probes = o.probes.iter().filter(at_its_url);
    let state = ec2.found.get(owner).map_or("unknown", |i| i.state.as_str());
    let itself = |probe: &Probe| matches!(&probe.client, Some(Ok(client)) if client.member_id == m.id);
    if let Some(probe) = probes.clone().find(|probe| state == "terminated" && itself(probe)) {
        return Some(format!("EC2 says that {owner} is {state}, but the member answers at {}", probe.url));
    }
    let (holder, instance) = living_holder(ec2, m, &[owner, &me.instance])?;
    let vacant = probes.any(|probe| matches!(probe.peer, PeerAnswer::Founding(_)));
    let why = || format!("EC2 says that {owner} is {state}, but its address is that of {holder}, {}", instance.state);
    (!vacant).then(why)
}

/// The instance that a member stands for: by its name, or else by its address (F26).
fn owner_of(m: &Member, ec2: &Ec2, group: &Group) -> Option<InstanceId> {
    InstanceId::from_member_name(&m.name).or_else(|| {
        let holders = ec2.found.iter().filter(|(_, i)| holds(i, m));
        holders.min_by_key(|(id, i)| (has_ended(i), !group.instances.contains_key(*id))).map(|(id, _)| id.clone())
    })
}

/// An instance that is not gone and has one of a member's addresses, the given ones left out.
fn living_holder<'a>(ec2: &'a Ec2, m: &Member, without: &[&InstanceId]) -> Option<(&'a InstanceId, &'a Instance)> {
    ec2.found.iter().find(|(id, i)| !without.contains(id) && !has_ended(i) && holds(i, m))
}

fn holds(i: &Instance, m: &Member) -> bool {
    m.peer_urls.iter().any(|url| i.addresses.hold(url))
}

fn has_ended(i: &Instance) -> bool {
    matches!(i.state.as_str(), "shutting-down" | "terminated")
}

/// How long a silent member has looked gone if that is long enough and confirmed by a second read of AWS.
fn confirmed_silence(o: &Observation, p: &Policy, m: &Member, grace: Duration) -> Option<Duration> {
    let standing = standing_suspicion(o, m).filter(|_| silent(o, p, m))?;
    Some(elapsed(standing.since, o.at)).filter(|silent_for| *silent_for >= grace && standing.reads >= 2)
}

/// The passes that found a member gone, this one included; None without a group.
fn standing_suspicion(o: &Observation, m: &Member) -> Option<Standing<()>> {
    let earlier = o.before.as_ref().and_then(|b| b.suspects.get(&m.id));
    Some(continued(earlier, (), o.at, o.group.ok()?.read_at))
}

/// Whether nothing of a member comes from any of its peer URLs. What leads to this node's own peer port is nobody
/// else's any more, and a stranger at a URL is not the member.
fn silent(o: &Observation, p: &Policy, m: &Member) -> bool {
    let quiet = |probe: &Probe| {
        matches!(&probe.peer, PeerAnswer::Absent(Absence::Refused | Absence::NoAnswer(_) | Absence::NoName(_)))
            || is_stranger(o, probe)
    };
    let own = |url: &MemberUrl| o.me.ok().is_some_and(|me| p.is_peer_url_of(&me.addresses, url));
    m.peer_urls.iter().all(|url| {
        let mut probes = o.probes.iter().filter(|probe| probe.url == *url).peekable();
        let asked = probes.peek().is_some();
        (asked && probes.all(quiet)) || (!asked && own(url))
    })
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
    address.is_some_and(|address| me.vpc_ranges.iter().any(|range| range_holds(range, address)))
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
    // A consumer asks no peer port, and knows what a quorum confirms only.
    let confirmed = client_views(o).filter_map(|(_, view)| view.quorum_list.ok()).flatten();
    let members = listed.values().copied().chain(confirmed);
    let mut member_instances: BTreeSet<InstanceId> =
        members.filter_map(|m| InstanceId::from_member_name(&m.name)).collect();
    let tag = o.group.ok().and_then(tagged);
    let mut founding: Vec<InstanceId> = tag.into_iter().flat_map(|t| t.founders).map(|(id, _)| id).collect();
    founding.extend(own_founders(o));
    member_instances.extend(founding.iter().cloned());
    let forgotten_founders = founding.into_iter().filter_map(|id| Some((id.clone(), forgotten(o, &id)?))).collect();
    let before = o.before.as_ref();
    Before {
        founders,
        suspects,
        member_instances,
        forgotten_founders,
        tagged: before.map(|b| b.tagged.clone()).unwrap_or_default(),
        untaggable: before.is_some_and(|b| b.untaggable),
        refusals: 0,
    }
}

/// The instances that the own log's initial cluster names.
fn own_founders(o: &Observation) -> Vec<InstanceId> {
    match &o.own_data {
        OwnData::Log { founders, .. } => {
            founders.iter().filter_map(|f| InstanceId::from_member_name(&f.name)).collect()
        }
        OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => Vec::new(),
    }
}

fn looks_gone(o: &Observation, p: &Policy, m: &Member) -> bool {
    let candidate = match judge(o, p, m) {
        Verdict::Unknown(_) => own_group(o).is_ok_and(|(_, _, ec2)| {
            InstanceId::from_member_name(&m.name).is_some_and(|owner| ec2.asked.contains(&owner))
        }),
        Verdict::Foreign(_) | Verdict::Dead(_) => true,
        Verdict::Me | Verdict::Alive(_) => false,
    };
    candidate && silent(o, p, m)
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
/// while it does not know who or where it is, or cannot keep its word.
pub fn statement(o: &Observation, p: &Policy) -> Option<Statement> {
    // Who has data, or sees an etcd, formed or forming, agrees to no new cluster.
    let free = matches!(o.own_data, OwnData::Empty | OwnData::NoLog) && peer_views(o).next().is_none();
    let founders = settled_founders(o, p).ok().filter(|_| free).map(|list| render_initial_cluster(&list));
    let (me, group, record) = (o.me.ok()?, o.group.ok()?, o.record.ok()?);
    Some(Statement {
        instance: me.instance.clone(),
        group: group.arn.clone(),
        founders,
        etcd: own_version(o),
        nonce: record.nonce.clone(),
        given_up: record.given_up.clone(),
        agreed: record.agreed.as_ref().map(|agreed| agreed.cluster),
    })
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
        (Some((cluster, list)), None) => match endpoints(o, list) {
            Ok(endpoints) => {
                Decision { action: Action::Follow { endpoints }, reason: Reason::Endpoints { cluster: *cluster } }
            }
            Err(reason) => wait(reason),
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

/// The published voters' client URLs, less those of instances that EC2 calls gone: a consumer must not wait for the
/// next member to prune them. That a reply lacks an instance is no word on it, so EC2 is asked for each by its id, and
/// what it says of most of them at once is not believed: they have just confirmed the list (F107).
fn endpoints(o: &Observation, list: &[Member]) -> Result<Vec<MemberUrl>, Reason> {
    let voters: Vec<&Member> = list.iter().filter(|m| !m.learner && m.published()).collect();
    if voters.is_empty() {
        return Err(nobody_serves(o));
    }
    let asked = |id: &InstanceId| o.ec2.ok().is_some_and(|ec2| ec2.asked.contains(id));
    let mut names = voters.iter().filter_map(|m| InstanceId::from_member_name(&m.name));
    if let Some(unasked) = names.find(|id| !asked(id)) {
        return Err(Reason::SecondRead { what: format!("whether {unasked} is gone") });
    }
    let living: Vec<&Member> = voters.iter().copied().filter(|m| !is_gone(o, m)).collect();
    if living.len() < quorum(voters.len()) {
        return Err(Reason::TooFewEndpoints { living: living.len(), voters: voters.len() });
    }
    let urls: BTreeSet<&MemberUrl> = living.iter().flat_map(|m| &m.client_urls).collect();
    Ok(urls.into_iter().cloned().collect())
}

fn is_gone(o: &Observation, m: &Member) -> bool {
    let found = InstanceId::from_member_name(&m.name).and_then(|id| o.ec2.ok()?.found.get(&id));
    found.is_some_and(has_ended)
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

    /// A member's entry, as confirmed or else as anyone lists it.
    fn row(&self, member: MemberId) -> Option<&'a Member> {
        let local = self.views.iter().flat_map(|(_, view)| &view.members);
        self.confirmed_list().into_iter().flatten().chain(local).find(|m| m.id == member)
    }

    /// How far a quorum has committed, by the furthest of those that it confirmed the list to.
    fn commit(&self) -> Option<u64> {
        let confirmed = self.serving().filter(|(_, view)| view.quorum_list.ok().is_some());
        confirmed.filter_map(|(_, view)| view.commit).max()
    }

    fn serving(&self) -> impl Iterator<Item = (&'a MemberUrl, &'a ClientView)> {
        self.clients.iter().filter_map(|(url, view)| Some((*url, view.as_ref().ok()?)))
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

/// Whether an answer is none of this group's. On the address of a dead member may be anybody: what counts there is a
/// cluster that the group's own instances list it for (F91).
pub fn is_stranger(o: &Observation, probe: &Probe) -> bool {
    let lists_it = |lister: &Probe, cluster: ClusterId| {
        let local = match &lister.peer {
            PeerAnswer::Member(view) if view.cluster_id == cluster => view.members.as_slice(),
            PeerAnswer::Member(_) | PeerAnswer::Founding(_) | PeerAnswer::Absent(_) => &[],
        };
        let confirmed = match &lister.client {
            Some(Ok(view)) if view.cluster_id == cluster => {
                view.quorum_list.ok().map(Vec::as_slice).unwrap_or_default()
            }
            Some(Ok(_) | Err(_)) | None => &[],
        };
        lister.instance.is_some() && local.iter().chain(confirmed).any(|m| m.peer_urls.contains(&probe.url))
    };
    probe.instance.is_none()
        && match &probe.peer {
            PeerAnswer::Member(view) => !o.probes.iter().any(|lister| lists_it(lister, view.cluster_id)),
            PeerAnswer::Founding(said) => o.group.ok().is_some_and(|group| group.arn != said.group),
            PeerAnswer::Absent(_) => false,
        }
}

fn peer_views(o: &Observation) -> impl Iterator<Item = &PeerView> {
    etcds(o).map(|(_, view)| view)
}

/// What answers as etcd, with its URL, and is no stranger.
fn etcds(o: &Observation) -> impl Iterator<Item = (&MemberUrl, &PeerView)> {
    o.probes.iter().filter(|probe| !is_stranger(o, probe)).filter_map(|probe| match &probe.peer {
        PeerAnswer::Member(view) => Some((&probe.url, view)),
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
    let mut probes: Vec<&Probe> = o.probes.iter().filter(|probe| !is_stranger(o, probe)).collect();
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
        token: o.group.ok().map(|g| agreement::plain(&g.arn)).unwrap_or_default(),
        peer_url: p.peer_url(&me.addresses)?,
        client_url: p.client_url(&me.addresses)?,
        listen: me.addresses.ip()?,
        after: None,
    })
}

/// The member whose peer URL leads to this node's peer port, in whichever form the cluster lists it (F29).
fn own_row<'a>(list: &'a [Member], me: &Identity, p: &Policy) -> Option<&'a Member> {
    list.iter().find(|m| m.peer_urls.iter().any(|url| p.is_peer_url_of(&me.addresses, url)))
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
    let plain = !m.name.is_empty() && m.name.chars().all(|c| c.is_ascii() && in_initial_cluster(c));
    let name = if plain && !taken.contains(&m.name) { m.name.clone() } else { format!("member-{}", m.id) };
    taken.insert(name.clone());
    name
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
    Decision { action: Action::SetDataAside { gives_up: None }, reason }
}
