//! What a node sees, spelled as the `Observation` that the shipped `decide`, `remember` and `statement` take, and their
//! answers made finite again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use etcd_bootstrap::decide::{decide, remember, statement, watch};
use etcd_bootstrap::model::agreement;
use etcd_bootstrap::model::{
    Absence, Action, Addresses, Agreement, Blind, BlindKind, CLUSTER_TAG, Change, ClientView, ClusterId, ClusterState,
    Decision, Deeds, Ec2, FOUNDING_TAG, Founder, FounderEntry, Group, Hook, Identity, Instance, InstanceId, LeftMember,
    Member as Listed, MemberId, MemberUrl, Observation, OwnData, PeerAnswer, PeerView, Plain, Policy, Probe, Reason,
    Record as OnRecord, Scheme, Seen, Sighting as Stood, Statement as Stated, Transition, Vote, render_initial_cluster,
};

use crate::decide::{kind, policy};

use super::etcd::Row;
use super::memory::{Before, Memory, Sighting, Statement};
use super::mutations::Mutation;
use super::sight::{Answer, Data, Outcome, Sight};
use super::world::{Act, Address, Founders, Id, Life, Member, Node};

const ARN: &str = "arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:u:autoScalingGroupName/etcd";
/// Longer than every grace of `decide`, and shorter than a generation.
const MINUTE: Duration = Duration::from_secs(61);
/// Longer than the launch of one generation takes; twice as long is still "just now".
const LATER: Duration = Duration::from_secs(300);
const LONG_AGO: Duration = Duration::from_secs(3600);

// ---------------------------------------------------------------- the words of `model`

/// Asks the shipped code.
pub fn think(sight: &Sight, policy: &Policy, mutation: Option<&Mutation>) -> Outcome {
    let mut o = observation(sight);
    if let Some(mutation) = mutation {
        (mutation.input)(&mut o, policy);
    }
    let mut decision = if sight.watches { watch(&o, policy) } else { decide(&o, policy) };
    if let Some(mutation) = mutation {
        decision = (mutation.output)(&o, decision);
    }
    let listens =
        matches!(sight.data, Data::Empty | Data::Backend) || matches!(decision.reason, Reason::FoundersNotBack { .. });
    let said = listens.then(|| statement(&o, policy).map(|said| said_of(&said)));
    let act = act(&o, &decision);
    let memory = Memory { before: before(&remember(&o, policy), o.taken_at, sight), said };
    Outcome { act, said: format!("{} {}", kind(&decision.action), decision.reason.code()), memory }
}

fn said_of(said: &Stated) -> Statement {
    Statement {
        founders: said.founders.as_deref().map(nodes_of),
        nonce: nonce(&said.nonce),
        given_up: said.given_up.iter().map(|id| id.0).collect(),
        agreed: said.agreed.map(|id| id.0),
        recovers: said.recovers,
    }
}

fn nonce(text: &str) -> u8 {
    text.parse().expect("all nonces are the model's own")
}

/// An agreement in the words of `model`.
fn agreement_of(founders: &Founders) -> Agreement {
    let founder = |(n, address, nonce): &(Node, Address, Option<u8>)| Founder {
        instance: id(*n),
        peer_url: peer(*address),
        nonce: nonce.map(|nonce| nonce.to_string()),
    };
    agreement::agree(ARN, founders.iter().map(founder).collect())
}

fn founders_in(agreed: &Agreement) -> Founders {
    let founder = |f: &Founder| {
        let n = node(f.instance.as_str()).expect("all instances are the model's own");
        (n, address_of(&f.peer_url), f.nonce.as_deref().map(nonce))
    };
    agreed.founders.iter().map(founder).collect()
}

/// The id of the cluster that an agreement begins.
pub fn id_of(founders: &Founders) -> Id {
    agreement_of(founders).cluster.0
}

pub fn id(n: Node) -> InstanceId {
    InstanceId::new(format!("i-{n:08}"))
}

fn node(id: &str) -> Option<Node> {
    id.strip_prefix("i-")?.parse().ok()
}

fn ip(address: Address) -> String {
    format!("10.0.0.{address}")
}

fn peer(address: Address) -> MemberUrl {
    MemberUrl::new(Scheme::Http, &ip(address), 2380)
}

fn client(address: Address) -> MemberUrl {
    MemberUrl::new(Scheme::Http, &ip(address), 2379)
}

fn address_of(url: &MemberUrl) -> Address {
    url.host().rsplit('.').next().and_then(|octet| octet.parse().ok()).expect("all URLs are the model's own")
}

fn addresses(address: Address) -> Addresses {
    Addresses { ipv4: ip(address).parse().ok(), ipv6: None, dns_name: None }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

pub fn observation(sight: &Sight) -> Observation {
    let (group, ec2) = cloud(sight);
    let me = Identity {
        instance: id(sight.me),
        region: "eu-west-1".into(),
        zone: "eu-west-1a".into(),
        addresses: addresses(sight.address),
        vpc_ranges: vec!["10.0.0.0/16".parse().expect("a range")],
        target_lifecycle_state: sight.leaves.then(|| "Terminated".into()),
    };
    let mut probes: Vec<Probe> = sight.answers.iter().map(|(a, answer)| probe(sight, *a, answer)).collect();
    probes.sort_by(|a, b| a.asked.cmp(&b.asked));
    let own_data = match &sight.data {
        Data::Empty => OwnData::Empty,
        Data::Backend => OwnData::NoLog,
        Data::Log { cluster, member, led, founders } => OwnData::Log {
            cluster_id: ClusterId(*cluster),
            member_id: member_id(*member),
            had_leader: *led,
            founders: founders.iter().map(founder_entry).collect(),
        },
    };
    let history = Some(spell_before(sight, &sight.before));
    let record = match &sight.record {
        Some(record) => Seen::Yes(OnRecord {
            nonce: record.nonce.to_string(),
            given_up: sight.given_up.iter().map(|id| ClusterId(*id)).collect(),
            agreed: record.agreed.as_ref().map(agreement_of),
        }),
        None => Seen::No(Blind { kind: BlindKind::Absent, why: "the model says so".into() }),
    };
    Observation {
        taken_at: now(),
        me: Seen::Yes(me),
        own_data,
        own_commit: None,
        log_damage: sight.damaged.then(|| "the model says so".into()),
        etcd: None,
        record,
        port_trouble: None,
        certificate_trouble: None,
        left: sight.left.map(|(cluster, member, old)| LeftMember {
            cluster: ClusterId(cluster),
            member: member_id(member),
            at: since(old),
        }),
        consumer: None,
        notices: Seen::No(Blind::not_asked()),
        group,
        hooks: hooks(sight),
        ec2,
        asked_aws: true,
        probes,
        history,
    }
}

/// A watch alone asks for them. The group has the project's, where an instance waits for one.
fn hooks(sight: &Sight) -> Seen<Vec<Hook>> {
    if !sight.watches {
        return Seen::No(Blind::not_asked());
    }
    let hook = Hook { name: policy().terminate_hook, transition: Transition::Terminating, timeout: LATER };
    Seen::Yes(if sight.hooked { vec![hook] } else { Vec::new() })
}

fn founder_entry(row: &Row) -> FounderEntry {
    let listed = listed(row);
    FounderEntry { name: listed.name, peer_urls: listed.peer_urls.iter().map(ToString::to_string).collect() }
}

fn cloud(sight: &Sight) -> (Seen<Group>, Seen<Ec2>) {
    let Some(aws) = &sight.aws else {
        let blind = Blind { kind: BlindKind::Unreachable, why: "the model says so".into() };
        return (Seen::No(blind.clone()), Seen::No(blind));
    };
    let lifecycle = |life: Life| match life {
        Life::InService => Some("InService"),
        Life::Leaving => Some("Terminating:Wait"),
        Life::ShuttingDown if !sight.detached => Some("Terminating"),
        Life::ShuttingDown | Life::Terminated | Life::Forgotten => None,
    };
    let instances = || (0..).zip(&aws.group.instances).map(|(n, instance): (Node, _)| (n, *instance));
    let group = Group {
        name: "etcd".into(),
        arn: ARN.into(),
        desired: aws.group.desired,
        cluster_tag: aws.tags.cluster.map(|id| ClusterId(id).to_string()),
        founding_tag: aws.tags.founding.as_ref().and_then(|founders| agreement::tag_of(&agreement_of(founders))),
        replaced: aws.tags.replaced.iter().map(|id| ClusterId(*id)).collect(),
        instances: instances().filter_map(|(n, (life, ..))| Some((id(n), lifecycle(life)?.into()))).collect(),
        plain: sight.plain.then(Plain::default),
        read_at: now(),
        date: Some(now()),
    };
    let mut asked: BTreeSet<InstanceId> = group.instances.keys().cloned().collect();
    asked.insert(id(sight.me));
    asked.extend(sight.before.asked.iter().map(|n| id(*n)));
    if let Data::Log { founders, .. } = &sight.data {
        asked.extend(founders.iter().filter_map(|row| row.name).map(id));
    }
    asked.extend(aws.tags.founding.iter().flatten().map(|(n, ..)| id(*n)));
    let found = instances().filter(|(n, _)| asked.contains(&id(*n)));
    let found = found.filter_map(|(n, (life, address, later))| {
        let (state, addresses) = match life {
            Life::InService | Life::Leaving => ("running", addresses(address)),
            Life::ShuttingDown => ("shutting-down", addresses(address)),
            Life::Terminated => ("terminated", Addresses::default()),
            Life::Forgotten => return None,
        };
        let long_ago = if sight.aged { LONG_AGO } else { Duration::ZERO };
        let launched = now() - long_ago - LATER * if later { 1 } else { 2 };
        Some((id(n), Instance { state: state.into(), addresses, others: BTreeSet::new(), launched: Some(launched) }))
    });
    let found = found.collect();
    (Seen::Yes(group), Seen::Yes(Ec2 { asked, found }))
}

fn probe(sight: &Sight, address: Address, answer: &Answer) -> Probe {
    let aws = sight.aws.as_ref().expect("without AWS nobody is asked");
    let holder = (0..).zip(&aws.group.instances).find(|(_, (life, held, _))| life.runs() && *held == address);
    let instance = holder.map(|(n, _): (Node, _)| id(n));
    let absent = |absence: Absence| (PeerAnswer::Absent(absence.clone()), Some(Err(absence)));
    let (peer_answer, client) = match answer {
        Answer::Silence => absent(Absence::NoAnswer(Duration::from_secs(1))),
        Answer::Refused => absent(Absence::Refused),
        Answer::Founding(_, None) => {
            (PeerAnswer::Absent(Absence::NotUnderstood("404".into())), Some(Err(Absence::Refused)))
        }
        Answer::Founding(who, Some(said)) => {
            let statement = Stated {
                instance: id(*who),
                group: ARN.into(),
                founders: said.founders.as_ref().map(|nodes| founders_text(sight, nodes)),
                etcd: None,
                nonce: said.nonce.to_string(),
                given_up: said.given_up.iter().map(|id| ClusterId(*id)).collect(),
                agreed: said.agreed.map(ClusterId),
                recovers: said.recovers,
            };
            (PeerAnswer::Agent(statement), None)
        }
        Answer::Etcd { .. } => etcd_answer(answer),
    };
    Probe { instance, asked: peer(address), peer: peer_answer, client }
}

/// An initial cluster as founders render it; each instance has its address for life.
fn founders_text(sight: &Sight, nodes: &[Node]) -> String {
    let instance = |n: Node| sight.aws.as_ref().and_then(|aws| aws.group.instances.get(usize::from(n)));
    // Whom AWS does not show to this node, it has in no list of its own: any other address makes the texts differ.
    let address = |n: Node| instance(n).map_or(u8::MAX, |(_, address, _)| *address);
    render_initial_cluster(&nodes.iter().map(|n| (id(*n).to_string(), peer(address(*n)))).collect::<Vec<_>>())
}

fn etcd_answer(answer: &Answer) -> (PeerAnswer, Option<Result<ClientView, Absence>>) {
    let Answer::Etcd { cluster, member, list, led, learner, leader } = answer else { unreachable!("the caller knows") };
    let members: Vec<Listed> = list.iter().map(listed).collect();
    let version = "3.6.16".to_owned();
    let quorum_list = if *leader && !learner {
        Seen::Yes(members.clone())
    } else {
        // A learner serves no list (E14).
        Seen::No(Blind { kind: BlindKind::Unreachable, why: "no quorum".into() })
    };
    let cluster_id = ClusterId(*cluster);
    let client = ClientView {
        cluster_id,
        member_id: member_id(*member),
        version: version.clone(),
        // Which of them it is, no rule of safety asks for.
        leader: leader.then_some(MemberId(u64::MAX)),
        learner: *learner,
        quorum_list,
        commit: None,
        applied: None,
        faults: Vec::new(),
        database: None,
    };
    let cluster_version = led.then(|| "3.6.0".to_owned());
    let view = PeerView { cluster_id, members, server_version: version, cluster_version, certificate_until: None };
    // A forming etcd's client port is silent, and not waited for (E17).
    (PeerAnswer::Etcd(view), led.then_some(Ok(client)))
}

/// Zero is no id of etcd's.
fn member_id(member: Member) -> MemberId {
    MemberId(u64::from(member) + 1)
}

fn member(id: MemberId) -> Member {
    u8::try_from(id.0 - 1).expect("all ids are the model's own")
}

pub fn listed(row: &Row) -> Listed {
    Listed {
        id: member_id(row.id),
        name: row.name.map(|n| id(n).to_string()).unwrap_or_default(),
        peer_urls: vec![peer(row.address)],
        client_urls: if row.published { vec![client(row.address)] } else { Vec::new() },
        learner: row.learner,
    }
}

// ---------------------------------------------------------------- answers made finite

fn nodes_of(initial_cluster: &str) -> Vec<Node> {
    let names = initial_cluster.split(',').filter_map(|entry| entry.split('=').next());
    names.filter_map(node).collect()
}

fn since(old: bool) -> SystemTime {
    if old { now() - MINUTE } else { now() }
}

fn stood<T>(value: T, standing: Sighting, last_reply: bool) -> Stood<T> {
    let first_seen = since(standing.old);
    let last_read = if last_reply { now() } else { now() - MINUTE };
    Stood { value, first_seen, last_read, reads: 1 + u32::from(standing.twice) }
}

fn standing<T>(s: &Stood<T>, at: SystemTime) -> Sighting {
    Sighting { twice: s.reads >= 2, old: is_old(s.first_seen, at) }
}

fn is_old(first_seen: SystemTime, at: SystemTime) -> bool {
    at.duration_since(first_seen).unwrap_or_default() >= Duration::from_secs(60)
}

fn spell_before(sight: &Sight, before: &Before) -> etcd_bootstrap::model::History {
    let last = sight.last_reply;
    let tagged = before.tagged.as_ref().and_then(|founders| agreement::tag_of(&agreement_of(founders)));
    let cluster = before.cluster_tagged.map(|id| ClusterId(id).to_string());
    let tagged = tagged.map(|tag| (FOUNDING_TAG.to_owned(), tag));
    etcd_bootstrap::model::History {
        founders: before.founders.as_ref().map(|(list, s)| stood(founders_text(sight, list), *s, last)),
        suspects: before.suspects.iter().map(|(m, s)| (member_id(*m), stood((), *s, last))).collect(),
        member_instances: before.asked.iter().map(|n| id(*n)).collect(),
        forgotten_founders: before.forgotten.iter().map(|(n, s)| (id(*n), stood((), *s, last))).collect(),
        deeds: Deeds {
            tagged: tagged.into_iter().chain(cluster.map(|tag| (CLUSTER_TAG.to_owned(), tag))).collect(),
            untaggable: before.untaggable,
            completed: before.completed.iter().map(|n| id(*n)).collect(),
            ..Deeds::default()
        },
        awaited: before.awaited.iter().map(|(m, s)| (member_id(*m), stood((), *s, last))).collect(),
        leaving_since: before.leaving.map(since),
        silent_leavers: before.silent_leavers.iter().map(|(n, s)| (id(*n), stood((), *s, last))).collect(),
        ..etcd_bootstrap::model::History::default()
    }
}

/// What the loop sets stays as it was; who watches founds nothing, and who does not has nothing to do with hooks.
fn before(before: &etcd_bootstrap::model::History, at: SystemTime, sight: &Sight) -> Before {
    let asked = before.member_instances.iter().filter_map(|id| node(id.as_str())).collect();
    let suspects = before.suspects.iter().map(|(id, s)| (member(*id), standing(s, at))).collect();
    let instances = |sightings: &BTreeMap<InstanceId, Stood<()>>| {
        sightings.iter().filter_map(|(id, s)| Some((node(id.as_str())?, standing(s, at)))).collect()
    };
    if sight.watches {
        return Before {
            suspects,
            asked,
            silent_leavers: instances(&before.silent_leavers),
            awaited: before.awaited.iter().map(|(id, s)| (member(*id), standing(s, at))).collect(),
            leaving: before.leaving_since.map(|since| is_old(since, at)),
            completed: before.deeds.completed.iter().filter_map(|id| node(id.as_str())).collect(),
            ..sight.before.clone()
        };
    }
    Before {
        founders: before.founders.as_ref().map(|s| (nodes_of(&s.value), standing(s, at))),
        suspects,
        asked,
        forgotten: instances(&before.forgotten_founders),
        ..sight.before.clone()
    }
}

fn act(o: &Observation, decision: &Decision) -> Act {
    match &decision.action {
        Action::Wait => Act::Wait,
        Action::Refuse => Act::Refuse,
        Action::Change(Change::Remove { member: gone, via }) => {
            Act::Remove { member: member(*gone), via: address_of(via) }
        }
        Action::Change(Change::Add { vote, via, .. }) => {
            Act::Add { learner: *vote == Vote::Learner, via: address_of(via) }
        }
        Action::Change(Change::TagGroup { tags, .. }) => Act::Tag {
            founding: tags.get(FOUNDING_TAG).map(|_| {
                let agreed = o.record.ok().and_then(|record| record.agreed.as_ref());
                founders_in(agreed.expect("who tags a founding has agreed to it"))
            }),
            cluster: tags.get(CLUSTER_TAG).and_then(|id| Some(ClusterId::try_from(id.clone()).ok()?.0)),
        },
        Action::Change(Change::SetDataAside { gives_up }) => Act::SetAside { gives_up: gives_up.map(|id| id.0) },
        Action::Change(Change::BeginRecord) => Act::BeginRecord,
        Action::Change(Change::Agree(agreed)) => Act::Agree(founders_in(agreed)),
        Action::Change(Change::GiveUp { cluster }) => Act::GiveUp(cluster.0),
        Action::Start(start) => Act::Start {
            new: (start.state == ClusterState::New)
                .then(|| agreement::cluster_of(&start.token, start.initial_cluster.iter().map(|(_, url)| url)).0),
            list: start.initial_cluster.iter().map(|(name, url)| (node(name), address_of(url))).collect(),
        },
        Action::Change(Change::MarkLeft(left)) => Act::MarkLeft(left.cluster.0, member(left.member)),
        Action::Change(Change::CompleteHook { instance, .. }) => {
            Act::Complete(node(instance.as_str()).expect("all instances are the model's own"))
        }
        // How long a hook lasts is open.
        Action::Change(Change::KeepWaiting { .. }) => Act::Wait,
        Action::Follow(_) => unreachable!("consumers are not part of the model"),
        Action::Change(Change::Promote { .. } | Change::MoveLeader { .. }) | Action::Serve { .. } | Action::Rest => {
            unreachable!("`run` and `watch` decide none of those")
        }
    }
}
