//! How a member leaves with its instance: its turn, the floor, the leadership, the removal, the hook. One step a pass, each
//! derived afresh from what is seen, so that a `watch` which is killed on the way goes on where it was.

use std::time::{Duration, SystemTime};

use super::confirmed::Confirmed;
use super::death::silent;
use super::life::{Departure, complete, departure, is_unknown, keep_waiting};
use super::on_a_fresh_reply;
use super::sound::{is_terminating, view_of};
use super::start::wait;
use super::view::{Cluster, elapsed, formed_clusters, me_and_group, quorum};
use crate::model::{
    Action, Change, ClusterId, Decision, Group, Identity, InstanceId, Leave, LeftMember, LifecycleState, Member,
    MemberId, Observation, OwnData, PeerAnswer, Policy, Reason, Transition,
};

/// How long a leaver lets another go first, or a joining one come in. Each takes seconds where all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the own etcd, which ends by itself once it is removed, is waited for.
const UNTIL_SILENT: Duration = Duration::from_secs(10);

/// After this many refusals in a row a leader goes without handing over: the others elect a new one.
const HAND_OVERS: u32 = 3;

/// What the leaving of a member looks at.
struct Leaving<'a> {
    o: &'a Observation,
    p: &'a Policy,
    me: &'a Identity,
    group: &'a Group,
    why: &'a str,
    /// It waits for nobody but the quorum of the others.
    at_once: bool,
}

/// `leave`: as if the instance went for good.
pub fn by_hand(o: &Observation, p: &Policy) -> Decision {
    let (me, group) = match me_and_group(o) {
        Ok(seen) => seen,
        Err(reason) => return wait(reason),
    };
    let leaving = Leaving { o, p, me, group, why: "asked for by hand", at_once: false };
    match leaving.step() {
        Step::Take(decision) => on_a_fresh_reply(o, decision),
        Step::Gone { reason, .. } => Decision { action: Action::Rest, reason },
    }
}

/// What `watch` does while the instance goes for good.
pub(super) fn leave(o: &Observation, p: &Policy, why: &str, at_once: bool) -> Decision {
    let (me, group) = match me_and_group(o) {
        Ok(seen) => seen,
        Err(reason) => return wait(reason),
    };
    // Where no hook of ours holds the instance, there are seconds.
    let at_once = at_once || is_unknown(o, (&p.terminate_hook, &Transition::Terminating));
    let leaving = Leaving { o, p, me, group, why, at_once };
    let decision = match leaving.step() {
        Step::Take(decision) => decision,
        Step::Gone { member, reason } => leaving.end(member, reason),
    };
    keep_waiting(o, me, leaving.hook(), decision)
}

/// What `watch` does while the instance may be away for a while: its leadership goes to somebody who stays.
pub(super) fn hand_over(o: &Observation, p: &Policy, why: &str) -> Decision {
    let (me, group) = match me_and_group(o) {
        Ok(seen) => seen,
        Err(reason) => return wait(reason),
    };
    let leaving = Leaving { o, p, me, group, why, at_once: false };
    let formed = formed_clusters(o);
    let seen = leaving.cluster(&formed).and_then(|cluster| Confirmed::of(o, p, cluster).ok());
    let moves = seen.and_then(|seen| leaving.move_leader(&seen, leaving.own(&seen)?));
    let reason = Reason::HandsOver { why: why.to_owned() };
    moves.or_else(|| complete(o, group, &me.instance, leaving.hook(), reason.clone())).unwrap_or_else(|| wait(reason))
}

enum Step {
    Take(Decision),
    /// The member is off the list, or stays on it for good; which one it was, where its mark is to be left.
    Gone {
        member: Option<(ClusterId, MemberId)>,
        reason: Reason,
    },
}

impl Leaving<'_> {
    fn step(&self) -> Step {
        let formed = formed_clusters(self.o);
        let log = match &self.o.own_data {
            OwnData::Log { cluster_id, member_id, .. } => Some((*cluster_id, *member_id)),
            OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => None,
        };
        let left = |member| Step::Gone { member, reason: Reason::Left { why: self.why.to_owned() } };
        let Some(cluster) = self.cluster(&formed) else {
            return match log {
                None if formed.is_empty() => left(None),
                Some(_) | None => Step::Take(wait(Reason::NoMemberAnswers { asked: self.o.probes.len() })),
            };
        };
        let seen = match Confirmed::of(self.o, self.p, cluster) {
            Ok(seen) => seen,
            Err(decision) => return Step::Take(*decision),
        };
        let Some(own) = self.own(&seen) else { return left(log) };
        let voters = seen.list.iter().filter(|m| !m.learner).count();
        if !own.learner && voters == 1 && (self.group.desired == 0 || self.at_once) {
            return Step::Gone { member: None, reason: Reason::LastMember { member: own.into() } };
        }
        if let Some(reason) = self.obstacle(&seen, own) {
            return Step::Take(wait(reason));
        }
        let removal = seen.remove(own, self.leaves());
        // The leadership is not moved for a leave that cannot be.
        if self.p.leave == Leave::Auto && !matches!(removal.action, Action::Change(_)) {
            return Step::Take(removal);
        }
        if let Some(decision) = self.move_leader(&seen, own) {
            return Step::Take(decision);
        }
        if self.p.leave == Leave::Never {
            return Step::Gone { member: None, reason: Reason::HandsOver { why: self.why.to_owned() } };
        }
        Step::Take(removal)
    }

    /// The own cluster, where any member of it answers.
    fn cluster<'a>(&self, formed: &'a std::collections::BTreeMap<ClusterId, Cluster<'a>>) -> Option<&'a Cluster<'a>> {
        match &self.o.own_data {
            OwnData::Log { cluster_id, .. } => formed.get(cluster_id),
            // It was added, and its etcd has not run.
            OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => formed.values().next(),
        }
    }

    fn own<'a>(&self, seen: &Confirmed<'a>) -> Option<&'a Member> {
        let by_log = |m: &Member| matches!(&self.o.own_data, OwnData::Log { member_id, .. } if *member_id == m.id);
        let by_name = |m: &Member| m.name == self.me.instance.as_str();
        let added =
            |m: &Member| m.name.is_empty() && m.peer_urls.iter().any(|u| self.p.is_peer_url_of(&self.me.addresses, u));
        seen.list.iter().find(|m| by_log(m) || by_name(m) || added(m))
    }

    /// What a voter's leaving waits for.
    fn obstacle(&self, seen: &Confirmed<'_>, own: &Member) -> Option<Reason> {
        if own.learner || self.at_once || self.p.leave == Leave::Never {
            return None;
        }
        let needed = quorum(self.group.desired);
        // What EC2 ends already still answers for some seconds.
        let staying: Vec<&Member> = seen.answering_voters(Some(own.id)).filter(|m| !seen.is_dead(m)).collect();
        if staying.len() < needed {
            return Some(Reason::TooFewToLeave { reachable: staying.len(), needed });
        }
        let mut in_the_way = self.in_the_way(seen, own).into_iter();
        if let Some((_, reason)) = in_the_way.find(|(m, _)| !has_waited_for(self.o, m)) {
            return Some(reason);
        }
        // The patience with another may be over by the time that the floor holds: a replacement takes minutes to come. Then
        // both would go in the same moment, each counting on the other.
        let reachable = staying.iter().filter(|m| !self.goes_before(m)).count();
        (reachable < needed).then_some(Reason::TooFewToLeave { reachable, needed })
    }

    /// Whom a leaver lets go first, or come in: the turns need no lock.
    fn in_the_way<'a>(&self, seen: &Confirmed<'a>, own: &Member) -> Vec<(&'a Member, Reason)> {
        let others = seen.list.iter().filter(|m| m.id != own.id);
        let in_the_way = |m: &'a Member| {
            if self.goes_before(m) && !silent(self.o, self.p, m) {
                return Some((m, Reason::OtherLeaving { member: m.into() }));
            }
            let comes = !seen.is_dead(m) && !is_terminating(self.o, m);
            match (m.published(), m.learner) {
                (false, _) if comes => Some((m, Reason::OtherJoining { member: m.into() })),
                (true, true) if comes => Some((m, Reason::LearnerNotPromoted { member: m.into() })),
                (_, _) => None,
            }
        };
        others.filter_map(in_the_way).collect()
    }

    /// Whether a member leaves as well, and has its turn before this node's.
    fn goes_before(&self, m: &Member) -> bool {
        let owner = InstanceId::from_member_name(&m.name);
        owner.is_some_and(|owner| owner < self.me.instance) && is_terminating(self.o, m)
    }

    /// A leader that is removed keeps writes waiting for 7 s, and one that hands over first for a tenth of one.
    fn move_leader(&self, seen: &Confirmed<'_>, own: &Member) -> Option<Decision> {
        let leads = seen.cluster.serving().any(|(_, view)| view.leader == Some(own.id));
        let via = seen.cluster.serving().find(|(_, view)| view.member_id == own.id).map(|(url, _)| url)?;
        if !leads || seen.refusals() >= HAND_OVERS {
            return None;
        }
        let to = self.heir(seen, own)?;
        let via = self.p.client_url_beside(via);
        let reason = match departure(self.o) {
            Some(Departure::ForAWhile { why }) => Reason::HandsOver { why },
            Some(Departure::ForGood { .. }) | None => self.leaves(),
        };
        Some(Decision { action: Action::Change(Change::MoveLeader { to, via }), reason })
    }

    /// Who gets the leadership: of those that stay the one launched last, which is the last to be replaced in its turn. Also
    /// one that its group holds back from service yet: where the old go first, all in service may be about to go.
    fn heir(&self, seen: &Confirmed<'_>, own: &Member) -> Option<MemberId> {
        let serves = |m: &Member| view_of(seen.cluster, m.id).is_some_and(|view| view.quorum_list.ok().is_some());
        let fit = |m: &&Member| m.id != own.id && !m.learner && m.published() && seen.answers(m) && serves(m);
        let rank = |m: &&Member| {
            let owner = InstanceId::from_member_name(&m.name)?;
            let state = self.group.instances.get(&owner);
            let launched: Option<SystemTime> = self.o.ec2.ok().and_then(|ec2| ec2.found.get(&owner)?.launched);
            Some((!is_terminating(self.o, m), state.is_some_and(LifecycleState::counts_for_group), launched, owner))
        };
        seen.list.iter().filter(fit).max_by_key(rank).map(|m| m.id)
    }

    fn leaves(&self) -> Reason {
        Reason::Leaves { why: self.why.to_owned() }
    }

    fn hook(&self) -> (&str, &'static Transition) {
        (&self.p.terminate_hook, &Transition::Terminating)
    }

    /// What is left to do once the member is off the list, or stays on it for good.
    fn end(&self, member: Option<(ClusterId, MemberId)>, reason: Reason) -> Decision {
        let o = self.o;
        if let Some((cluster, member)) = member {
            match o.left.as_ref().filter(|left| (left.cluster, left.member) == (cluster, member)) {
                None => {
                    let mark = LeftMember { cluster, member, at: o.taken_at };
                    return Decision { action: Action::Change(Change::MarkLeft(mark)), reason };
                }
                Some(left) if self.is_heard() && elapsed(left.at, o.taken_at) < UNTIL_SILENT => return wait(reason),
                Some(_) => {}
            }
        }
        complete(o, self.group, &self.me.instance, self.hook(), reason.clone()).unwrap_or_else(|| wait(reason))
    }

    /// Whether the own etcd still answers.
    fn is_heard(&self) -> bool {
        let own = self.o.probes.iter().find(|probe| probe.instance.as_ref() == Some(&self.me.instance));
        own.is_some_and(|probe| matches!(probe.peer, PeerAnswer::Etcd(_)))
    }
}

/// Whether a member has been waited for long enough: since it was seen first, and by a leaver since it began to leave.
pub(super) fn has_waited_for(o: &Observation, m: &Member) -> bool {
    let Some(before) = &o.history else { return false };
    let seen = before.awaited.get(&m.id).map(|sighting| sighting.first_seen);
    let since = match departure(o) {
        Some(Departure::ForGood { .. }) => seen.zip(before.leaving_since).map(|(seen, leaving)| seen.max(leaving)),
        Some(Departure::ForAWhile { .. }) | None => seen,
    };
    since.is_some_and(|since| elapsed(since, o.taken_at) >= PATIENCE)
}

/// Since when this node leaves for good, for the next pass to know; None while it stays.
pub(super) fn since(o: &Observation) -> Option<SystemTime> {
    match departure(o)? {
        Departure::ForGood { .. } => {
            Some(o.history.as_ref().and_then(|before| before.leaving_since).unwrap_or(o.taken_at))
        }
        Departure::ForAWhile { .. } => None,
    }
}

/// Members that a leaver of this node's waits for; for the next pass to know for how long.
pub(super) fn awaited(o: &Observation, p: &Policy) -> Vec<MemberId> {
    let Ok((me, group)) = me_and_group(o) else { return Vec::new() };
    let leaving = Leaving { o, p, me, group, why: "", at_once: false };
    let formed = formed_clusters(o);
    let seen = leaving.cluster(&formed).and_then(|cluster| Confirmed::of(o, p, cluster).ok());
    let own = seen.as_ref().and_then(|seen| leaving.own(seen));
    let (Some(seen), Some(own)) = (seen, own) else { return Vec::new() };
    leaving.in_the_way(&seen, own).into_iter().map(|(m, _)| m.id).collect()
}
