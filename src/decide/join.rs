//! Joining a formed cluster: who is removed first, what stands in the way, and by whom this node is added.

use std::time::Duration;

use super::confirmed::Confirmed;
use super::death::{Verdict, judge, silent};
use super::founders::tagged;
use super::start::{clear_backend, earlier, initial_cluster_of, own_row, refuse, wait};
use super::version::{clash, cluster_versions, follows, own_version, too_old, upgrade_trap, versions};
use super::view::{Cluster, other_tag, own_group, quorum};
use crate::model::agreement::Tagged;
use crate::model::{
    Action, Change, Decision, EtcdVersion, Identity, InitialCluster, InstanceId, JoinAs, Member, MemberUrl,
    Observation, PeerView, Policy, Predecessors, Proof, Reason, Start, Until, Vote,
};

/// An etcd that joins opens its port, asks all members for their version, and serves after that: before 3.6 it waits for
/// each answer without end (`getVersion`, server/etcdserver/cluster_util.go:280, v3.5.35; :244, v3.6.16). Two that start at
/// the same moment wait for each other for ever. Members added at the same time start one after the other, each at most
/// this long after the one before it: once the agent has gone, an etcd of the system's needs a second to serve.
const JOINER_TURN: Duration = Duration::from_secs(10);

pub(super) fn join(o: &Observation, p: &Policy, me: &Identity, cluster: &Cluster<'_>, start: Start) -> Decision {
    let seen = match Confirmed::of(o, p, cluster) {
        Ok(seen) => seen,
        Err(decision) => return *decision,
    };
    // `force` is a person's word that the tag is wrong.
    let wrong = other_tag(o, cluster.id).filter(|_| p.initial_cluster != InitialCluster::Force);
    if let Some(tag) = wrong {
        return refuse(Reason::NotTheTaggedCluster { tag: tag.to_owned(), seen: cluster.id });
    }
    let (list, join) = (seen.list, Join { me, seen });
    match own_row(list, me, p) {
        Some(row) if join.has_never_run(row) => join.resume(row, start),
        Some(row) => join.reclaim(row),
        None => join.enter(start),
    }
}

/// What the steps of a join look at.
struct Join<'a> {
    me: &'a Identity,
    seen: Confirmed<'a>,
}

impl Join<'_> {
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
        let agreed = self.seen.o.record.ok().and_then(|record| record.agreed.as_ref());
        let tagged = self.seen.o.group.ok().and_then(tagged).filter(|tagged| tagged.cluster == self.seen.cluster.id);
        let silent = |t: Tagged| t.founders.iter().any(|(id, nonce)| *id == self.me.instance && nonce.is_none());
        agreed.is_some_and(|agreed| agreed.cluster == self.seen.cluster.id) || tagged.is_some_and(silent)
    }

    /// Listed and never started: start from the list, no second add (F27).
    fn resume(&self, row: &Member, mut start: Start) -> Decision {
        if let Some(stop) = self.misfit() {
            return stop;
        }
        if let Some(reason) = self.outdated_member(Some(row)) {
            return wait(reason);
        }
        if let Some(aside) = clear_backend(self.seen.o) {
            return aside;
        }
        start.initial_cluster = initial_cluster_of(self.seen.list, row, &mut start);
        start.after = self.earlier_joiners(&start.peer_url);
        Decision { action: Action::Start(start), reason: Reason::Resume { member: row.id } }
    }

    /// Who was added and has not served yet, as this node; None where nobody like that comes before it.
    fn earlier_joiners(&self, own: &MemberUrl) -> Option<Predecessors> {
        let joiners = self.seen.list.iter().filter(|m| !m.published());
        let peer_urls = earlier(joiners.flat_map(|m| &m.peer_urls), own);
        let first = peer_urls.is_empty();
        (!first).then_some(Predecessors { peer_urls, until: Until::AllServe, turn: JOINER_TURN })
    }

    /// My URL belongs to a member that has run, or that bears another's name (F28, F32, F46).
    fn reclaim(&self, row: &Member) -> Decision {
        let member = row.into();
        let owner = InstanceId::from_member_name(&row.name);
        if owner.is_none() || owner.as_ref() == Some(&self.me.instance) {
            if !silent(self.seen.o, self.seen.p, row) {
                return refuse(Reason::AddressTaken { member });
            }
            return self.seen.remove(row, Reason::ReplacesOwnLostDisk { member });
        }
        match judge(self.seen.o, self.seen.p, row) {
            Verdict::Dead(proof) => self.seen.remove(row, Reason::AddressReused { member, proof }),
            Verdict::Alive(_) | Verdict::Me => refuse(Reason::AddressTaken { member }),
            Verdict::Unknown(why) | Verdict::Foreign(why) => wait(Reason::OwnerUnknown { member, why }),
        }
    }

    fn enter(&self, start: Start) -> Decision {
        if let Some(former) = self.seen.list.iter().find(|m| m.name == self.me.instance.as_str()) {
            if !silent(self.seen.o, self.seen.p, former) {
                return refuse(Reason::AddressTaken { member: former.into() });
            }
            return self.seen.remove(former, Reason::ProvenDead { member: former.into(), proof: Proof::Myself });
        }
        if let Some((member, proof)) = self.seen.first_dead() {
            return self.seen.remove(member, Reason::ProvenDead { member: member.into(), proof });
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
        let mine = own_version(self.seen.o)?;
        let members = versions(self.seen.cluster.views.iter().copied());
        let lowest = members.iter().map(|(_, version)| *version).min();
        too_old(mine, cluster_versions(self.seen.cluster).max().or(lowest))
            .or_else(|| clash(mine, &members))
            .map(refuse)
            .or_else(|| self.lags_behind(mine).map(wait))
    }

    /// A member that is silent now may be of the version that the cluster's own stays at for its sake. etcd raises that
    /// one within 4 s once all members answer (version/monitor.go, v3.6.16).
    fn lags_behind(&self, mine: EtcdVersion) -> Option<Reason> {
        let version = cluster_versions(self.seen.cluster).min()?;
        let (newer, older) = (format!("this node's etcd {mine}"), format!("the cluster's version {version}"));
        (!follows(mine, version)).then_some(Reason::VersionSkipsAMinor { newer, older })
    }

    /// What stands in the way of an add: one join at a time (F14), and only where the group wants this node.
    fn obstacle(&self) -> Option<Reason> {
        let state = match own_group(self.seen.o) {
            Ok((me, group, _)) => group.instances.get(&me.instance),
            Err(reason) => return Some(reason),
        };
        if let Some(state) = state.filter(|state| !state.counts_for_group()) {
            return Some(Reason::Leaving { state: state.clone() });
        }
        let unknown = |m: &&Member| matches!(judge(self.seen.o, self.seen.p, m), Verdict::Unknown(_));
        if let Some(m) = self.seen.list.iter().find(unknown) {
            return Some(Reason::SecondRead { what: format!("what becomes of member {m}") });
        }
        if let Some(other) = self.seen.list.iter().find(|m| !m.published()) {
            return Some(Reason::OtherJoining { member: other.into() });
        }
        let learner = self.seen.list.iter().find(|m| m.learner);
        let learner = learner.map(|m| Reason::LearnerNotPromoted { member: m.into() });
        learner.or_else(|| self.outdated_member(None)).or_else(|| self.unsettled_version())
    }

    /// An etcd that joins has its id from the first member that answers, in the order of their URLs
    /// (`getClusterFromRemotePeers`, server/etcdserver/cluster_util.go, v3.6.16). One that is cut off from the leader may
    /// still list whom this node was before, at the same URL (F130).
    fn outdated_member(&self, row: Option<&Member>) -> Option<Reason> {
        let views = self.seen.cluster.views.iter();
        let mut former = views.filter_map(|(at, view)| Some((*at, own_row(&view.members, self.me, self.seen.p)?.id)));
        let (at, former) = former.find(|(_, id)| row.is_none_or(|row| row.id != *id))?;
        Some(Reason::OutdatedMember { at: at.to_string(), former })
    }

    /// A version that all members are beyond is about to rise, or a downgrade is under way. In one, no etcd starts that
    /// has no data: it wants a cluster that is still one minor above (cluster_util.go:174-185, v3.6.16).
    fn unsettled_version(&self) -> Option<Reason> {
        own_version(self.seen.o)?;
        let all = self.seen.list.iter().all(|m| self.seen.answers(m)).then_some(&self.seen.cluster.views)?;
        let lowest = versions(all.iter().copied()).into_iter().map(|(_, version)| version).min()?;
        let cluster = cluster_versions(self.seen.cluster).max().filter(|cluster| cluster.line() < lowest.line())?;
        Some(Reason::VersionUnsettled { cluster: cluster.to_string(), lowest: lowest.to_string() })
    }

    /// Adds this node; a voter only where the cluster survives if it never starts (S3, F25, E13).
    fn add(&self, start: Start) -> Decision {
        let voters = self.seen.list.iter().filter(|m| !m.learner).count();
        let reachable = self.seen.reachable_voters(None);
        let needed = quorum(voters + 1);
        let learner = self.prefers_learners() || (reachable < needed && self.seen.p.join_as == JoinAs::Auto);
        let vote = if learner { Vote::Learner } else { Vote::Voter };
        if vote == Vote::Voter && reachable < needed {
            return wait(Reason::AdditionRisksQuorum { reachable, needed });
        }
        if let Some(aside) = clear_backend(self.seen.o) {
            return aside;
        }
        let Some(via) = self.seen.voter_to_ask(None) else { return self.seen.without_quorum() };
        let caution = own_version(self.seen.o).and_then(|mine| upgrade_trap(mine, self.seen.cluster));
        let joining = Reason::Joining { cluster: self.seen.cluster.id, members: self.seen.list.len(), vote, caution };
        let reason = self.foreign_in_the_way().unwrap_or(joining);
        self.seen
            .tag()
            .unwrap_or(Decision { action: Action::Change(Change::Add { peer_url: start.peer_url, vote, via }), reason })
    }

    /// What may be the cause of etcd's refusal: its strict check wants every voter that has started (F21), and nobody but a
    /// person knows what became of one that belongs to no instance (F92).
    fn foreign_in_the_way(&self) -> Option<Reason> {
        let silent_voter = |m: &&Member| {
            !m.learner
                && silent(self.seen.o, self.seen.p, m)
                && matches!(judge(self.seen.o, self.seen.p, m), Verdict::Foreign(_))
        };
        let member = self.seen.list.iter().filter(|_| self.seen.refusals() > 0).find(silent_voter)?.into();
        Some(Reason::ForeignInTheWay { member })
    }

    fn prefers_learners(&self) -> bool {
        match self.seen.p.join_as {
            JoinAs::Learner => true,
            JoinAs::Voter => false,
            JoinAs::Auto => {
                let safe = |view: &PeerView| view.server_version.parse().is_ok_and(learners_are_safe);
                self.seen.cluster.views.iter().all(|(_, view)| safe(view))
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
