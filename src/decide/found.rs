//! Creating a cluster: who its founders are, that they agree, and what the group's tag makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::founders::{Disk, Lives, founders_sighting, gave_up, instance_of, lost_founders, statement_of, tagged};
use super::start::{clear_backend, earlier, refuse, set_aside, wait};
use super::version::{clash, own_version, versions};
use super::view::{describe, elapsed, etcds, own_group, peer_views, quorum, tag_refused};
use crate::model::agreement;
use crate::model::agreement::Tagged;
use crate::model::{
    Absence, Action, Agreement, Blind, BlindKind, CLUSTER_TAG, Change, ClusterId, ClusterState, Decision, Ec2,
    Ec2State, FOUNDING_TAG, Founder, FoundingRule, Group, Identity, InitialCluster, InstanceId, MemberUrl, Observation,
    OwnData, PeerAnswer, Policy, Predecessors, Probe, Reason, Record, Seen, Sighting, Start, Statement, Until,
    render_initial_cluster,
};

/// A founder's etcd asks the others in the order of their peer URLs, takes the first answer, and waits one second for
/// each that has started and does not serve yet (cluster_util.go:41-66, cluster.go `PeerURLs`, v3.7.1). So all but the
/// first wait until one before them in that order serves, which takes an etcd some 0.1 s on an idle disk, and at most
/// this long for each one before them: as long as the wait that it spares.
const FOUNDER_TURN: Duration = Duration::from_secs(1);

/// Founders of a first generation are launched by one scaling activity, within seconds. This must stay below the time
/// in which a cluster may form, lose an instance and get its replacement: that one's list is another, and its majority
/// could be one of nodes that know nothing of the cluster.
const SAME_GENERATION: Duration = Duration::from_secs(60);

/// How long ago a first generation may have been launched. Founders of one scaling activity are launched together a
/// year later too: then the silent one may be the last survivor of their cluster. A fresh group agrees within minutes
/// of its launch even where its boot is slow.
const LAUNCHED_JUST_NOW: Duration = Duration::from_secs(15 * 60);

/// Nobody answers who has known a leader. What the group's tag names comes first: its founders have agreed, and some of
/// their etcds may run.
pub(super) fn before_any_leader(o: &Observation, p: &Policy, me: &Identity, start: Start) -> Decision {
    let group = match own_group(o) {
        Ok((_, group, _)) => group,
        Err(reason) => return wait(reason),
    };
    let record = match &o.record {
        Seen::Yes(record) => record,
        Seen::No(Blind { kind: BlindKind::Absent, .. }) => {
            return Decision { action: Action::Change(Change::BeginRecord), reason: Reason::NothingOnRecord };
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
            action: Action::Change(Change::GiveUp { cluster: tagged.cluster }),
            reason: Reason::FoundingLost { cluster: tagged.cluster, lost: lost.all.clone() },
        };
        if tagged.founders.len() - lost.all.len() < quorum(tagged.founders.len()) {
            return lost_for_good();
        }
        match self.list_of(tagged) {
            Ok(agreement) if self.record.agreed.as_ref() != Some(&agreement) => {
                let reason = Reason::AgreedFounding { cluster: agreement.cluster };
                Decision { action: Action::Change(Change::Agree(agreement)), reason }
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
    pub(super) fn holds(&self, tagged: &Tagged) -> Option<String> {
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
    pub(super) fn found(&self, start: Start) -> Decision {
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
                Decision { action: Action::Change(Change::Agree(agreement)), reason }
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
    /// two different agreements the last one stands (F87). To write it again meanwhile would do no harm, but cost calls.
    pub(super) fn tag(&self, agreement: &Agreement, tag: String, reason: Reason) -> Decision {
        if self.o.history.as_ref().is_some_and(|b| b.deeds.tagged.get(FOUNDING_TAG) == Some(&tag)) {
            return wait(Reason::SecondRead { what: format!("the group's tag '{FOUNDING_TAG}'") });
        }
        let mut tags = BTreeMap::from([(FOUNDING_TAG.to_owned(), tag)]);
        if self.group.cluster_tag.is_some() {
            // By force, and so that all others can join it.
            tags.insert(CLUSTER_TAG.to_owned(), agreement.cluster.to_string());
        }
        let reason = tag_refused(self.o, agreement.cluster).unwrap_or(reason);
        Decision { action: Action::Change(Change::TagGroup { group: self.group.name.clone(), tags }), reason }
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

    /// Where the role may not, and where no Auto Scaling group is there to be tagged in one piece.
    pub(super) fn untaggable(&self) -> bool {
        self.group.plain.is_some() || self.o.history.as_ref().is_some_and(|b| b.deeds.untaggable)
    }

    pub(super) fn start(&self, mut start: Start, agreement: &Agreement) -> Decision {
        if let Some(reason) = own_version(self.o).and_then(|mine| clash(mine, &versions(etcds(self.o)))) {
            return refuse(reason);
        }
        start.token = agreement::token(&self.group.arn, &agreement.founders);
        start.initial_cluster = agreement.initial_cluster();
        let own = agreement.founders.iter().find(|f| f.instance == start.name);
        start.peer_url = own.map_or(start.peer_url, |f| f.peer_url.clone());
        // etcd asks the founders in this order.
        let peer_urls = earlier(start.initial_cluster.iter().map(|(_, url)| url), &start.peer_url);
        let first = peer_urls.is_empty();
        start.after = (!first).then_some(Predecessors { peer_urls, until: Until::OneServes, turn: FOUNDER_TURN });
        start.state = ClusterState::New;
        Decision { action: Action::Start(start), reason: Reason::AgreedFounding { cluster: agreement.cluster } }
    }

    /// Whether enough founders have said that they have no data and see the same list, which two reads of AWS gave.
    pub(super) fn agreement(&self) -> Result<(Agreement, Reason), Reason> {
        let list = settled_founders(self.o, self.p)?;
        let mine = render_initial_cluster(&list);
        let standing = founders_sighting(self.o, mine.clone()).filter(|s| s.reads >= 2);
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
            let silent = silent.iter().map(|(id, probe)| format!("{id}: {}", describe(*probe))).collect();
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
        standing: &Sighting<String>,
    ) -> bool {
        let patience_over = elapsed(standing.first_seen, self.o.taken_at) >= self.p.founding_grace;
        let agreed = founders.len() - silent.len();
        self.p.founding == FoundingRule::Majority
            && !self.untaggable()
            && patience_over
            && agreed >= quorum(founders.len())
            && founders.iter().all(|f| same_generation(self.o, &f.instance) && launched_just_now(self.o, &f.instance))
            && silent.iter().all(|(_, probe)| probe.is_some_and(mute))
    }
}

/// The initial cluster that this group asks for, sorted by instance id, when the group is settled (F02, F06, F71).
pub(super) fn settled_founders(o: &Observation, p: &Policy) -> Result<Vec<(String, MemberUrl)>, Reason> {
    let (me, group, ec2) = own_group(o)?;
    if let Some(reason) = forbids_creation(o, p, group) {
        return Err(reason);
    }
    let eligible: Vec<&InstanceId> =
        group.instances.iter().filter(|(_, state)| state.counts_for_group()).map(|(id, _)| id).collect();
    let other: Vec<String> = group
        .instances
        .iter()
        .filter(|(_, state)| !state.counts_for_group() && !state.is_warm())
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
        PeerAnswer::Absent(Absence::Tls(_) | Absence::Denied(_) | Absence::NotUnderstood(_)) => true,
        PeerAnswer::Absent(Absence::Refused | Absence::NoAnswer(_) | Absence::NoName(_) | Absence::NotAsked) => false,
        PeerAnswer::Etcd(_) | PeerAnswer::Agent(_) => false,
    });
    unclear.map(|probe| format!("{}: {}", probe.asked, describe(Some(probe)))).collect()
}

fn founder_entry(id: &InstanceId, ec2: &Ec2, p: &Policy) -> Result<(String, MemberUrl), Reason> {
    let instance = ec2.found.get(id).filter(|i| matches!(i.state, Ec2State::Pending | Ec2State::Running));
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
