//! What a consumer follows: the client URLs of the published voters, and when it asks AWS who they are.
//!
//! A fleet of consumers is larger than what AWS answers to a whole account, and the members repair their cluster with what
//! is left of that. So those that were followed last are asked first, and AWS where none of them tells, where another
//! cluster answers in their place, and about once an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::start::{refuse, wait};
use super::view::{client_view, is_given_up, quorum};
use crate::model::{
    Action, Blind, BlindKind, ClusterId, ConsumerRecord, Decision, Followed, InstanceId, Member, MemberUrl,
    Observation, Policy, Probe, Reason, Rest, Seen,
};

/// AWS is asked this long after it was asked last, and up to half as long again later: a fleet that began in one second
/// must not ask in one second. It alone tells of an instance that is gone and still listed, and of a cluster given up.
const CHECK: Duration = Duration::from_secs(40 * 60);

/// For how long a consumer leaves AWS alone when it throttles for the first time, and at most; each time in a row four
/// times as long. Of ten thousand that start at once a quarter asks in a second after that, then a twentieth.
const REST: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));

/// The lists that a quorum stands behind, by cluster.
type Lists<'a> = BTreeMap<ClusterId, &'a [Member]>;

/// The client URLs of the published voters (F81, F82). A consumer decides on no member and writes to none (F39).
pub(super) fn follow(o: &Observation, p: &Policy) -> Decision {
    match (&o.group, &o.ec2) {
        (Seen::Yes(_), Seen::Yes(_)) => by_the_group(o, p),
        (Seen::No(blind), _) => without_aws(o, p, blind, Reason::GroupBlind(blind.clone())),
        (Seen::Yes(_), Seen::No(blind)) => without_aws(o, p, blind, Reason::Ec2Blind(blind.clone())),
    }
}

/// What the group's instances say, whatever was followed before.
fn by_the_group(o: &Observation, p: &Policy) -> Decision {
    let asked = || o.probes.iter().filter(|probe| probe.instance.is_some());
    let (lists, nobody) = (lists(o, asked()), || wait(nobody_serves(asked())));
    one_of(o, p, &lists).unwrap_or_else(nobody)
}

/// What those say that were followed last, and the seeds.
fn without_aws(o: &Observation, p: &Policy, blind: &Blind, unseen: Reason) -> Decision {
    let (lists, nobody) = (lists(o, o.probes.iter()), || nobody_serves(o.probes.iter()));
    let aws_was_asked = blind.kind != BlindKind::NotAsked;
    let same = last(o).and_then(|last| Some((last.cluster, *lists.get(&last.cluster)?)));
    match same {
        Some((cluster, list)) if !p.seeds.is_empty() || aws_was_asked || !is_due(o) => to(o, p, cluster, list),
        Some(_) => ask_aws("it was asked an hour ago".to_owned()),
        // They were written down to be believed, as a group is.
        None if !p.seeds.is_empty() => one_of(o, p, &lists).unwrap_or_else(|| wait(nobody())),
        None if aws_was_asked => wait(unseen),
        None => match (resting(o), lists.keys().next()) {
            (Some(left), _) => wait(Reason::AwsRests { left }),
            (None, Some(other)) => {
                ask_aws(format!("cluster {other} answers in the place of the one that was followed"))
            }
            (None, None) if last(o).is_none() => ask_aws("no cluster is known yet".to_owned()),
            (None, None) => ask_aws(nobody().to_string()),
        },
    }
}

fn ask_aws(why: String) -> Decision {
    Decision { action: Action::Rest, reason: Reason::AsksAws { why } }
}

/// The one cluster that there is; None where there is none.
fn one_of(o: &Observation, p: &Policy, lists: &Lists<'_>) -> Option<Decision> {
    let mut found = lists.iter();
    match (found.next(), found.next()) {
        (Some((one, _)), Some((other, _))) => Some(refuse(Reason::TwoClusters { one: *one, other: *other })),
        (Some((cluster, list)), None) => Some(to(o, p, *cluster, list)),
        (None, _) => None,
    }
}

fn to(o: &Observation, p: &Policy, cluster: ClusterId, list: &[Member]) -> Decision {
    match followed(o, p, cluster, list) {
        Ok(followed) => Decision { action: Action::Follow(followed), reason: Reason::Endpoints { cluster } },
        Err(reason) => wait(reason),
    }
}

fn lists<'a>(o: &'a Observation, probes: impl Iterator<Item = &'a Probe>) -> Lists<'a> {
    let views = probes.filter_map(client_view).filter(|(_, view)| !is_given_up(o, view.cluster_id));
    views.filter_map(|(_, view)| Some((view.cluster_id, view.quorum_list.ok()?.as_slice()))).collect()
}

fn nobody_serves<'a>(probes: impl Iterator<Item = &'a Probe> + Clone) -> Reason {
    let denied = probes.clone().filter_map(client_view).filter_map(|(url, view)| match &view.quorum_list {
        Seen::No(Blind { kind: BlindKind::Denied, why }) => Some(format!("{url}: {why}")),
        Seen::No(_) | Seen::Yes(_) => None,
    });
    match denied.min() {
        Some(why) => Reason::Denied { why },
        None => Reason::NoMemberAnswers { asked: probes.count() },
    }
}

/// The published voters' client URLs, less those of instances that EC2 calls gone: where it is asked, a consumer need not
/// wait for the next member to prune them. That a reply lacks an instance is no word on it, so EC2 is asked for each by its
/// id, and what it says of most of them at once is not believed: they have just confirmed the list (F107).
fn followed(o: &Observation, p: &Policy, cluster: ClusterId, list: &[Member]) -> Result<Followed, Reason> {
    let voters: Vec<&Member> = list.iter().filter(|m| !m.learner && m.published()).collect();
    if voters.is_empty() {
        return Err(nobody_serves(o.probes.iter()));
    }
    let unasked = |id: &InstanceId| o.ec2.ok().is_some_and(|ec2| !ec2.asked.contains(id));
    let mut names = voters.iter().filter_map(|m| InstanceId::from_member_name(&m.name));
    if let Some(unasked) = names.find(unasked) {
        return Err(Reason::SecondRead { what: format!("whether {unasked} is gone") });
    }
    let (gone, living): (Vec<&Member>, Vec<&Member>) = voters.iter().partition(|m| is_gone(o, cluster, m));
    if living.len() < quorum(voters.len()) {
        return Err(Reason::TooFewEndpoints { living: living.len(), voters: voters.len() });
    }
    let endpoints: BTreeSet<MemberUrl> = living.iter().flat_map(|m| m.client_urls.iter().cloned()).collect();
    let endpoints: Vec<MemberUrl> = endpoints.into_iter().collect();
    let before = last(o).filter(|last| last.cluster == cluster && last.endpoints.iter().any(|e| endpoints.contains(e)));
    let peer_urls = living.iter().filter_map(|m| m.peer_urls.first());
    let ports: BTreeSet<MemberUrl> = peer_urls.map(|url| p.client_url_beside(url)).collect();
    Ok(Followed {
        cluster,
        base: before.map_or_else(|| endpoints.clone(), |before| before.base.clone()),
        endpoints,
        ports: ports.into_iter().collect(),
        gone: gone.into_iter().map(|m| m.id).collect(),
    })
}

/// By EC2's word of now, or of an earlier run: it forgets an instance that a cluster may still list.
fn is_gone(o: &Observation, cluster: ClusterId, m: &Member) -> bool {
    let before = last(o).is_some_and(|last| last.cluster == cluster && last.gone.contains(&m.id));
    let found = InstanceId::from_member_name(&m.name).and_then(|id| o.ec2.ok()?.found.get(&id));
    before || found.is_some_and(|i| i.state.has_ended())
}

fn last(o: &Observation) -> Option<&Followed> {
    o.consumer.as_ref()?.followed.as_ref()
}

/// Whether it is time to ask AWS though the cluster answers. A time that no run can have set was set by another clock.
fn is_due(o: &Observation) -> bool {
    o.consumer.as_ref().is_none_or(|record| record.check_at <= o.taken_at || record.check_at > o.taken_at + CHECK * 2)
}

/// For how long AWS is still left alone; None where it may be asked.
fn resting(o: &Observation) -> Option<Duration> {
    let rest = o.consumer.as_ref()?.rest.as_ref()?;
    let left = rest.until.duration_since(o.taken_at).ok()?;
    (!left.is_zero() && left <= rest.length * 2).then_some(left)
}

/// What a consumer remembers after a pass. `of` names whose cluster it is; `chance`, from 0 to 1, is another one for each
/// consumer and each time.
pub fn consumer_record(o: &Observation, decision: &Decision, of: &str, chance: f64) -> ConsumerRecord {
    let (before, now) = (o.consumer.as_ref(), o.taken_at);
    let followed = match &decision.action {
        Action::Follow(followed) => Some(followed.clone()),
        Action::Wait | Action::Refuse | Action::Change(_) | Action::Start(_) | Action::Serve { .. } | Action::Rest => {
            last(o).cloned()
        }
    };
    let (check_at, rest) = match before {
        Some(before) if !o.asked_aws => (before.check_at, before.rest.clone()),
        Some(_) | None => (now + CHECK + (CHECK / 2).mul_f64(chance), next_rest(o, now, chance)),
    };
    ConsumerRecord { of: of.to_owned(), followed, check_at, rest }
}

fn next_rest(o: &Observation, now: SystemTime, chance: f64) -> Option<Rest> {
    let before = o.consumer.as_ref().and_then(|record| record.rest.as_ref());
    let length = before.map_or(REST.0, |rest| (rest.length * 4).min(REST.1));
    o.is_throttled().then(|| Rest { until: now + length.mul_f64(0.5 + chance), length })
}
