//! A scene: a world, as one pass of this node sees it, and what is expected of the decision on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use etcd_bootstrap::decide::{decide, remember};
use etcd_bootstrap::model::ClusterState::{self, New};
use etcd_bootstrap::model::agreement;
use etcd_bootstrap::model::{
    Absence, Action, Addresses, Agreement, Blind, BlindKind, CLUSTER_TAG, Change, ClientView, ClusterId, Decision, Ec2,
    FOUNDING_TAG, Group, Identity, Instance, Member, MemberId, MemberUrl, Observation, OwnData, PeerAnswer, PeerView,
    Policy, Probe, Reason, Record, Seen, Start, Statement, Vote,
};

use super::{
    ARN, OURS, SAFE, at, blind, client, disk, etcd, founders_text, founding_of, id, no_answer, peer, policy, said_by,
    voter,
};

// ---------------------------------------------------------------- words of the scenes

/// A reason by its code where its text is not the point, or as a whole.
pub enum Because {
    Code(&'static str),
    Whole(Reason),
}

impl From<&'static str> for Because {
    fn from(code: &'static str) -> Self {
        Self::Code(code)
    }
}

impl From<Reason> for Because {
    fn from(reason: Reason) -> Self {
        Self::Whole(reason)
    }
}

// ---------------------------------------------------------------- the scene

/// A world, as one pass of this node sees it, and the options.
#[derive(Clone)]
pub struct Scene {
    pub o: Observation,
    pub p: Policy,
    pub version: String,
}

impl Scene {
    /// A settled group of nodes 1 to n. Nobody has said anything yet.
    pub fn group(n: u64) -> Self {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let group = Group {
            name: "etcd".into(),
            arn: ARN.into(),
            desired: usize::try_from(n).expect("a group is small"),
            cluster_tag: None,
            founding_tag: None,
            replaced: Vec::new(),
            instances: BTreeMap::new(),
            plain: None,
            read_at: now,
            date: Some(now),
        };
        let o = Observation {
            taken_at: now,
            me: Seen::No(blind(BlindKind::Unreachable)),
            own_data: OwnData::Empty,
            own_commit: None,
            log_damage: None,
            etcd: None,
            record: Seen::Yes(Record { nonce: disk(1), given_up: Vec::new(), agreed: None }),
            port_trouble: None,
            certificate_trouble: None,
            left: None,
            consumer: None,
            notices: Seen::No(Blind::not_asked()),
            group: Seen::Yes(group),
            hooks: Seen::No(Blind::not_asked()),
            ec2: Seen::Yes(Ec2 { asked: BTreeSet::new(), found: BTreeMap::new() }),
            asked_aws: true,
            probes: Vec::new(),
            history: None,
        };
        let p = policy();
        let scene = Self { o, p, version: SAFE.into() }.me(1);
        (1..=n).fold(scene, |s, n| s.instance(n, "InService", "running"))
    }

    /// A settled group of n whose founders all say what this node says, confirmed by a second read.
    pub fn founders(n: u64) -> Self {
        (2..=n).fold(Self::group(n), |s, m| s.founding(m, 1..=n)).again(1)
    }

    /// The same with founder 3 silent until the founding grace is over.
    pub fn one_silent(n: u64) -> Self {
        Self::founders(n).silent(3).again(60)
    }

    /// Nodes 2 to n+1 form a cluster of n voters, and this node is new.
    pub fn cluster(n: u64) -> Self {
        let list: Vec<Member> = (2..=n + 1).map(voter).collect();
        Self::group(n + 1).serving(&list, 2..=n + 1)
    }

    /// This node replaces node 4, which is silent, in a cluster of 2, 3 and 4.
    pub fn replacing(fourth: Member) -> Self {
        Self::group(3).serving(&[voter(2), voter(3), fourth], 2..=3)
    }

    pub fn me(mut self, n: u64) -> Self {
        self.o.me = Seen::Yes(Identity {
            instance: id(n),
            region: "us-east-1".into(),
            zone: "us-east-1a".into(),
            addresses: at(n),
            vpc_ranges: vec!["10.0.0.0/16".parse().expect("a range")],
            target_lifecycle_state: None,
        });
        self.o.probes.retain(|probe| probe.instance != Some(id(n)));
        self.record(|record| record.nonce = disk(n))
    }

    /// What this node's disk has on record.
    pub fn record(mut self, change: impl FnOnce(&mut Record)) -> Self {
        let Seen::Yes(record) = &mut self.o.record else { panic!("this scene has no record") };
        change(record);
        self
    }

    /// This disk has agreed to found this cluster of three.
    pub fn agreed(self, cluster: ClusterId) -> Self {
        self.record(|record| record.agreed = Some(Agreement { cluster, ..founding_of(1..=3) }))
    }

    /// The group's tag names this founding.
    pub fn tagged(self, founding: &Agreement) -> Self {
        let tag = agreement::tag_of(founding);
        self.asg(|g| g.founding_tag = tag)
    }

    pub fn data(mut self, data: OwnData) -> Self {
        self.o.own_data = data;
        self
    }

    pub fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.p);
        self
    }

    pub fn identity(mut self, change: impl FnOnce(&mut Identity)) -> Self {
        let Seen::Yes(me) = &mut self.o.me else { panic!("this scene has no identity") };
        change(me);
        self
    }

    pub fn asg(mut self, change: impl FnOnce(&mut Group)) -> Self {
        let Seen::Yes(group) = &mut self.o.group else { panic!("this scene has no group") };
        change(group);
        self
    }

    pub fn ec2(mut self, change: impl FnOnce(&mut Ec2)) -> Self {
        let Seen::Yes(ec2) = &mut self.o.ec2 else { panic!("this scene has no EC2") };
        change(ec2);
        self
    }

    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        for probe in &mut self.o.probes {
            if let PeerAnswer::Etcd(view) = &mut probe.peer {
                version.clone_into(&mut view.server_version);
            }
        }
        self
    }

    /// What the cluster's members say of its own version.
    pub fn cluster_version(mut self, version: &str) -> Self {
        for probe in &mut self.o.probes {
            if let PeerAnswer::Etcd(view) = &mut probe.peer {
                view.cluster_version = Some(version.to_owned());
            }
        }
        self
    }

    /// This node will start this etcd.
    pub fn etcd(mut self, version: &str) -> Self {
        self.o.etcd = Some(Seen::Yes(etcd(version)));
        self
    }

    /// An instance of the group.
    pub fn instance(self, n: u64, lifecycle: &str, state: &str) -> Self {
        let lifecycle = lifecycle.into();
        self.known(n, state).asg(|g| drop(g.instances.insert(id(n), lifecycle)))
    }

    /// An instance that EC2 knows, in the group or not.
    pub fn known(self, n: u64, state: &str) -> Self {
        let launched = Some(self.o.taken_at);
        // EC2 takes the address away with the instance.
        let addresses = if state == "terminated" { Addresses::default() } else { at(n) };
        let instance = Instance { state: state.into(), addresses, others: BTreeSet::new(), launched };
        self.asked(n).ec2(|ec2| drop(ec2.found.insert(id(n), instance)))
    }

    /// EC2 was asked about it; unless it is known too, EC2 has forgotten it.
    pub fn asked(self, n: u64) -> Self {
        self.ec2(|ec2| {
            ec2.asked.insert(id(n));
        })
    }

    pub fn tag(self, cluster: ClusterId) -> Self {
        self.asg(|g| g.cluster_tag = Some(cluster.to_string()))
    }

    pub fn untagged(self) -> Self {
        self.asg(|g| g.cluster_tag = None)
    }

    pub fn cloud_down(mut self) -> Self {
        self.o.group = Seen::No(blind(BlindKind::Unreachable));
        self.o.ec2 = Seen::No(blind(BlindKind::Unreachable));
        self
    }

    pub fn probe(mut self, url: MemberUrl, peer: PeerAnswer, client: Option<Result<ClientView, Absence>>) -> Self {
        let holds = |i: &&Instance| i.addresses.hold(&url);
        let found = self.o.ec2.ok().map(|ec2| &ec2.found);
        let instance = found.and_then(|found| found.keys().find(|id| found.get(*id).as_ref().is_some_and(holds)));
        let probe = Probe { instance: instance.cloned(), asked: url.clone(), peer, client };
        self.o.probes.retain(|probe| probe.asked != url);
        self.o.probes.push(probe);
        self.o.probes.sort_by(|a, b| a.asked.cmp(&b.asked));
        self
    }

    pub fn absent(self, n: u64, absence: Absence) -> Self {
        self.probe(peer(n), PeerAnswer::Absent(absence.clone()), Some(Err(absence)))
    }

    pub fn silent(self, n: u64) -> Self {
        self.absent(n, no_answer())
    }

    pub fn founding(self, n: u64, founders: impl IntoIterator<Item = u64>) -> Self {
        let founders = Some(founders_text(founders));
        self.says(n, said_by(n, founders))
    }

    pub fn says(self, n: u64, statement: Statement) -> Self {
        self.probe(peer(n), PeerAnswer::Agent(statement), None)
    }

    pub fn view(&self, cluster_id: ClusterId, list: &[Member], decided: Option<&str>) -> PeerAnswer {
        PeerAnswer::Etcd(PeerView {
            cluster_id,
            members: list.to_vec(),
            server_version: self.version.clone(),
            cluster_version: decided.map(str::to_owned),
            certificate_until: None,
        })
    }

    /// One member of a formed cluster, with what its client port adds.
    pub fn member_of(self, cluster: ClusterId, n: u64, list: &[Member], quorum: Seen<Vec<Member>>) -> Self {
        let client = ClientView {
            cluster_id: cluster,
            member_id: MemberId(n),
            version: self.version.clone(),
            // Rights hide the list only; without a quorum there is no leader either.
            leader: match &quorum {
                Seen::No(blind) if blind.kind != BlindKind::Denied => None,
                Seen::Yes(_) | Seen::No(_) => list.first().map(|m| m.id),
            },
            learner: list.iter().any(|m| m.id == MemberId(n) && m.learner),
            quorum_list: quorum,
            commit: None,
            applied: None,
            faults: Vec::new(),
            database: None,
        };
        let view = self.view(cluster, list, Some("3.6.0"));
        self.probe(peer(n), view, Some(Ok(client)))
    }

    /// A formed cluster with a quorum, which the group's tag names as it should: these nodes answer, the other listed
    /// ones (but this node) are silent.
    pub fn serving(self, list: &[Member], nodes: impl IntoIterator<Item = u64>) -> Self {
        let scene = self.others_silent(list).tag(OURS);
        nodes.into_iter().fold(scene, |s, n| s.member_of(OURS, n, list, Seen::Yes(list.to_vec())))
    }

    /// A formed cluster of which these nodes answer and none confirms the list.
    pub fn hesitant(self, kind: BlindKind, list: &[Member], nodes: impl IntoIterator<Item = u64>) -> Self {
        let scene = self.others_silent(list);
        nodes.into_iter().fold(scene, |s, n| s.member_of(OURS, n, list, Seen::No(blind(kind))))
    }

    /// A cluster that never had a leader.
    pub fn forming(self, cluster: ClusterId, list: &[Member], nodes: impl IntoIterator<Item = u64>) -> Self {
        let scene = self.others_silent(list);
        nodes.into_iter().fold(scene, |s, n| {
            let view = s.view(cluster, list, None);
            s.probe(peer(n), view, None)
        })
    }

    pub fn others_silent(self, list: &[Member]) -> Self {
        let me = self.o.me.ok().map(|me| me.addresses.clone()).unwrap_or_default();
        let urls = list.iter().flat_map(|m| &m.peer_urls).filter(|url| !me.hold(url));
        urls.fold(self, |s, url| s.probe(url.clone(), PeerAnswer::Absent(no_answer()), Some(Err(no_answer()))))
    }

    /// The next pass, so many seconds later, with AWS asked again; the world is the same.
    pub fn again(self, seconds: u64) -> Self {
        let scene = self.later(seconds);
        let now = scene.o.taken_at;
        scene.asg(|g| g.read_at = now)
    }

    /// The next pass, on AWS's last reply.
    pub fn later(mut self, seconds: u64) -> Self {
        self.o.history = Some(remember(&self.o, &self.p));
        self.o.taken_at += Duration::from_secs(seconds);
        self
    }

    pub fn decide(&self) -> Decision {
        decide(&self.o, &self.p)
    }

    /// Does what is decided.
    pub fn step(&mut self) {
        let action = self.decide().action;
        carry_out(&mut self.o, &action);
    }

    #[track_caller]
    pub fn because(&self, expected: impl Into<Because>) -> Action {
        let Decision { action, reason } = self.decide();
        match expected.into() {
            Because::Code(code) => assert_eq!(reason.code(), code, "{action:?} because {reason:?}"),
            Because::Whole(whole) => assert_eq!(reason, whole, "{action:?}"),
        }
        action
    }

    #[track_caller]
    pub fn waits(&self, reason: impl Into<Because>) {
        assert_eq!(self.because(reason), Action::Wait);
    }

    #[track_caller]
    pub fn refuses(&self, reason: impl Into<Because>) {
        assert_eq!(self.because(reason), Action::Refuse);
    }

    #[track_caller]
    pub fn sets_aside(&self, reason: impl Into<Because>) {
        let action = self.because(reason);
        assert!(matches!(action, Action::Change(Change::SetDataAside { .. })), "{action:?}");
    }

    #[track_caller]
    pub fn removes(&self, n: u64, reason: impl Into<Because>) {
        let action = self.because(reason);
        let Action::Change(Change::Remove { member, via }) = action else { panic!("{action:?}") };
        assert_eq!(member, MemberId(n));
        assert_ne!(via, client(n), "it is not asked to remove itself");
    }

    #[track_caller]
    pub fn adds(&self, learner: AsLearner) {
        let action = self.because("joining");
        let Action::Change(Change::Add { peer_url, vote, .. }) = action else { panic!("{action:?}") };
        assert_eq!((peer_url, vote == Vote::Learner), (peer(1), learner == AsLearner::Yes));
    }

    #[track_caller]
    pub fn starts(&self, state: ClusterState, reason: impl Into<Because>) -> Start {
        let action = self.because(reason);
        let Action::Start(start) = action else { panic!("{action:?}") };
        assert_eq!(start.state, state);
        start
    }

    /// Agrees for this reason, tags the group, and starts as soon as AWS shows the tag.
    #[track_caller]
    pub fn creates(&self, reason: impl Into<Because>) -> Start {
        let mut scene = self.clone();
        let action = scene.because(reason);
        assert!(matches!(action, Action::Change(Change::Agree(_))), "{action:?}");
        scene.step();
        let action = scene.decide().action;
        assert!(matches!(action, Action::Change(Change::TagGroup { .. })), "{action:?}");
        scene.step();
        scene.starts(New, "agreed-founding")
    }

    #[track_caller]
    pub fn follows(&self, nodes: impl IntoIterator<Item = u64>) {
        let action = self.because(Reason::Endpoints { cluster: OURS });
        let Action::Follow(followed) = action else { panic!("{action:?}") };
        assert_eq!(followed.endpoints, nodes.into_iter().map(client).collect::<Vec<_>>());
    }
}

#[derive(Debug, PartialEq)]
pub enum AsLearner {
    Yes,
    No,
}

pub use AsLearner::{No as AsVoter, Yes as Learning};

// ---------------------------------------------------------------- what never happens, and what sometimes does

/// The id that etcd gives to this node when it is added.
pub const ADDED: MemberId = MemberId(0xadd);

/// Does to the world what a decision asks for.
pub fn carry_out(o: &mut Observation, action: &Action) {
    match action {
        Action::Change(Change::Remove { member, .. }) => each_list(o, |list| list.retain(|m| m.id != *member)),
        Action::Change(Change::Add { peer_url, vote, .. }) => each_list(o, |list| {
            let peer_urls = vec![peer_url.clone()];
            let (name, client_urls) = (String::new(), Vec::new());
            list.push(Member { id: ADDED, name, peer_urls, client_urls, learner: *vote == Vote::Learner });
        }),
        Action::Change(Change::SetDataAside { gives_up }) => {
            o.own_data = OwnData::Empty;
            new_disk(o, *gives_up);
        }
        Action::Change(Change::GiveUp { cluster }) => new_disk(o, Some(*cluster)),
        Action::Change(Change::BeginRecord) => new_disk(o, None),
        Action::Change(Change::Agree(agreement)) => {
            if let Seen::Yes(record) = &mut o.record {
                record.agreed = Some(agreement.clone());
            }
        }
        Action::Change(Change::TagGroup { tags, .. }) => {
            if let Seen::Yes(group) = &mut o.group {
                group.founding_tag = tags.get(FOUNDING_TAG).cloned().or(group.founding_tag.take());
                group.cluster_tag = tags.get(CLUSTER_TAG).cloned().or(group.cluster_tag.take());
            }
        }
        Action::Change(Change::MarkLeft(left)) => o.left = Some(left.clone()),
        Action::Change(
            Change::Promote { .. }
            | Change::MoveLeader { .. }
            | Change::CompleteHook { .. }
            | Change::KeepWaiting { .. },
        )
        | Action::Serve { .. }
        | Action::Rest => unreachable!("`run` decides none of those"),
        Action::Wait | Action::Refuse | Action::Start(_) | Action::Follow(_) => {}
    }
}

/// A record with another nonce, and all that was given up so far.
fn new_disk(o: &mut Observation, gives_up: Option<ClusterId>) {
    let mut given_up = o.record.ok().map(|record| record.given_up.clone()).unwrap_or_default();
    given_up.extend(gives_up);
    o.record = Seen::Yes(Record { nonce: "d15c".into(), given_up, agreed: None });
}

pub fn each_list(o: &mut Observation, change: impl Fn(&mut Vec<Member>)) {
    for probe in &mut o.probes {
        if let PeerAnswer::Etcd(view) = &mut probe.peer {
            change(&mut view.members);
        }
        if let Some(Ok(ClientView { quorum_list: Seen::Yes(list), .. })) = &mut probe.client {
            change(list);
        }
    }
}
