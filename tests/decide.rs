//! Situations and decisions: what `decide` does in each row of its table, in the failure catalogue's entries, and
//! what it never does in any of many random worlds.
//!
//! Node `n` is instance `i-0000000n` at `10.0.0.n` and, where it is listed, member `n`. This node is 1 unless said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use etcd_bootstrap::agreement;
use etcd_bootstrap::decide::{decide, remember, statement};
use etcd_bootstrap::model::{
    Absence, Action, AddressForm, Addresses, Agreement, Blind, BlindKind, CLUSTER_TAG, ClientView, ClusterId,
    ClusterState, Decision, Ec2, EtcdVersion, FOUNDING_TAG, Founder, FounderEntry, Founding, Group, Identity,
    InitialCluster, Instance, InstanceId, JoinAs, Lack, Member, MemberId, MemberUrl, Observation, OwnData, PeerAnswer,
    PeerView, Policy, Probe, Proof, Reason, Record, Role, Scheme, Seen, Start, Statement, render_initial_cluster,
};
use etcd_bootstrap::reason::Exit;
use etcd_bootstrap::report::other_scheme;
use etcd_bootstrap::write;

const OURS: ClusterId = ClusterId(0xc1);
const OTHER: ClusterId = ClusterId(0xc2);
const ARN: &str = "arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:u:autoScalingGroupName/etcd";
/// A version whose learners are safe (F55), and one whose are not.
const SAFE: &str = "3.6.16";
const UNSAFE: &str = "3.5.23";

// ---------------------------------------------------------------- words of the scenes

/// What the program does with its default options, but by addresses.
pub fn policy() -> Policy {
    Policy {
        role: Role::Member,
        address_form: AddressForm::Addresses,
        peer_scheme: Scheme::Http,
        peer_port: 2380,
        client_scheme: Scheme::Http,
        client_port: 2379,
        founding: Founding::Majority,
        founding_grace: Duration::from_secs(60),
        initial_cluster: InitialCluster::Auto,
        join_as: JoinAs::Auto,
        rejoin: false,
        prune_foreign: false,
    }
}

fn id(n: u64) -> InstanceId {
    InstanceId::new(format!("i-{n:08}"))
}

fn at(n: u64) -> Addresses {
    Addresses {
        ipv4: Some(format!("10.0.0.{n}").parse().expect("n is below 256")),
        ipv6: None,
        dns_name: Some(format!("ip-10-0-0-{n}.ec2.internal")),
    }
}

fn url(text: &str) -> MemberUrl {
    text.parse().expect("the test writes a URL")
}

fn peer(n: u64) -> MemberUrl {
    url(&format!("http://10.0.0.{n}:2380"))
}

fn client(n: u64) -> MemberUrl {
    url(&format!("http://10.0.0.{n}:2379"))
}

fn voter(n: u64) -> Member {
    Member {
        id: MemberId(n),
        name: id(n).to_string(),
        peer_urls: vec![peer(n)],
        client_urls: vec![client(n)],
        learner: false,
    }
}

fn learner(n: u64) -> Member {
    Member { learner: true, ..voter(n) }
}

/// Named by its initial cluster, and never seen to run.
fn founder(n: u64) -> Member {
    Member { client_urls: Vec::new(), ..voter(n) }
}

/// Added at run time, and never seen to run.
fn unstarted(n: u64) -> Member {
    Member { name: String::new(), ..founder(n) }
}

/// The same, as nodes are added where learners are safe.
fn added(n: u64) -> Member {
    Member { learner: true, ..unstarted(n) }
}

fn named(name: &str, m: Member) -> Member {
    Member { name: name.to_owned(), ..m }
}

fn etcd(version: &str) -> EtcdVersion {
    version.parse().expect("the test writes a version")
}

fn blind(kind: BlindKind) -> Blind {
    Blind { kind, why: "a test says so".to_owned() }
}

fn founders_text(nodes: impl IntoIterator<Item = u64>) -> String {
    let entries: Vec<_> = nodes.into_iter().map(|n| (id(n).to_string(), peer(n))).collect();
    render_initial_cluster(&entries)
}

fn no_answer() -> Absence {
    Absence::NoAnswer(Duration::from_secs(1))
}

fn unusable() -> [Absence; 3] {
    [Absence::Tls("expired".into()), Absence::Denied("403".into()), Absence::NotEtcd("nginx".into())]
}

/// The nonce of node n's disk.
fn disk(n: u64) -> String {
    format!("{n:08x}")
}

/// The founding by these nodes with their disks.
fn founding_of(nodes: impl IntoIterator<Item = u64>) -> Agreement {
    let founder = |n| Founder { instance: id(n), peer_url: peer(n), nonce: Some(disk(n)) };
    agreement::agree(ARN, nodes.into_iter().map(founder).collect())
}

/// What node n says of itself while it waits.
fn said_by(n: u64, founders: Option<String>) -> Statement {
    let (given_up, agreed) = (Vec::new(), None);
    Statement { instance: id(n), group: ARN.into(), founders, etcd: None, nonce: disk(n), given_up, agreed }
}

/// EC2's word for it.
fn is(n: u64, state: &str) -> Proof {
    Proof::Ec2State { instance: id(n), state: state.to_owned() }
}

fn dead(m: &Member, proof: Proof) -> Reason {
    Reason::ProvenDead { member: m.to_string(), proof }
}

fn log(member: u64, had_leader: bool) -> OwnData {
    let founders =
        (1..=3).map(|n| FounderEntry { name: id(n).to_string(), peer_urls: vec![peer(n).to_string()] }).collect();
    OwnData::Log { cluster_id: OURS, member_id: MemberId(member), had_leader, founders }
}

/// A reason by its code where its text is not the point, or as a whole.
enum Because {
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
struct Scene {
    o: Observation,
    p: Policy,
    version: String,
}

impl Scene {
    /// A settled group of nodes 1 to n. Nobody has said anything yet.
    fn group(n: u64) -> Self {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let group = Group {
            name: "etcd".into(),
            arn: ARN.into(),
            desired: usize::try_from(n).expect("a group is small"),
            cluster_tag: None,
            founding_tag: None,
            instances: BTreeMap::new(),
            read_at: now,
            date: Some(now),
        };
        let o = Observation {
            at: now,
            me: Seen::No(blind(BlindKind::Unreachable)),
            own_data: OwnData::Empty,
            own_commit: None,
            etcd: None,
            record: Seen::Yes(Record { nonce: disk(1), given_up: Vec::new(), agreed: None }),
            group: Seen::Yes(group),
            ec2: Seen::Yes(Ec2 { asked: BTreeSet::new(), found: BTreeMap::new() }),
            probes: Vec::new(),
            before: None,
        };
        let p = policy();
        let scene = Self { o, p, version: SAFE.into() }.me(1);
        (1..=n).fold(scene, |s, n| s.instance(n, "InService", "running"))
    }

    /// A settled group of n whose founders all say what this node says, confirmed by a second read.
    fn founders(n: u64) -> Self {
        (2..=n).fold(Self::group(n), |s, m| s.founding(m, 1..=n)).again(1)
    }

    /// The same with founder 3 silent until the founding grace is over.
    fn one_silent(n: u64) -> Self {
        Self::founders(n).silent(3).again(60)
    }

    /// Nodes 2 to n+1 form a cluster of n voters, and this node is new.
    fn cluster(n: u64) -> Self {
        let list: Vec<Member> = (2..=n + 1).map(voter).collect();
        Self::group(n + 1).serving(&list, 2..=n + 1)
    }

    /// This node replaces node 4, which is silent, in a cluster of 2, 3 and 4.
    fn replacing(fourth: Member) -> Self {
        Self::group(3).serving(&[voter(2), voter(3), fourth], 2..=3)
    }

    fn me(mut self, n: u64) -> Self {
        self.o.me = Seen::Yes(Identity {
            instance: id(n),
            region: "us-east-1".into(),
            zone: "us-east-1a".into(),
            addresses: at(n),
            vpc_ranges: vec!["10.0.0.0/16".into()],
            target_lifecycle_state: None,
        });
        self.o.probes.retain(|probe| probe.instance != Some(id(n)));
        self.record(|record| record.nonce = disk(n))
    }

    /// What this node's disk has on record.
    fn record(mut self, change: impl FnOnce(&mut Record)) -> Self {
        let Seen::Yes(record) = &mut self.o.record else { panic!("this scene has no record") };
        change(record);
        self
    }

    /// This disk has agreed to found this cluster of three.
    fn agreed(self, cluster: ClusterId) -> Self {
        self.record(|record| record.agreed = Some(Agreement { cluster, ..founding_of(1..=3) }))
    }

    /// The group's tag names this founding.
    fn tagged(self, founding: &Agreement) -> Self {
        let tag = agreement::tag_of(founding);
        self.asg(|g| g.founding_tag = tag)
    }

    fn data(mut self, data: OwnData) -> Self {
        self.o.own_data = data;
        self
    }

    fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.p);
        self
    }

    fn identity(mut self, change: impl FnOnce(&mut Identity)) -> Self {
        let Seen::Yes(me) = &mut self.o.me else { panic!("this scene has no identity") };
        change(me);
        self
    }

    fn asg(mut self, change: impl FnOnce(&mut Group)) -> Self {
        let Seen::Yes(group) = &mut self.o.group else { panic!("this scene has no group") };
        change(group);
        self
    }

    fn ec2(mut self, change: impl FnOnce(&mut Ec2)) -> Self {
        let Seen::Yes(ec2) = &mut self.o.ec2 else { panic!("this scene has no EC2") };
        change(ec2);
        self
    }

    fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        for probe in &mut self.o.probes {
            if let PeerAnswer::Member(view) = &mut probe.peer {
                version.clone_into(&mut view.server_version);
            }
        }
        self
    }

    /// What the cluster's members say of its own version.
    fn cluster_version(mut self, version: &str) -> Self {
        for probe in &mut self.o.probes {
            if let PeerAnswer::Member(view) = &mut probe.peer {
                view.cluster_version = Some(version.to_owned());
            }
        }
        self
    }

    /// This node will start this etcd.
    fn etcd(mut self, version: &str) -> Self {
        self.o.etcd = Some(Seen::Yes(etcd(version)));
        self
    }

    /// An instance of the group.
    fn instance(self, n: u64, lifecycle: &str, state: &str) -> Self {
        let lifecycle = lifecycle.to_owned();
        self.known(n, state).asg(|g| drop(g.instances.insert(id(n), lifecycle)))
    }

    /// An instance that EC2 knows, in the group or not.
    fn known(self, n: u64, state: &str) -> Self {
        let launched = Some(self.o.at);
        // EC2 takes the address away with the instance.
        let addresses = if state == "terminated" { Addresses::default() } else { at(n) };
        let instance = Instance { state: state.to_owned(), addresses, others: BTreeSet::new(), launched };
        self.asked(n).ec2(|ec2| drop(ec2.found.insert(id(n), instance)))
    }

    /// EC2 was asked about it; unless it is known too, EC2 has forgotten it.
    fn asked(self, n: u64) -> Self {
        self.ec2(|ec2| {
            ec2.asked.insert(id(n));
        })
    }

    fn tag(self, cluster: ClusterId) -> Self {
        self.asg(|g| g.cluster_tag = Some(cluster.to_string()))
    }

    fn untagged(self) -> Self {
        self.asg(|g| g.cluster_tag = None)
    }

    fn cloud_down(mut self) -> Self {
        self.o.group = Seen::No(blind(BlindKind::Unreachable));
        self.o.ec2 = Seen::No(blind(BlindKind::Unreachable));
        self
    }

    fn probe(mut self, url: MemberUrl, peer: PeerAnswer, client: Option<Result<ClientView, Absence>>) -> Self {
        let holds = |i: &&Instance| i.addresses.hold(&url);
        let found = self.o.ec2.ok().map(|ec2| &ec2.found);
        let instance = found.and_then(|found| found.keys().find(|id| found.get(*id).as_ref().is_some_and(holds)));
        let probe = Probe { instance: instance.cloned(), url: url.clone(), peer, client };
        self.o.probes.retain(|probe| probe.url != url);
        self.o.probes.push(probe);
        self.o.probes.sort_by(|a, b| a.url.cmp(&b.url));
        self
    }

    fn absent(self, n: u64, absence: Absence) -> Self {
        self.probe(peer(n), PeerAnswer::Absent(absence.clone()), Some(Err(absence)))
    }

    fn silent(self, n: u64) -> Self {
        self.absent(n, no_answer())
    }

    fn founding(self, n: u64, founders: impl IntoIterator<Item = u64>) -> Self {
        let founders = Some(founders_text(founders));
        self.says(n, said_by(n, founders))
    }

    fn says(self, n: u64, statement: Statement) -> Self {
        self.probe(peer(n), PeerAnswer::Founding(statement), None)
    }

    fn view(&self, cluster_id: ClusterId, list: &[Member], decided: Option<&str>) -> PeerAnswer {
        PeerAnswer::Member(PeerView {
            cluster_id,
            members: list.to_vec(),
            server_version: self.version.clone(),
            cluster_version: decided.map(str::to_owned),
        })
    }

    /// One member of a formed cluster, with what its client port adds.
    fn member_of(self, cluster: ClusterId, n: u64, list: &[Member], quorum: Seen<Vec<Member>>) -> Self {
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
        };
        let view = self.view(cluster, list, Some("3.6.0"));
        self.probe(peer(n), view, Some(Ok(client)))
    }

    /// A formed cluster with a quorum, which the group's tag names as it should: these nodes answer, the other listed
    /// ones (but this node) are silent.
    fn serving(self, list: &[Member], nodes: impl IntoIterator<Item = u64>) -> Self {
        let scene = self.others_silent(list).tag(OURS);
        nodes.into_iter().fold(scene, |s, n| s.member_of(OURS, n, list, Seen::Yes(list.to_vec())))
    }

    /// A formed cluster of which these nodes answer and none confirms the list.
    fn hesitant(self, kind: BlindKind, list: &[Member], nodes: impl IntoIterator<Item = u64>) -> Self {
        let scene = self.others_silent(list);
        nodes.into_iter().fold(scene, |s, n| s.member_of(OURS, n, list, Seen::No(blind(kind))))
    }

    /// A cluster that never had a leader.
    fn forming(self, cluster: ClusterId, list: &[Member], nodes: impl IntoIterator<Item = u64>) -> Self {
        let scene = self.others_silent(list);
        nodes.into_iter().fold(scene, |s, n| {
            let view = s.view(cluster, list, None);
            s.probe(peer(n), view, None)
        })
    }

    fn others_silent(self, list: &[Member]) -> Self {
        let me = self.o.me.ok().map(|me| me.addresses.clone()).unwrap_or_default();
        let urls = list.iter().flat_map(|m| &m.peer_urls).filter(|url| !me.hold(url));
        urls.fold(self, |s, url| s.probe(url.clone(), PeerAnswer::Absent(no_answer()), Some(Err(no_answer()))))
    }

    /// The next pass, so many seconds later, with AWS asked again; the world is the same.
    fn again(self, seconds: u64) -> Self {
        let scene = self.later(seconds);
        let now = scene.o.at;
        scene.asg(|g| g.read_at = now)
    }

    /// The next pass, on AWS's last reply.
    fn later(mut self, seconds: u64) -> Self {
        self.o.before = Some(remember(&self.o, &self.p));
        self.o.at += Duration::from_secs(seconds);
        self
    }

    fn decide(&self) -> Decision {
        decide(&self.o, &self.p)
    }

    /// Does what is decided.
    fn step(&mut self) {
        let action = self.decide().action;
        carry_out(&mut self.o, &action);
    }

    #[track_caller]
    fn because(&self, expected: impl Into<Because>) -> Action {
        let Decision { action, reason } = self.decide();
        match expected.into() {
            Because::Code(code) => assert_eq!(reason.code(), code, "{action:?} because {reason:?}"),
            Because::Whole(whole) => assert_eq!(reason, whole, "{action:?}"),
        }
        action
    }

    #[track_caller]
    fn waits(&self, reason: impl Into<Because>) {
        assert_eq!(self.because(reason), Action::Wait);
    }

    #[track_caller]
    fn refuses(&self, reason: impl Into<Because>) {
        assert_eq!(self.because(reason), Action::Refuse);
    }

    #[track_caller]
    fn sets_aside(&self, reason: impl Into<Because>) {
        let action = self.because(reason);
        assert!(matches!(action, Action::SetDataAside { .. }), "{action:?}");
    }

    #[track_caller]
    fn removes(&self, n: u64, reason: impl Into<Because>) {
        let action = self.because(reason);
        let Action::Remove { member, via } = action else { panic!("{action:?}") };
        assert_eq!(member, MemberId(n));
        assert_ne!(via, client(n), "it is not asked to remove itself");
    }

    #[track_caller]
    fn adds(&self, learner: AsLearner) {
        let action = self.because("joining");
        let Action::Add { peer_url, as_learner, .. } = action else { panic!("{action:?}") };
        assert_eq!((peer_url, as_learner), (peer(1), learner == AsLearner::Yes));
    }

    #[track_caller]
    fn starts(&self, state: ClusterState, reason: impl Into<Because>) -> Start {
        let action = self.because(reason);
        let Action::Start(start) = action else { panic!("{action:?}") };
        assert_eq!(start.state, state);
        start
    }

    /// Agrees for this reason, tags the group, and starts as soon as AWS shows the tag.
    #[track_caller]
    fn creates(&self, reason: impl Into<Because>) -> Start {
        let mut scene = self.clone();
        let action = scene.because(reason);
        assert!(matches!(action, Action::Agree(_)), "{action:?}");
        scene.step();
        let action = scene.decide().action;
        assert!(matches!(action, Action::TagGroup { .. }), "{action:?}");
        scene.step();
        scene.starts(New, "agreed-founding")
    }

    #[track_caller]
    fn follows(&self, nodes: impl IntoIterator<Item = u64>) {
        let endpoints = nodes.into_iter().map(client).collect();
        assert_eq!(self.because(Reason::Endpoints { cluster: OURS }), Action::Follow { endpoints });
    }
}

#[derive(Debug, PartialEq)]
enum AsLearner {
    Yes,
    No,
}

use AsLearner::{No as AsVoter, Yes as Learning};
use ClusterState::{Existing, New};

// ---------------------------------------------------------------- the table: no data of its own

#[test]
fn formed_and_not_listed_prunes_then_adds_then_starts_with_the_reply() {
    let fourth = voter(4);
    let mut scene = Scene::replacing(fourth.clone()).known(4, "terminated");
    scene.removes(4, dead(&fourth, is(4, "terminated")));
    scene.step();
    scene.adds(Learning);
    scene.step();
    let start = scene.starts(Existing, Reason::Resume { member: ADDED });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    assert_eq!(scene.because("resume"), Action::Start(start), "deciding again gives the same");
}

#[test]
fn f27_listed_and_unstarted_resumes_without_a_second_add() {
    let list = [added(1), voter(2), voter(3)];
    let start = Scene::group(3).serving(&list, 2..=3).starts(Existing, Reason::Resume { member: MemberId(1) });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    assert_eq!(start.name, id(1));
    // AWS has no say in it.
    Scene::group(3).serving(&list, 2..=3).cloud_down().starts(Existing, "resume");
    let voter_added = || Scene::group(3).version(UNSAFE).serving(&[unstarted(1), voter(2), voter(3)], 2..=3);
    voter_added().starts(Existing, "resume");
    voter_added().policy(|p| p.join_as = JoinAs::Voter).starts(Existing, "resume");
}

#[test]
fn f12c_a_late_founder_of_a_led_cluster_resumes() {
    let list = [founder(1), voter(2), voter(3)];
    let scene = Scene::group(3).agreed(OURS).serving(&list, 2..=3);
    scene.starts(Existing, Reason::Resume { member: MemberId(1) });
}

#[test]
fn f46_a_lost_disk_removes_its_own_member_first() {
    let scene = Scene::group(3).serving(&[voter(1), voter(2), voter(3)], 2..=3);
    scene.removes(1, Reason::ReplacesOwnLostDisk { member: voter(1).to_string() });
    // A member with the host's name for a name, as on Flatcar, at this node's own address.
    let mine = named("ip-10-0-0-1", voter(1));
    let scene = Scene::group(3).serving(&[mine.clone(), voter(2), voter(3)], 2..=3);
    scene.removes(1, Reason::ReplacesOwnLostDisk { member: mine.to_string() });
}

/// `ready` promotes a learner before it is published: as a voter it may have acknowledged what is lost with its disk.
#[test]
fn f46_a_promoted_learner_that_lost_its_disk_is_removed_though_it_was_never_published() {
    let list = [unstarted(1), voter(2), voter(3)];
    Scene::group(3).serving(&list, 2..=3).removes(1, "replaces-own-lost-disk");
    let by_order = Scene::group(3).version(UNSAFE).policy(|p| p.join_as = JoinAs::Learner);
    by_order.serving(&list, 2..=3).removes(1, "replaces-own-lost-disk");
}

#[test]
fn f28_reused_address_of_a_dead_member_is_removed_first() {
    let former = Member { peer_urls: vec![peer(1)], ..voter(4) };
    let scene = Scene::replacing(former.clone());
    let member = former.to_string();
    scene.clone().known(4, "terminated").removes(4, Reason::AddressReused { member, proof: is(4, "terminated") });
    // EC2 has forgotten it: that takes the second read and the grace as anywhere else.
    scene.clone().asked(4).waits("owner-unknown");
    scene.clone().asked(4).again(10).removes(4, "address-reused");
    scene.waits("owner-unknown");
}

#[test]
fn f32_the_address_of_another_live_instance_is_refused() {
    let theirs = Member { peer_urls: vec![peer(1)], ..voter(4) };
    for state in ["pending", "running", "stopping", "stopped"] {
        let scene = Scene::replacing(theirs.clone()).known(4, state);
        scene.refuses(Reason::AddressTaken { member: theirs.to_string() });
    }
}

#[test]
fn a_member_that_answers_on_another_of_its_urls_is_not_this_nodes_lost_disk() {
    let two = Member { peer_urls: vec![peer(1), peer(4)], ..named("hand-made", voter(4)) };
    let list = [voter(2), voter(3), two];
    let scene = Scene::group(3).serving(&list, 2..=4);
    assert!(!matches!(scene.decide().action, Action::Remove { .. }), "{:?}", scene.decide());
}

/// This node has agreed to found the cluster that node 2's etcd forms; node 3 is silent.
fn forming_as_agreed() -> Scene {
    let agreed = founding_of(1..=3);
    let list: Vec<Member> = (1..=3).map(founder).collect();
    let scene = Scene::group(3).record(|record| record.agreed = Some(agreed.clone()));
    scene.forming(agreed.cluster, &list, [2])
}

#[test]
fn f02_f12b_who_has_agreed_starts_what_another_founder_has_started_already() {
    // And does not wait for the client port of the early one, nor for the founder that is silent.
    let start = forming_as_agreed().starts(New, Reason::AgreedFounding { cluster: founding_of(1..=3).cluster });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
}

#[test]
fn f02_a_forming_cluster_that_this_disk_has_not_agreed_to_is_waited_for() {
    let list: Vec<Member> = (1..=4).map(founder).collect();
    Scene::group(3).forming(OURS, &list, [2]).waits(Reason::FormingWithoutMe { cluster: OURS });
    let other = founding_of(1..=2);
    Scene::group(3).record(|record| record.agreed = Some(other)).forming(OURS, &list, [2]).waits("forming-without-me");
}

#[test]
fn f04_a_published_row_is_never_new() {
    // A client URL is published through raft: there was a leader, whatever the version says yet.
    let list = [voter(1), voter(2), founder(3)];
    let scene = Scene::group(3).forming(OURS, &list, [2]);
    assert!(!matches!(scene.decide().action, Action::Start(Start { state: New, .. })), "{:?}", scene.decide());
}

#[test]
fn f04_a_tagged_cluster_that_looks_as_if_it_formed_is_not_founded_again() {
    // As an idle cluster up to 3.5 looks after a power cut to a founder whose disk is lost.
    let tagged = forming_as_agreed().asg(|g| g.cluster_tag = Some("c1".into()));
    tagged.waits("cluster-tagged");
    tagged.policy(|p| p.initial_cluster = InitialCluster::Force).starts(New, "agreed-founding");
    forming_as_agreed().policy(|p| p.initial_cluster = InitialCluster::Never).waits("creation-forbidden");
}

#[test]
fn f11_a_new_cluster_never_starts_without_its_token() {
    forming_as_agreed().cloud_down().waits("group-blind");
}

#[test]
fn forming_without_this_node_waits() {
    let list = [founder(2), founder(3)];
    Scene::group(3).forming(OURS, &list, [2]).waits(Reason::FormingWithoutMe { cluster: OURS });
}

#[test]
fn of_two_forming_clusters_the_agreed_one_is_started() {
    let list: Vec<Member> = (1..=3).map(founder).collect();
    let agreed = forming_as_agreed();
    let view = agreed.view(ClusterId(0), &list[..2], None);
    agreed.probe(peer(3), view.clone(), None).starts(New, "agreed-founding");
    Scene::group(3).forming(OURS, &list, [2]).probe(peer(3), view, None).waits("forming-without-me");
}

#[test]
fn formed_without_quorum_waits_and_names_the_survivors() {
    let list = [voter(1), voter(2), voter(3)];
    let scene = Scene::group(3).hesitant(BlindKind::Unreachable, &list, [2]);
    let Decision { action: Action::Wait, reason } = scene.decide() else { panic!("{:?}", scene.decide()) };
    let Reason::NoQuorum { cluster: OURS, answering, .. } = &reason else { panic!("{reason:?}") };
    assert_eq!(*answering, [peer(2).to_string()]);
    assert_eq!(reason.exit(), Exit::NotNow);
    assert!(reason.advice().is_some());
    // Whatever the policy and the founders say, there are survivors.
    let forced = Scene::founders(3).hesitant(BlindKind::Unreachable, &[voter(2)], [2]);
    forced.policy(|p| p.initial_cluster = InitialCluster::Force).waits("no-quorum");
}

#[test]
fn b10_f96_without_a_quorum_the_advice_is_by_cause() {
    let advises = |scene: &Scene, lacks: Lack, words: &str| {
        let Decision { action: Action::Wait, reason } = scene.decide() else { panic!("{:?}", scene.decide()) };
        let Reason::NoQuorum { lack, .. } = &reason else { panic!("{reason:?}") };
        let advice = reason.advice().expect("a person must do something");
        assert!(*lack == lacks && advice.contains(words), "{lack:?}: {advice}");
        assert!(!advice.contains("force-new-cluster"), "it keeps the cluster's id and splits a healthy one");
        assert!(lacks == Lack::Instances || !advice.contains("snapshot"), "{advice}");
    };
    let list = [voter(2), voter(3), voter(4)];
    let shut = [Absence::Tls("certificate expired".into()), no_answer(), Absence::Refused];
    for absence in shut {
        let scene = (2..=4).fold(Scene::group(4), |s, n| {
            let view = s.view(OURS, &list, Some("3.6.0"));
            s.probe(peer(n), view, Some(Err(absence.clone())))
        });
        advises(&scene, Lack::ClientPort, "make their client port answer");
    }
    let hesitant = |nodes| Scene::group(4).hesitant(BlindKind::Unreachable, &list, nodes);
    advises(&hesitant(2..=3), Lack::Leader, "wait");
    advises(&hesitant(2..=2), Lack::Etcds, "start the stopped members");
    let lost = |n: u64| hesitant(2..=2).known(n, "terminated");
    advises(&lost(3), Lack::Etcds, "start the stopped members");
    advises(&lost(3).known(4, "terminated"), Lack::Instances, "snapshot");
    // This node's own disk is one of them.
    let wiped = Scene::group(3).hesitant(BlindKind::Unreachable, &[voter(1), voter(2), voter(3)], [2]);
    advises(&wiped, Lack::Etcds, "start the stopped members");
    advises(&wiped.known(3, "terminated"), Lack::Instances, "snapshot");
}

#[test]
fn f59_a_hidden_member_list_is_refused_and_never_new() {
    let scene = Scene::group(3).hesitant(BlindKind::Denied, &[voter(2), voter(3)], 2..=3);
    scene.refuses("denied");
    assert_eq!(scene.decide().reason.exit(), Exit::Person);
}

#[test]
fn two_formed_clusters_are_refused_and_named() {
    let scene = Scene::cluster(2).member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    scene.refuses(Reason::TwoClusters { one: OURS, other: OTHER });
    assert_eq!(scene.decide().reason.exit(), Exit::Person);
}

#[test]
fn f10_a_cluster_that_is_not_the_tagged_one_is_refused() {
    let tagged = |tag: &str| Scene::cluster(3).asg(|g| g.cluster_tag = Some(tag.to_owned()));
    tagged("c2").refuses(Reason::NotTheTaggedCluster { tag: "c2".into(), seen: OURS });
    tagged("c1").adds(Learning);
}

#[test]
fn f69_an_instance_for_the_warm_pool_joins_nothing() {
    for scene in [Scene::cluster(3), Scene::founders(3), Scene::group(3).data(log(1, true))] {
        let scene = scene.identity(|me| me.target_lifecycle_state = Some("Warmed:Stopped".into()));
        scene.refuses(Reason::WarmPool { state: "Warmed:Stopped".into() });
        assert_eq!(scene.decide().reason.exit(), Exit::NotNow);
    }
    // The group's word counts where the metadata does not say.
    Scene::cluster(3)
        .instance(1, "Warmed:Pending", "running")
        .waits(Reason::Leaving { state: "Warmed:Pending".into() });
}

#[test]
fn an_instance_that_leaves_the_group_joins_nothing() {
    for state in ["Terminating:Wait", "Standby", "Detaching", "SomethingNew"] {
        Scene::cluster(3).instance(1, state, "running").waits(Reason::Leaving { state: state.into() });
    }
}

#[test]
fn without_metadata_or_an_address_of_the_form_asked_for_nothing_is_done() {
    let mut scene = Scene::cluster(3);
    scene.o.me = Seen::No(blind(BlindKind::Unreachable));
    scene.waits("metadata-blind");
    let nameless = Scene::cluster(3).identity(|me| me.addresses.dns_name = None);
    nameless.policy(|p| p.address_form = AddressForm::DnsNames).refuses(Reason::NoOwnAddress);
}

// ---------------------------------------------------------------- creating a cluster

#[test]
fn founders_that_agree_create_the_cluster() {
    let start = Scene::founders(3).creates(Reason::FoundersAgree { founders: 3 });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    Scene::group(1).again(1).creates(Reason::FoundersAgree { founders: 1 });
}

#[test]
fn f11_every_founder_writes_the_same_line_and_starts_in_its_turn() {
    for n in 1..=3 {
        let scene = (1..=3).filter(|m| *m != n).fold(Scene::group(3).me(n), |s, m| s.founding(m, 1..=3)).again(1);
        let start = scene.creates("founders-agree");
        assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
        assert_eq!(start.token, agreement::token(ARN, &founding_of(1..=3).founders));
        let before = start.after.map(|after| after.peer_urls).unwrap_or_default();
        assert_eq!(before, (1..n).map(peer).collect::<Vec<_>>());
    }
}

/// As text http://10.0.0.10:2380 comes before http://10.0.0.1:2380 and http://10.0.0.2:2380.
#[test]
fn f11_founders_start_in_the_order_in_which_etcd_asks_them() {
    let scene = (1..=11).filter(|m| *m != 2).fold(Scene::group(11).me(2), |s, m| s.founding(m, 1..=11));
    let after = scene.again(1).creates("founders-agree").after.expect("it is not the first");
    assert_eq!(after.peer_urls, [peer(10), peer(11), peer(1)]);
}

#[test]
fn f02_a_list_has_to_stand_for_two_reads_of_aws() {
    let once = (2..=3).fold(Scene::group(3), |s, n| s.founding(n, 1..=3));
    once.waits("second-read");
    once.clone().later(30).waits("second-read");
    once.clone().again(1).creates("founders-agree");
    // A change in between begins the count anew.
    let changed = once.clone().asg(|g| g.desired = 4).again(1).asg(|g| g.desired = 3).again(1);
    changed.creates("founders-agree");
    let mut between = once.asg(|g| g.desired = 4).again(1).asg(|g| g.desired = 3);
    between.waits("second-read");
    between = between.again(1);
    between.creates("founders-agree");
}

#[test]
fn f06_pending_instances_are_founders() {
    for state in ["Pending", "Pending:Wait", "Pending:Proceed", "InService"] {
        Scene::founders(3).instance(2, state, "pending").creates("founders-agree");
    }
}

#[test]
fn f06_f43_an_unsettled_group_creates_nothing() {
    for state in ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminated", "Standby", "Detaching", "New"]
    {
        Scene::founders(3).instance(4, state, "running").waits(Reason::GroupUnsettled {
            eligible: 3,
            desired: 3,
            other: vec![format!("{} is {state}", id(4))],
        });
    }
    // Warm instances are no founders, and the group is settled without them.
    Scene::founders(3).instance(4, "Warmed:Stopped", "stopped").creates("founders-agree");
}

#[test]
fn f71_more_or_fewer_than_desired_creates_nothing() {
    for desired in [2, 4] {
        let other = Vec::new();
        let scene = Scene::founders(3).asg(|g| g.desired = desired);
        scene.waits(Reason::GroupUnsettled { eligible: 3, desired, other });
    }
}

#[test]
fn a_founder_is_one_of_the_group_and_has_an_address() {
    Scene::founders(3).instance(1, "Standby", "running").asg(|g| g.desired = 2).waits("group-unsettled");
    Scene::founders(3).asg(|g| drop(g.instances.remove(&id(1)))).waits("not-in-group");
    Scene::founders(3).ec2(|ec2| drop(ec2.found.remove(&id(1)))).waits("not-in-group");
    let unaddressed = [
        Scene::founders(3).ec2(|ec2| drop(ec2.found.remove(&id(2)))),
        Scene::founders(3).instance(2, "InService", "terminated"),
        Scene::founders(3).instance(2, "InService", "stopped"),
    ];
    for scene in unaddressed {
        scene.waits(Reason::FounderWithoutAddress { instance: id(2) });
    }
    Scene::founders(3).cloud_down().waits("group-blind");
    let mut scene = Scene::founders(3);
    scene.o.ec2 = Seen::No(blind(BlindKind::Throttled));
    scene.waits("ec2-blind");
}

#[test]
fn f02_founders_that_see_another_list_are_waited_for() {
    let mine = founders_text(1..=3);
    Scene::founders(3).founding(2, 1..=2).waits(Reason::FoundersDisagree {
        instance: id(2),
        theirs: Some(founders_text(1..=2)),
        mine: mine.clone(),
    });
    let unsettled = said_by(2, None);
    Scene::founders(3).says(2, unsettled).waits(Reason::FoundersDisagree {
        instance: id(2),
        theirs: None,
        mine: mine.clone(),
    });
    let stranger = Statement { group: "arn:other".into(), ..said_by(2, Some(mine)) };
    Scene::one_silent(3).says(2, stranger).waits("founders-disagree");
}

#[test]
fn a_founders_word_is_its_own() {
    // An address that leads elsewhere: node 3 answers in the place of node 2.
    let third = said_by(3, Some(founders_text(1..=3)));
    let scene = Scene::founders(3).says(2, third);
    assert_eq!(scene.decide().action, Action::Wait, "{:?}", scene.decide());
}

#[test]
fn f07_a_silent_founder_is_waited_for_until_the_grace_is_over() {
    Scene::founders(3).silent(3).waits(Reason::FoundersSilent {
        silent: vec![format!("{}: no answer within 1.0 s", id(3))],
        agreed: 2,
        founders: 3,
    });
    Scene::founders(3).silent(3).again(58).waits("founders-silent");
    Scene::one_silent(3).creates(Reason::FoundersMajority { agreed: 2, silent: vec![id(3)] });
    Scene::one_silent(3).absent(3, Absence::Refused).creates("founders-majority");
}

#[test]
fn f03_only_silence_on_both_ports_is_silence() {
    let no_name = Absence::NoName("NXDOMAIN".into());
    for absence in unusable().into_iter().chain([no_name]) {
        Scene::one_silent(3).absent(3, absence.clone()).waits("founders-silent");
        let silent_peer = PeerAnswer::Absent(no_answer());
        Scene::one_silent(3).probe(peer(3), silent_peer.clone(), Some(Err(absence.clone()))).waits("founders-silent");
        Scene::one_silent(3).probe(peer(3), silent_peer, None).waits("founders-silent");
        let peer_only = PeerAnswer::Absent(absence);
        Scene::one_silent(3).probe(peer(3), peer_only, Some(Err(no_answer()))).waits("founders-silent");
    }
    let mut unasked = Scene::one_silent(3);
    unasked.o.probes.retain(|probe| probe.instance != Some(id(3)));
    unasked.waits("founders-silent");
}

#[test]
fn f08_a_silent_founder_of_another_generation_is_no_founder() {
    let launched = |seconds: Option<i64>| {
        Scene::one_silent(3).ec2(|ec2| {
            let mine = ec2.found[&id(1)].launched;
            let third = ec2.found.get_mut(&id(3)).expect("the scene has it");
            third.launched = seconds.and_then(|s| Some(mine? - Duration::from_secs(s.unsigned_abs())));
        })
    };
    launched(Some(60)).creates("founders-majority");
    launched(Some(61)).waits("founders-silent");
    launched(None).waits("founders-silent");
}

#[test]
fn unanimous_founding_never_takes_a_majority() {
    Scene::one_silent(3).policy(|p| p.founding = Founding::Unanimous).again(3600).waits("founders-silent");
    Scene::founders(3).policy(|p| p.founding = Founding::Unanimous).creates("founders-agree");
}

#[test]
fn half_of_the_founders_is_no_majority() {
    let silent =
        |n: u64, silent: std::ops::RangeInclusive<u64>| silent.fold(Scene::founders(n), Scene::silent).again(60);
    silent(2, 2..=2).waits("founders-silent");
    silent(4, 3..=4).waits("founders-silent");
    silent(5, 3..=5).waits("founders-silent");
    silent(5, 4..=5).creates("founders-majority");
}

#[test]
fn f08_a_tagged_group_creates_nothing() {
    let tagged = |s: Scene| s.asg(|g| g.cluster_tag = Some("c1".into()));
    tagged(Scene::founders(3)).waits(Reason::ClusterTagged { cluster: "c1".into(), unclear: Vec::new() });
    assert!(tagged(Scene::founders(3)).decide().reason.advice().is_some());
    // By hand: the tag is overridden, and nothing else is.
    let forced = |s: Scene| tagged(s).policy(|p| p.initial_cluster = InitialCluster::Force);
    forced(Scene::founders(3)).again(1).again(1).creates("founders-agree");
    forced(Scene::founders(3).silent(3)).waits("founders-silent");
    forced(Scene::founders(3).instance(4, "Terminating", "running")).waits("group-unsettled");
    forced(Scene::cluster(3)).adds(Learning);
}

#[test]
fn b07_f94_a_tag_that_is_gone_is_written_before_anything_is_changed() {
    let tags = |scene: &Scene, cluster| {
        let action = scene.because(Reason::Untagged { cluster });
        assert_eq!(action, tagging(cluster));
    };
    let mut joins = Scene::cluster(3).untagged();
    tags(&joins, OURS);
    joins.step();
    joins.adds(Learning);
    let mut replaces = Scene::replacing(voter(4)).known(4, "terminated").untagged();
    tags(&replaces, OURS);
    replaces.step();
    replaces.removes(4, dead(&voter(4), is(4, "terminated")));
    let wiped = Scene::group(3).serving(&[voter(1), voter(2), voter(3)], 2..=3);
    tags(&wiped.untagged(), OURS);

    // Nothing is written where nothing would be changed, nor for a cluster without a quorum.
    let list = [added(1), voter(2), voter(3)];
    Scene::group(3).serving(&list, 2..=3).untagged().starts(Existing, "resume");
    Scene::replacing(unstarted(4)).untagged().waits("other-joining");
    Scene::group(3).hesitant(BlindKind::Unreachable, &[voter(2), voter(3)], [2]).waits("no-quorum");

    // Written already, or not to be written by this role: the join goes on, and the next pass knows it too.
    let mut settled = Scene::cluster(3).untagged().again(1);
    settled.o.before.as_mut().expect("it was the second pass").untaggable = true;
    settled.adds(Learning);
    let mut lagging = Scene::cluster(3).untagged().again(1);
    lagging.o.before.as_mut().expect("it was the second pass").tagged = [(CLUSTER_TAG.into(), "c1".into())].into();
    lagging.adds(Learning);
}

/// The call that gives the group this cluster's tag.
fn tagging(cluster: ClusterId) -> Action {
    Action::TagGroup { group: "etcd".into(), tags: [(CLUSTER_TAG.to_owned(), cluster.to_string())].into() }
}

#[test]
fn b12_f95_the_cluster_of_force_can_be_joined_and_gets_the_tag() {
    let forced = |s: Scene| s.policy(|p| p.initial_cluster = InitialCluster::Force);
    Scene::cluster(3).tag(OTHER).refuses("not-the-tagged-cluster");
    let mut scene = forced(Scene::cluster(3)).tag(OTHER);
    assert_eq!(scene.decide().action, tagging(OURS));
    scene.step();
    scene.adds(Learning);
    // Whoever joins later needs no force.
    scene.policy(|p| p.initial_cluster = InitialCluster::Auto).adds(Learning);
    // The founder that comes second changes nothing, and starts.
    forced(Scene::group(3).agreed(OURS).serving(&[founder(1), voter(2), voter(3)], 2..=3))
        .tag(OTHER)
        .starts(Existing, "resume");
}

#[test]
fn b12_f95_the_tag_is_an_id_however_it_is_written() {
    let tagged = |tag: &str| Scene::cluster(3).asg(|g| g.cluster_tag = Some(tag.to_owned()));
    for same in ["c1", "C1", "0xc1", "0XC1", "00000000000000c1", "193", " c1 "] {
        tagged(same).adds(Learning);
    }
    for other in ["c2", "1c1", "194", "", "c1c1c1c1c1c1c1c1c1", "cluster c1"] {
        tagged(other).refuses(Reason::NotTheTaggedCluster { tag: other.into(), seen: OURS });
    }
    let big = ClusterId(0xcdf8_18f1_94e3_a8c1);
    assert!(big.is_meant_by("14841639997863602369") && big.is_meant_by("CDF818F194E3A8C1"));
}

#[test]
fn a_policy_of_never_creates_nothing() {
    Scene::founders(3).policy(|p| p.initial_cluster = InitialCluster::Never).waits(Reason::CreationForbidden);
    Scene::cluster(3).policy(|p| p.initial_cluster = InitialCluster::Never).adds(Learning);
}

// ---------------------------------------------------------------- proven dead

#[test]
fn f37_only_shutting_down_and_terminated_are_dead() {
    for state in ["shutting-down", "terminated"] {
        Scene::replacing(voter(4)).known(4, state).removes(4, dead(&voter(4), is(4, state)));
    }
    for state in ["pending", "running", "stopping", "stopped", "something-new"] {
        // F38: not in the group, silent for an hour, and none of it is evidence.
        Scene::replacing(voter(4)).known(4, state).again(3600).again(3600).adds(Learning);
    }
}

#[test]
fn f33_f43_an_instance_of_the_group_is_alive_though_ec2_does_not_know_it() {
    for state in ["Pending", "Standby", "Terminating:Wait", "SomethingNew"] {
        let scene = Scene::replacing(voter(4)).asked(4).asg(|g| drop(g.instances.insert(id(4), state.to_owned())));
        scene.again(3600).again(3600).adds(Learning);
    }
}

#[test]
fn f36_a_forgotten_instance_is_dead_after_two_reads_and_the_grace() {
    let scene = Scene::replacing(voter(4)).asked(4);
    scene.clone().again(10).removes(4, dead(&voter(4), forgotten(10)));
    let unproven = [scene.clone(), scene.clone().again(9), scene.clone().later(3600)];
    for scene in unproven {
        assert!(!matches!(scene.decide().action, Action::Remove { .. }), "{:?}", scene.decide());
    }
    // An answer in between begins the count anew.
    let list = [voter(2), voter(3), voter(4)];
    let back = scene.again(9).serving(&list, 2..=4).again(9).serving(&list, 2..=3).again(9);
    assert!(!matches!(back.decide().action, Action::Remove { .. }), "{:?}", back.decide());
}

fn forgotten(seconds: u64) -> Proof {
    Proof::Forgotten { instance: id(4), silent_for: Duration::from_secs(seconds) }
}

#[test]
fn f33_a_pass_in_which_ec2_did_not_say_so_is_no_read() {
    let not_asked = Scene::replacing(voter(4)).again(60).asked(4);
    assert!(!matches!(not_asked.decide().action, Action::Remove { .. }), "{:?}", not_asked.decide());
    let mut blind_first = Scene::replacing(voter(4)).asked(4);
    let ec2 = std::mem::replace(&mut blind_first.o.ec2, Seen::No(blind(BlindKind::Throttled)));
    blind_first = blind_first.again(60);
    blind_first.o.ec2 = ec2;
    assert!(!matches!(blind_first.decide().action, Action::Remove { .. }), "{:?}", blind_first.decide());
}

#[test]
fn f24_nobody_is_added_before_every_member_has_been_asked_about() {
    // The first pass cannot have asked: it learns the names only now. Once added, this node never prunes again.
    let list: Vec<Member> = (2..=6).map(voter).collect();
    let scene = Scene::group(5).serving(&list, 2..=5);
    scene.waits("second-read");
    scene.clone().known(6, "terminated").again(1).removes(6, dead(&voter(6), is(6, "terminated")));
    scene.clone().known(6, "running").again(1).adds(Learning);
    // The same for one that EC2 has forgotten: it is dead in a moment.
    scene.asked(6).again(1).waits("second-read");
}

#[test]
fn f36_silence_is_of_all_kinds_but_a_word() {
    for absence in unusable() {
        let scene = Scene::replacing(voter(4)).asked(4).absent(4, absence).again(60).again(60);
        assert!(!matches!(scene.decide().action, Action::Remove { .. }), "{:?}", scene.decide());
    }
    let list = [voter(2), voter(3), voter(4)];
    Scene::group(3).asked(4).serving(&list, 2..=4).again(3600).adds(Learning);
    for absence in [Absence::Refused, Absence::NoName("NXDOMAIN".into())] {
        Scene::replacing(voter(4)).asked(4).absent(4, absence).again(10).removes(4, "proven-dead");
    }
}

#[test]
fn f34_a_reply_that_lacks_this_node_proves_nothing() {
    let scene = || Scene::replacing(voter(4)).known(4, "terminated");
    scene().asg(|g| drop(g.instances.remove(&id(1)))).waits("not-in-group");
    scene().ec2(|ec2| drop(ec2.found.remove(&id(1)))).waits("not-in-group");
    scene().asg(|g| g.instances.clear()).waits("not-in-group");
    scene().cloud_down().waits("group-blind");
    let mut blinded = scene();
    blinded.o.ec2 = Seen::No(blind(BlindKind::Denied));
    blinded.waits("ec2-blind");
}

#[test]
fn f26_a_nameless_member_is_known_by_its_address() {
    let dying = Scene::replacing(unstarted(4)).known(4, "shutting-down");
    dying.removes(4, dead(&unstarted(4), is(4, "shutting-down")));
    Scene::replacing(unstarted(4)).known(4, "running").again(3600).waits("other-joining");
    // A name that is no instance's is no name.
    let hand_named = named("etcd-4", voter(4));
    Scene::replacing(hand_named.clone())
        .known(4, "shutting-down")
        .removes(4, dead(&hand_named, is(4, "shutting-down")));
}

#[test]
fn f26_an_address_belongs_to_the_living_of_its_holders() {
    // EC2's words about the old holder lag; neither is listed by the group.
    let scene = Scene::replacing(unstarted(5)).known(4, "shutting-down").known(5, "running");
    let scene = scene.ec2(|ec2| ec2.found.get_mut(&id(4)).expect("it is known").addresses = at(5));
    scene.waits("other-joining");
}

#[test]
fn f26_a_member_that_never_started_is_dead_after_the_grace() {
    let ghost = unstarted(4);
    let proof = Proof::NeverStarted { silent_for: Duration::from_secs(60) };
    Scene::replacing(ghost.clone()).again(60).removes(4, dead(&ghost, proof));
    Scene::replacing(ghost.clone()).waits("other-joining");
    Scene::replacing(ghost.clone()).again(59).waits("other-joining");
    Scene::replacing(ghost.clone()).later(3600).waits("other-joining");
    Scene::replacing(ghost).absent(4, Absence::Tls("expired".into())).again(3600).waits("other-joining");
    let elsewhere = Member { peer_urls: vec![url("http://10.9.0.4:2380")], ..unstarted(4) };
    Scene::replacing(elsewhere).again(3600).waits("other-joining");
    let by_name = |name: &str| Member { peer_urls: vec![url(name)], ..unstarted(4) };
    Scene::replacing(by_name("http://ip-10-0-0-4.ec2.internal:2380")).again(60).removes(4, "proven-dead");
    Scene::replacing(by_name("http://etcd.example.org:2380")).again(3600).waits("other-joining");
}

#[test]
fn f45_a_foreign_member_stays() {
    let foreign = named("hand-made", voter(4));
    let scene = Scene::replacing(foreign.clone()).again(3600);
    scene.adds(Learning);
    let proof = Proof::Foreign { silent_for: Duration::from_secs(3600) };
    scene.policy(|p| p.prune_foreign = true).removes(4, dead(&foreign, proof));
    let list = [voter(2), voter(3), foreign.clone()];
    Scene::group(3).serving(&list, 2..=4).policy(|p| p.prune_foreign = true).again(3600).adds(Learning);
}

#[test]
fn f45_an_instance_of_another_vpc_is_foreign_though_ec2_does_not_know_it() {
    // Another region or account: this EC2 cannot know it, and the network between them can fail.
    let elsewhere = Member { peer_urls: vec![url("http://172.31.0.4:2380")], ..voter(4) };
    let scene = Scene::replacing(elsewhere).asked(4).again(3600);
    assert!(!matches!(scene.decide().action, Action::Remove { .. }), "{:?}", scene.decide());
}

#[test]
fn this_nodes_former_self_at_another_address_is_removed() {
    let former = Member { peer_urls: vec![peer(9)], ..voter(1) };
    let scene = Scene::group(3).serving(&[former.clone(), voter(2), voter(3)], 2..=3);
    scene.removes(1, dead(&former, Proof::Myself));
}

#[test]
fn a_former_self_that_answers_is_somebody() {
    let double = Member { peer_urls: vec![peer(9)], ..voter(1) };
    let list = [double, voter(2), voter(3)];
    let scene =
        Scene::group(3).serving(&list, 2..=3).probe(peer(9), Scene::group(3).view(OURS, &list, Some("3.6.0")), None);
    assert!(!matches!(scene.decide().action, Action::Remove { .. }), "{:?}", scene.decide());
}

#[test]
fn b22_f93_a_name_of_another_vpc_of_the_region_is_not_in_this_one() {
    // All VPCs of a region share the domain; their addresses differ where they are peered.
    let peered = Member { peer_urls: vec![url("http://ip-10-9-0-4.ec2.internal:2380")], ..unstarted(4) };
    Scene::replacing(peered).again(3600).waits("other-joining");
    let unknown = Member { peer_urls: vec![url("http://etcd-4.ec2.internal:2380")], ..unstarted(4) };
    Scene::replacing(unknown).again(3600).waits("other-joining");
}

#[test]
fn b22_f93_a_member_at_a_further_address_of_an_instance_was_left_behind_by_nobody() {
    let container = Member { peer_urls: vec![peer(44)], ..unstarted(4) };
    let other = "10.0.0.44".parse().expect("an address");
    let scene = Scene::replacing(container.clone());
    let held = scene.clone().ec2(|ec2| ec2.found.get_mut(&id(2)).expect("it is known").others = [other].into());
    held.again(3600).waits("other-joining");
    scene.again(60).removes(4, "proven-dead");
}

// ---------------------------------------------------------------- who is it that answers

/// This node has the disk of member 4, which is listed under this name at this URL.
fn with_the_disk_of_four(name: &str, at: u64) -> (Scene, Vec<Member>) {
    let four = named(name, Member { peer_urls: vec![peer(at)], ..voter(4) });
    let list = vec![voter(2), voter(3), four];
    (Scene::group(3).data(log(4, true)).serving(&list, 2..=3), list)
}

#[test]
fn b04_f88_a_copy_of_a_living_members_disk_is_refused() {
    let of_four = || with_the_disk_of_four(id(4).as_str(), 4);
    // It answers itself, whatever AWS says or does not say.
    let (scene, list) = of_four();
    let serving = scene.serving(&list, 2..=4);
    for scene in [serving.clone(), serving.clone().known(4, "terminated"), serving.cloud_down()] {
        scene.refuses("disk-is-a-copy");
    }
    // Its instance is not gone, though it is silent now.
    for state in ["pending", "running", "stopping", "stopped"] {
        of_four().0.known(4, state).refuses("disk-is-a-copy");
    }
    // Nobody has said yet what became of it.
    of_four().0.waits("second-read");
    // A first start of the copy has renamed the member: its address is the original's.
    let (renamed, _) = with_the_disk_of_four(id(1).as_str(), 4);
    renamed.known(4, "running").refuses("disk-is-a-copy");
}

#[test]
fn b04_f88_a_disk_that_was_moved_from_a_dead_instance_starts() {
    for state in ["shutting-down", "terminated"] {
        let (scene, _) = with_the_disk_of_four(id(4).as_str(), 4);
        scene.known(4, state).starts(Existing, "own-data-listed");
    }
    // It is this node's own, under any name.
    with_the_disk_of_four("etcd-d", 1).0.starts(Existing, "own-data-listed");
    with_the_disk_of_four(id(1).as_str(), 1).0.cloud_down().starts(Existing, "own-data-listed");
}

#[test]
fn b04_f88_evidence_that_contradicts_itself_proves_no_death() {
    let list = [voter(2), voter(3), voter(4)];
    let answering = || Scene::group(3).serving(&list, 2..=4);
    answering().known(4, "terminated").adds(Learning);
    // One that shuts down answers for a while (F37).
    answering().known(4, "shutting-down").removes(4, dead(&voter(4), is(4, "shutting-down")));
    // The copy's name at the original's address, which is silent for now.
    let renamed = Member { peer_urls: vec![peer(5)], ..voter(4) };
    let scene = Scene::replacing(renamed.clone()).known(4, "terminated");
    scene.clone().instance(5, "InService", "running").adds(Learning);
    scene.clone().removes(4, dead(&renamed, is(4, "terminated")));
    // Who waits there without data is not the member, but the address's next owner (F28).
    let next_owner = scene.instance(5, "InService", "running").founding(5, 1..=3);
    next_owner.removes(4, dead(&renamed, is(4, "terminated")));
}

#[test]
fn b06_f91_a_stranger_on_a_dead_members_address_is_no_cluster() {
    let theirs = [voter(4)];
    let scene = || Scene::replacing(voter(4)).member_of(OTHER, 4, &theirs, Seen::Yes(theirs.to_vec()));
    scene().asked(4).again(10).removes(4, dead(&voter(4), forgotten(10)));
    scene().known(4, "terminated").removes(4, dead(&voter(4), is(4, "terminated")));
    scene().waits("second-read");
    // With this node's own data it says nothing either.
    scene().data(log(1, true)).refuses("removed-member");
    // So does a node of theirs that has no cluster yet.
    let theirs = Statement { group: "theirs".into(), ..said_by(4, None) };
    Scene::replacing(voter(4)).says(4, theirs).asked(4).again(10).removes(4, "proven-dead");
    // An instance of this group is no stranger.
    let two = Scene::group(3).member_of(OURS, 2, &[voter(2)], Seen::Yes(vec![voter(2)]));
    let two = two.member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    two.refuses(Reason::TwoClusters { one: OURS, other: OTHER });
}

fn refused(mut scene: Scene, times: u32) -> Scene {
    scene.o.before = Some(remember(&scene.o, &scene.p));
    scene.o.before.as_mut().expect("it was set above").refusals = times;
    scene
}

#[test]
fn b09_f92_a_foreign_member_that_blocks_every_join_is_named() {
    let foreign = named("etcd-d", voter(4));
    let scene = || Scene::replacing(foreign.clone());
    scene().adds(Learning);
    let named = refused(scene(), 1).decide();
    assert_eq!(named.reason, Reason::ForeignInTheWay { member: foreign.to_string() });
    assert!(matches!(named.action, Action::Add { .. }), "it goes on asking: {:?}", named.action);
    let advice = named.reason.advice().unwrap_or_default();
    assert!(advice.contains("etcdctl member remove") && advice.contains("--prune-foreign"), "{advice}");
    // One that answers is in nobody's way, and that a leader is new is no member's fault.
    let list = [voter(2), voter(3), foreign.clone()];
    assert_eq!(refused(Scene::group(3).serving(&list, 2..=4), 1).decide().reason.code(), "joining");
    assert_eq!(refused(Scene::cluster(3), 1).decide().reason.code(), "joining");
}

#[test]
fn f110_a_change_that_one_member_refuses_is_asked_of_another() {
    let via = |times| match refused(Scene::cluster(3), times).decide().action {
        Action::Add { via, .. } => via,
        other => panic!("{other:?}"),
    };
    assert_eq!([0, 1, 2, 3].map(via), [2, 3, 4, 2].map(client));
    let removal = refused(Scene::replacing(voter(4)).known(4, "terminated"), 1).decide().action;
    assert_eq!(removal, Action::Remove { member: MemberId(4), via: client(3) });
}

#[test]
fn b31_f108_a_member_on_this_host_at_another_port_is_another_one() {
    let beside = Member { peer_urls: vec![url("http://10.0.0.1:2390")], ..named("etcd-b", voter(4)) };
    Scene::replacing(beside).adds(Learning);
    let by_name = Member { peer_urls: vec![url("http://ip-10-0-0-1.ec2.internal:2390")], ..named("etcd-b", voter(4)) };
    Scene::replacing(by_name).adds(Learning);
}

#[test]
fn f53_a_dead_learner_goes_before_dead_voters() {
    let list = [voter(2), voter(3), voter(4), voter(5), unstarted(6), learner(7)];
    let dying =
        |s: Scene, n| s.known(n, "terminated").ec2(|ec2| ec2.found.get_mut(&id(n)).expect("known").addresses = at(n));
    let mut scene = (5..=7).fold(Scene::group(4).serving(&list, 2..=4), dying);
    for n in [7, 6, 5] {
        scene.removes(n, "proven-dead");
        scene.step();
    }
    scene.adds(Learning);
}

// ---------------------------------------------------------------- S3

#[test]
fn f41_a_removal_leaves_a_reachable_quorum() {
    // Voters listed, the last of them dead; answering ones among the rest; needed of the rest.
    for (voters, answering, needed) in [(2, 1, 1), (3, 2, 2), (3, 1, 2), (4, 2, 2), (4, 1, 2), (5, 3, 3), (5, 2, 3)] {
        let last = voters + 1;
        let list: Vec<Member> = (2..=last).map(voter).collect();
        let scene = Scene::group(voters).serving(&list, 2..=answering + 1).known(last, "terminated");
        if answering >= needed {
            scene.removes(last, "proven-dead");
        } else {
            let [reachable, needed] = [answering, needed].map(|n| usize::try_from(n).expect("n is small"));
            let member = voter(last).to_string();
            scene.waits(Reason::RemovalCostsQuorum { member, reachable, needed });
        }
    }
}

#[test]
fn f41_the_removed_member_itself_is_not_counted() {
    let list = [voter(2), voter(3), voter(4)];
    let scene = Scene::group(3).serving(&list, [2, 4]).known(4, "shutting-down");
    scene.waits(Reason::RemovalCostsQuorum { member: voter(4).to_string(), reachable: 1, needed: 2 });
    // Neither does this node get its lost disk's member back at the price of the quorum.
    let list = [voter(1), voter(2), voter(3)];
    Scene::group(3).serving(&list, [2]).waits("removal-costs-quorum");
}

#[test]
fn f41_of_two_dead_members_the_silent_one_goes_first() {
    // 3 still answers while it shuts down. Without 4 the cluster outlives it; in the other order it does not.
    let list = [voter(2), voter(3), voter(4)];
    let scene = Scene::group(3).serving(&list, 2..=3).known(3, "shutting-down").known(4, "terminated");
    let mut scene = scene.asg(|g| drop(g.instances.remove(&id(3))));
    for n in [4, 3] {
        scene.removes(n, "proven-dead");
        scene.step();
    }
    scene.adds(Learning);
}

#[test]
fn f53_removing_a_learner_costs_nothing() {
    let list = [voter(2), voter(3), learner(4)];
    Scene::group(3).serving(&list, [2]).known(4, "terminated").removes(4, "proven-dead");
}

#[test]
fn f25_a_voter_is_never_added_where_its_absence_would_cost_quorum() {
    let alone = Scene::cluster(1).version(UNSAFE);
    alone.adds(Learning);
    let voter_wanted = alone.policy(|p| p.join_as = JoinAs::Voter);
    voter_wanted.waits(Reason::AdditionRisksQuorum { reachable: 1, needed: 2 });
    Scene::cluster(2).version(UNSAFE).adds(AsVoter);
    Scene::cluster(3).version(UNSAFE).adds(AsVoter);
    let one_silent = || Scene::cluster(3).silent(4).version(UNSAFE);
    one_silent().adds(Learning);
    one_silent().policy(|p| p.join_as = JoinAs::Voter).waits(Reason::AdditionRisksQuorum { reachable: 2, needed: 3 });
    Scene::cluster(5).silent(6).policy(|p| p.join_as = JoinAs::Voter).adds(AsVoter);
}

// ---------------------------------------------------------------- joining

#[test]
fn f14_another_join_is_waited_for() {
    for other in [unstarted(4), founder(4), Member { learner: true, ..unstarted(4) }] {
        let list = [voter(2), voter(3), other.clone()];
        Scene::group(4).serving(&list, 2..=3).waits(Reason::OtherJoining { member: other.to_string() });
    }
    let list = [voter(2), voter(3), learner(4)];
    Scene::group(4).serving(&list, 2..=4).waits(Reason::LearnerNotPromoted { member: learner(4).to_string() });
}

#[test]
fn f55_a_learner_where_the_version_keeps_its_promotion() {
    let table = [
        ("3.4.44", AsVoter),
        ("3.5.25", AsVoter),
        ("3.5.26", Learning),
        ("3.6.0", AsVoter),
        ("3.6.5", AsVoter),
        ("3.6.6", Learning),
        ("3.7.0", Learning),
        ("3.10.0", Learning),
        ("4.0.0", Learning),
        ("3.6.0-rc.4", AsVoter),
        ("", AsVoter),
        ("newest", AsVoter),
    ];
    for (version, expected) in table {
        Scene::cluster(3).version(version).adds(expected);
    }
    // One old member is enough to lose the promotion.
    let list: Vec<Member> = (2..=4).map(voter).collect();
    let mixed = Scene::cluster(3).version(UNSAFE).version(SAFE);
    let mut old = mixed.clone();
    old.version = UNSAFE.into();
    old.member_of(OURS, 3, &list, Seen::Yes(list.clone())).adds(AsVoter);
    mixed.adds(Learning);
}

#[test]
fn join_as_is_obeyed() {
    Scene::cluster(3).policy(|p| p.join_as = JoinAs::Voter).adds(AsVoter);
    Scene::cluster(3).version(UNSAFE).policy(|p| p.join_as = JoinAs::Learner).adds(Learning);
}

#[test]
fn f20_a_local_list_is_no_authority() {
    // Node 2 lags and does not list this node; the quorum does.
    let list = [added(1), voter(2), voter(3)];
    let scene = Scene::group(3).serving(&list, 2..=3);
    scene.member_of(OURS, 2, &list[1..], Seen::No(blind(BlindKind::Unreachable))).starts(Existing, "resume");
}

#[test]
fn f54_a_learner_is_not_asked_about_others() {
    let list = [learner(2), voter(3), voter(4), voter(5)];
    let scene = Scene::group(4).serving(&list, 2..=4).known(5, "terminated");
    let Action::Remove { via, .. } = scene.decide().action else { panic!("{:?}", scene.decide()) };
    assert_eq!(via, client(3));
}

// ---------------------------------------------------------------- the initial cluster

fn resumed(list: &[Member]) -> Start {
    Scene::group(3).serving(list, 2..=3).starts(Existing, "resume")
}

#[test]
fn f17_nameless_members_get_names_of_their_own() {
    let twin = named(&id(2).to_string(), voter(3));
    let hostile = named("a,b=c", voter(6));
    let list = [added(1), voter(2), twin, unstarted(4), unstarted(5), hostile, named(&id(1).to_string(), voter(7))];
    let start = resumed(&list);
    let names: BTreeSet<&String> = start.initial_cluster.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), list.len());
    assert!(names.iter().all(|name| !name.is_empty() && !name.contains([',', '='])));
    let mine = start.initial_cluster.iter().find(|(name, _)| *name == start.name.to_string());
    assert_eq!(mine.map(|(_, url)| url), Some(&peer(1)));
}

#[test]
fn b13_f98_names_that_no_file_can_hold_are_replaced() {
    for name in ["bob's", "bob\"s", "bob`s", "bob\\s", "bob s", "bob\u{a0}s", "bo\u{7}b", "böb", "a,b", "a=b"] {
        let start = resumed(&[added(1), named(name, voter(2)), voter(3)]);
        let text = render_initial_cluster(&start.initial_cluster);
        assert!(text.contains(&format!("member-{}={}", MemberId(2), peer(2))), "{name}: {text}");
        let variables = [("ETCD_INITIAL_CLUSTER".to_owned(), text)].into();
        write::render(&variables).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn f18_learners_and_unstarted_members_are_listed() {
    let start = resumed(&[added(1), voter(2), voter(3), learner(4), unstarted(5)]);
    let urls: BTreeSet<MemberUrl> = start.initial_cluster.into_iter().map(|(_, url)| url).collect();
    assert_eq!(urls, (1..=5).map(peer).collect());
}

#[test]
fn f19_every_peer_url_is_listed_under_its_members_name() {
    let two = Member { peer_urls: vec![peer(2), peer(20)], ..voter(2) };
    let entries = resumed(&[added(1), two, voter(3)]).initial_cluster;
    let second: Vec<&MemberUrl> =
        entries.iter().filter(|(name, _)| *name == id(2).to_string()).map(|(_, u)| u).collect();
    assert_eq!((second, entries.len()), (vec![&peer(2), &peer(20)], 4));
}

#[test]
fn f30_ipv6_addresses_are_in_brackets() {
    let v6 = |n: u64| Addresses { ipv4: None, ipv6: format!("fd00::{n}").parse().ok(), dns_name: None };
    let scene = Scene::group(1).identity(|me| me.addresses = v6(1)).ec2(|ec2| {
        ec2.found.get_mut(&id(1)).expect("the scene has it").addresses = v6(1);
    });
    let start = scene.again(1).creates("founders-agree");
    assert_eq!(render_initial_cluster(&start.initial_cluster), format!("{}=http://[fd00::1]:2380", id(1)));
    assert_eq!(start.client_url.to_string(), "http://[fd00::1]:2379");
    // Another spelling of the same address is the same address.
    let mine = Member { peer_urls: vec![url("http://[fd00:0:0::1]:2380")], ..added(1) };
    let scene = Scene::group(3).identity(|me| me.addresses = v6(1)).serving(&[mine, voter(2), voter(3)], 2..=3);
    assert_eq!(scene.starts(Existing, "resume").peer_url.to_string(), "http://[fd00::1]:2380");
}

#[test]
fn f29_the_lists_form_of_an_address_is_kept() {
    let by_name = |n: u64| url(&format!("http://ip-10-0-0-{n}.ec2.internal:2380"));
    let founders = founding_of(1..=3).founders.into_iter().zip(1..);
    let founders = founders.map(|(f, n)| Founder { peer_url: by_name(n), ..f }).collect();
    let agreed = agreement::agree(ARN, founders);
    let start = Scene::group(3).tagged(&agreed).record(|r| r.agreed = Some(agreed)).starts(New, "agreed-founding");
    assert_eq!(start.peer_url, by_name(1));
    assert!(start.initial_cluster.contains(&(id(1).to_string(), by_name(1))));
    // And a group that asks for names gets names.
    let named = Scene::group(1).policy(|p| p.address_form = AddressForm::DnsNames).again(1);
    assert_eq!(named.creates("founders-agree").initial_cluster, [(id(1).to_string(), by_name(1))]);
}

// ---------------------------------------------------------------- the table: data of its own

#[test]
fn f51_own_data_starts_though_aws_is_down_and_nobody_answers() {
    for had_leader in [true, false] {
        let scene = Scene::group(3).data(log(1, had_leader));
        scene.starts(Existing, Reason::OwnDataNobodyObjects);
        scene.cloud_down().starts(Existing, Reason::OwnDataNobodyObjects);
    }
}

#[test]
fn b21_f100_a_listed_scheme_that_is_not_the_configured_one_is_followed_and_told() {
    let list = [voter(1), voter(2), voter(3)];
    let mut scene = Scene::group(3).data(log(1, true)).serving(&list, 2..=3);
    assert_eq!(other_scheme(&scene.o, &scene.p), None);
    // A peer port without TLS cannot be asked by an agent that has it, the client port can.
    scene.p.peer_scheme = Scheme::Https;
    for probe in &mut scene.o.probes {
        probe.peer = PeerAnswer::Absent(Absence::Tls("no handshake".into()));
    }
    let start = scene.starts(Existing, Reason::OwnDataNobodyObjects);
    assert_eq!((start.peer_url, start.initial_cluster.len()), (peer(1), 3));
    let told = other_scheme(&scene.o, &scene.p).expect("it is told");
    assert!(told.contains("--etcd-peer-scheme is https") && told.contains(&voter(1).to_string()), "{told}");
    assert_eq!(other_scheme(&scene.o, &Policy { role: Role::Consumer, ..scene.p }), None);
}

#[test]
fn f52_own_data_waits_for_no_quorum() {
    let list = [voter(1), voter(2), voter(3)];
    for kind in [BlindKind::Unreachable, BlindKind::Denied] {
        let scene = Scene::group(3).data(log(1, true)).hesitant(kind, &list, [2]);
        scene.starts(Existing, Reason::OwnDataNobodyObjects);
    }
    let scene = Scene::group(3).data(log(1, true)).serving(&list, 2..=3);
    let start = scene.starts(Existing, Reason::OwnDataListed { cluster: OURS });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    // A second cluster is somebody else's trouble.
    scene.member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)])).starts(Existing, "own-data-listed");
}

#[test]
fn b02_f86_a_log_that_is_ahead_of_the_cluster_is_refused() {
    let list = [voter(1), voter(2), voter(3)];
    let ahead = |own: Option<u64>, theirs: [Option<u64>; 2], mut scene: Scene| {
        scene.o.own_commit = own;
        for (probe, index) in scene.o.probes.iter_mut().zip(theirs) {
            if let Some(Ok(view)) = &mut probe.client {
                view.commit = index;
            }
        }
        scene
    };
    let serving = || Scene::group(3).data(log(1, true)).serving(&list, 2..=3);
    let refused = Reason::LogAhead { cluster: OURS, mine: 100, theirs: 99 };
    assert_eq!(refused.exit(), Exit::Person);
    ahead(Some(100), [Some(98), Some(99)], serving()).refuses(refused);
    // Nor is it set aside, removed member or not.
    let removed = Scene::group(3).data(log(1, true)).serving(&[voter(2), voter(3)], 2..=3);
    ahead(Some(100), [Some(99); 2], removed.policy(|p| p.rejoin = true)).refuses("log-ahead");

    // One that lags does not count, nor one that no quorum has confirmed, nor what is not known.
    ahead(Some(100), [Some(9), Some(100)], serving()).starts(Existing, "own-data-listed");
    ahead(Some(100), [None, None], serving()).starts(Existing, "own-data-listed");
    ahead(None, [Some(9), Some(9)], serving()).starts(Existing, "own-data-listed");
    let hesitant = Scene::group(3).data(log(1, true)).hesitant(BlindKind::Unreachable, &list, 2..=3);
    ahead(Some(100), [Some(9), Some(9)], hesitant).starts(Existing, "own-data-nobody-objects");
}

#[test]
fn f47_a_removed_member_is_refused_or_rejoins() {
    let list = [voter(2), voter(3)];
    let scene = Scene::group(3).data(log(1, true)).serving(&list, 2..=3);
    scene.refuses(Reason::RemovedMember { member: MemberId(1), cluster: OURS });
    assert_eq!(scene.decide().reason.exit(), Exit::Person);
    let mut scene = scene.policy(|p| p.rejoin = true);
    scene.sets_aside(Reason::RejoinAfterRemoval { member: MemberId(1) });
    scene.step();
    scene.adds(Learning);
}

#[test]
fn f47_a_removed_member_is_known_where_the_quorums_list_is_hidden() {
    let list = [voter(2), voter(3), voter(4)];
    let removed = |nodes| Scene::group(4).data(log(1, true)).hesitant(BlindKind::Denied, &list, nodes);
    removed(2..=3).refuses("removed-member");
    removed(2..=2).starts(Existing, Reason::OwnDataNobodyObjects);
}

#[test]
fn f52_a_member_that_knows_no_leader_removes_nobody() {
    // Up to 3.5 an etcd answers while it reads its log, and lists itself alone for a moment.
    let scene = Scene::group(3).data(log(1, true));
    let scene = scene.member_of(OURS, 2, &[voter(2)], Seen::No(blind(BlindKind::Unreachable)));
    scene.starts(Existing, Reason::OwnDataNobodyObjects);
}

#[test]
fn f47_one_member_with_two_urls_is_one_voice() {
    let two = Member { peer_urls: vec![peer(2), peer(20)], ..voter(2) };
    let list = [two, voter(3)];
    let scene = Scene::group(3).data(log(1, true)).hesitant(BlindKind::Unreachable, &list, [2]);
    let view = scene.view(OURS, &list, Some("3.6.0"));
    scene.probe(peer(20), view, Some(Err(no_answer()))).starts(Existing, Reason::OwnDataNobodyObjects);
}

#[test]
fn b11_f96_data_of_the_tagged_cluster_starts_though_a_stranger_answers() {
    let list = [voter(2)];
    let stranger =
        |had_leader| Scene::group(3).data(log(1, had_leader)).member_of(OTHER, 2, &list, Seen::Yes(list.to_vec()));
    for had_leader in [true, false] {
        let scene = stranger(had_leader).tag(OURS);
        scene.starts(Existing, Reason::OwnDataTagged { mine: OURS, other: OTHER, at: vec![peer(2).to_string()] });
        let advice = scene.decide().reason.advice().expect("somebody must stop the other one");
        assert!(advice.contains(&peer(2).to_string()) && advice.contains("keep the data"), "{advice}");
    }
    for scene in [stranger(true).untagged(), stranger(true).tag(OTHER), stranger(true).cloud_down()] {
        scene.refuses(Reason::OtherClustersData { mine: OURS, formed: OTHER });
        assert!(scene.decide().reason.advice().expect("there is some").contains("keep it"));
    }
}

#[test]
fn f48_data_of_another_cluster_is_refused_and_kept() {
    let scene = Scene::cluster(3).data(OwnData::Log {
        cluster_id: OTHER,
        member_id: MemberId(1),
        had_leader: true,
        founders: Vec::new(),
    });
    scene.refuses(Reason::OtherClustersData { mine: OTHER, formed: OURS });
    scene.policy(|p| p.rejoin = true).refuses("other-clusters-data");
}

#[test]
fn data_that_never_had_a_leader_gives_way_to_a_formed_cluster() {
    let list = [voter(2), voter(3)];
    let formed = |s: Scene| (2..=3).fold(s, |s, n| s.member_of(OTHER, n, &list, Seen::Yes(list.to_vec()))).tag(OTHER);
    let mut scene = formed(Scene::group(3).data(log(1, false)));
    scene.sets_aside(Reason::NeverLedOtherFormed { mine: OURS, formed: OTHER });
    scene.step();
    scene.adds(Learning);
}

#[test]
fn data_that_never_had_a_leader_gives_way_when_most_founders_are_dead() {
    let scene = |state| Scene::group(1).data(log(1, false)).known(2, state).known(3, "terminated");
    let lost = vec![format!("{} (shutting-down)", id(2)), format!("{} (terminated)", id(3))];
    scene("shutting-down").sets_aside(Reason::NeverLedFoundersLost { mine: OURS, lost });
    for state in ["pending", "running", "stopping", "stopped"] {
        scene(state).starts(Existing, Reason::OwnDataNobodyObjects);
    }
    scene("terminated").data(log(1, true)).starts(Existing, Reason::OwnDataNobodyObjects);
    // Not on a partial reply, or a blind moment.
    scene("terminated").ec2(|ec2| drop(ec2.found.remove(&id(1)))).starts(Existing, "own-data-nobody-objects");
    scene("terminated").cloud_down().starts(Existing, "own-data-nobody-objects");
}

#[test]
fn a_pair_of_founders_that_lost_one_before_its_first_leader_can_never_form() {
    let founders =
        (1..=2).map(|n| FounderEntry { name: id(n).to_string(), peer_urls: vec![peer(n).to_string()] }).collect();
    let data = OwnData::Log { cluster_id: OURS, member_id: MemberId(1), had_leader: false, founders };
    let scene = |state| Scene::group(1).data(data.clone()).known(2, state);
    let lost = vec![format!("{} (terminated)", id(2))];
    scene("terminated").sets_aside(Reason::NeverLedFoundersLost { mine: OURS, lost });
    scene("running").starts(Existing, Reason::OwnDataNobodyObjects);
}

/// EC2 forgets an instance about an hour after its end.
#[test]
fn f112_a_forgotten_founder_is_lost_after_a_second_read_and_the_grace() {
    let forgotten = Scene::group(1).data(log(1, false)).known(2, "terminated").asked(3);
    forgotten.waits("second-read");
    forgotten.clone().later(10).waits("second-read");
    forgotten.clone().again(9).waits("second-read");
    let mut scene = forgotten.again(10);
    let lost = vec![format!("{} (terminated)", id(2)), format!("{} (unknown to EC2)", id(3))];
    scene.sets_aside(Reason::NeverLedFoundersLost { mine: OURS, lost });
    scene.step();
    assert_eq!(scene.o.record.ok().expect("it was begun").given_up, [OURS]);
    // Who had a leader keeps its data.
    scene.data(log(1, true)).starts(Existing, "own-data-nobody-objects");
}

#[test]
fn f49_unreadable_data_is_not_no_data() {
    for scene in [Scene::founders(3), Scene::cluster(3)] {
        let why = "permission denied".to_owned();
        let scene = scene.data(OwnData::Unreadable { why: why.clone() });
        scene.refuses(Reason::DataUnreadable { why });
    }
}

#[test]
fn f46_a_database_without_its_log_is_set_aside_before_anything_starts() {
    let scenes =
        [Scene::founders(3), Scene::cluster(3), Scene::group(3).serving(&[added(1), voter(2), voter(3)], 2..=3)];
    for scene in scenes {
        let mut scene = scene.data(OwnData::NoLog);
        scene.sets_aside(Reason::BackendWithoutLog);
        scene.step();
        assert!(matches!(scene.decide().action, Action::Agree(_) | Action::Start(_) | Action::Add { .. }));
    }
    forming_as_agreed().data(OwnData::NoLog).sets_aside(Reason::BackendWithoutLog);
    let tagged = Scene::group(3).tagged(&founding_of(1..=3)).data(OwnData::NoLog);
    tagged.sets_aside(Reason::BackendWithoutLog);
    // It is not set aside for nothing.
    Scene::founders(3).silent(3).data(OwnData::NoLog).waits("founders-silent");
}

// ---------------------------------------------------------------- consumers

/// A consumer asks the client ports only.
fn consumer(scene: Scene) -> Scene {
    let mut scene = scene.policy(|p| p.role = Role::Consumer);
    for probe in &mut scene.o.probes {
        probe.url = MemberUrl::new(Scheme::Http, probe.url.host(), 2379);
        probe.peer = PeerAnswer::Absent(Absence::NotAsked);
    }
    scene
}

#[test]
fn f82_endpoints_are_the_published_voters_that_live() {
    consumer(Scene::cluster(3)).follows(2..=4);
    let list = [voter(2), voter(3), voter(4), learner(5), unstarted(6), founder(7)];
    consumer(Scene::group(5).serving(&list, 2..=4)).follows(2..=4);
    for state in ["shutting-down", "terminated"] {
        consumer(Scene::group(5).serving(&list, 2..=4).known(4, state)).follows(2..=3);
    }
    consumer(Scene::group(5).serving(&list, 2..=3).known(4, "stopped")).follows(2..=4);
}

#[test]
fn f81_a_consumer_waits_where_nobody_serves() {
    consumer(Scene::group(3).silent(2).silent(3)).waits(Reason::NoMemberAnswers { asked: 2 });
    let list = [voter(2), voter(3)];
    consumer(Scene::group(3).hesitant(BlindKind::Unreachable, &list, 2..=3)).waits("no-member-answers");
    consumer(Scene::group(3).hesitant(BlindKind::Denied, &list, 2..=3)).waits("denied");
    consumer(Scene::cluster(3)).cloud_down().waits("group-blind");
    let mut scene = consumer(Scene::cluster(3));
    scene.o.ec2 = Seen::No(blind(BlindKind::Throttled));
    scene.waits("ec2-blind");
}

#[test]
fn f82_a_consumer_is_never_given_an_empty_list() {
    let scene = consumer(Scene::group(2).serving(&[voter(2)], [2]).known(2, "shutting-down"));
    assert_eq!(scene.decide().action, Action::Wait, "{:?}", scene.decide());
}

#[test]
fn b26_f107_a_consumer_drops_only_whom_ec2_calls_gone() {
    // In no list of the named group: EC2 is asked before anything is said of them.
    let list = [voter(2), voter(3), voter(4)];
    let outside = consumer(Scene::group(2).serving(&list, [2]));
    outside.waits("second-read");
    let before = remember(&outside.o, &outside.p);
    assert!([2, 3, 4].iter().all(|n| before.member_instances.contains(&id(*n))), "{before:?}");
    for state in ["pending", "running", "stopping", "stopped"] {
        outside.clone().known(3, state).known(4, state).follows(2..=4);
    }
    // A reply that lacks them is no word on them.
    outside.clone().asked(3).asked(4).follows(2..=4);
    outside.clone().asked(3).known(4, "terminated").follows(2..=3);
}

#[test]
fn b26_f107_a_consumer_never_writes_less_than_a_quorum_of_endpoints() {
    let list = [voter(2), voter(3), voter(4)];
    let scene = consumer(Scene::group(4).serving(&list, 2..=4).known(3, "shutting-down").known(4, "shutting-down"));
    scene.waits(Reason::TooFewEndpoints { living: 1, voters: 3 });
}

#[test]
fn f10_a_consumer_refuses_two_clusters() {
    let scene = Scene::cluster(2).member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    consumer(scene).refuses(Reason::TwoClusters { one: OURS, other: OTHER });
}

#[test]
fn f39_a_consumer_changes_nothing() {
    let list = [voter(1), voter(2), voter(3), voter(4)];
    let scenes = [
        Scene::founders(3),
        Scene::replacing(voter(4)).known(4, "terminated"),
        Scene::group(4).serving(&list, 2..=3).known(4, "terminated"),
        Scene::cluster(3).data(OwnData::NoLog),
        Scene::cluster(3).data(log(1, false)),
    ];
    for scene in scenes {
        let action = consumer(scene).decide().action;
        assert!(matches!(action, Action::Wait | Action::Follow { .. }), "{action:?}");
    }
}

// ---------------------------------------------------------------- the version of the etcd that would start

#[test]
fn f89_an_etcd_joins_at_most_one_minor_above_the_lowest_member() {
    let table = [
        ("3.5.35", "3.4.23", "3.4.0", "joining"),
        ("3.6.16", "3.4.23", "3.4.0", "version-skips-a-minor"),
        ("3.7.3", "3.4.23", "3.4.0", "version-skips-a-minor"),
        ("3.6.16", "3.5.35", "3.5.0", "joining"),
        ("3.7.3", "3.5.35", "3.5.0", "version-skips-a-minor"),
        ("3.7.0-rc.1", "3.6.16", "3.6.0", "joining"),
        ("4.0.0", "3.7.3", "3.7.0", "version-skips-a-minor"),
    ];
    for (mine, theirs, cluster, code) in table {
        let scene = Scene::cluster(3).version(theirs).cluster_version(cluster).etcd(mine);
        scene.because(code);
        // What is dead may be what keeps the cluster's version back.
        let dead = Scene::replacing(voter(4)).known(4, "terminated").version(theirs).cluster_version(cluster);
        dead.etcd(mine).because("proven-dead");
    }
    // One member that is left behind is enough.
    let list: Vec<Member> = (2..=4).map(voter).collect();
    let mut scene = Scene::cluster(3).version("3.5.35").etcd("3.6.16");
    scene.version = "3.4.23".into();
    scene.member_of(OURS, 3, &list, Seen::Yes(list.clone())).cluster_version("3.4.0").refuses("version-skips-a-minor");
}

#[test]
fn f89_a_member_that_is_silent_counts_by_the_version_that_the_cluster_keeps_for_it() {
    let scene = Scene::replacing(voter(4)).known(4, "running").version("3.5.35").etcd("3.6.16");
    let resuming = Scene::group(3).serving(&[voter(2), voter(3), added(1)], 2..=3).version("3.5.35").etcd("3.6.16");
    for scene in [scene, resuming] {
        scene.clone().cluster_version("3.4.0").waits("version-skips-a-minor");
        // A cluster begins with 3.0 where not all founders answer.
        for version in ["3.5.0", "3.0.0"] {
            assert_ne!(scene.clone().cluster_version(version).decide().action, Action::Wait, "{version}");
        }
    }
}

#[test]
fn f89_a_listed_node_does_not_start_an_etcd_that_its_cluster_does_not_stand() {
    for row in [added(1), founder(1)] {
        let list = [voter(2), voter(3), row];
        let scene = Scene::group(3).agreed(OURS).serving(&list, 2..=3).version("3.4.23").cluster_version("3.4.0");
        scene.clone().etcd("3.6.16").refuses("version-skips-a-minor");
        scene.clone().policy(|p| p.join_as = JoinAs::Learner).etcd("3.5.35").starts(Existing, "resume");
    }
    for (mine, theirs) in [("3.6.16", "3.4.23"), ("3.4.23", "3.6.16")] {
        let forming = forming_as_agreed().version(theirs);
        forming.clone().etcd(mine).refuses("version-skips-a-minor");
        forming.etcd(theirs).starts(New, "agreed-founding");
    }
}

#[test]
fn f89_founders_with_etcds_that_clash_create_no_cluster() {
    for (mine, theirs) in [("3.6.16", "3.4.23"), ("3.4.23", "3.6.16")] {
        let founders = Some(founders_text(1..=3));
        let second = Statement { etcd: Some(etcd(theirs)), ..said_by(2, founders) };
        let scene = Scene::founders(3).etcd(mine).says(2, second.clone());
        scene.waits("version-skips-a-minor");
        // One minor apart, or not known, is no reason.
        scene.says(2, Statement { etcd: Some(etcd(mine)), ..second.clone() }).creates("founders-agree");
        Scene::founders(3).says(2, second).creates("founders-agree");
    }
}

#[test]
fn f90_an_etcd_older_than_the_cluster_is_told_before_it_is_added() {
    let table = [
        ("3.5.35", "3.6.16", "3.6.0", "version-too-old"),
        ("3.4.23", "3.7.3", "3.7.0", "version-too-old"),
        // A cluster's first seconds.
        ("3.5.35", "3.6.16", "3.0.0", "version-too-old"),
        ("3.6.6", "3.6.16", "3.6.0", "joining"),
    ];
    for (mine, theirs, cluster, code) in table {
        let scene = Scene::cluster(3).version(theirs).cluster_version(cluster);
        scene.clone().etcd(mine).because(code);
        let mut unknown = scene;
        unknown.o.etcd = Some(Seen::No(blind(BlindKind::Absent)));
        unknown.because("joining");
    }
}

#[test]
fn f90_half_way_up_old_and_new_join_and_in_a_downgrade_nobody_does() {
    let list: Vec<Member> = (2..=4).map(voter).collect();
    for mine in ["3.5.35", "3.6.16"] {
        let up = Scene::cluster(3).version("3.6.16").cluster_version("3.5.0").etcd(mine);
        up.waits("version-unsettled");
        // The old one answers, or may be the one that is silent.
        let mut half = up.clone();
        half.version = "3.5.35".into();
        half.member_of(OURS, 3, &list, Seen::Yes(list.clone())).cluster_version("3.5.0").adds(Learning);
        up.silent(3).adds(Learning);
    }
    // What is listed is what keeps the version from rising.
    let resuming = Scene::group(3).serving(&[voter(2), voter(3), added(1)], 2..=3).version("3.6.16");
    resuming.cluster_version("3.5.0").etcd("3.6.16").starts(Existing, "resume");
}

#[test]
fn f89_the_patches_that_an_upgrade_needs_are_told() {
    let table = [
        ("3.6.16", "3.5.25", Some("3.5.26")),
        ("3.6.16", "3.5.26", None),
        ("3.7.3", "3.6.10", Some("3.6.11")),
        ("3.7.3", "3.6.11", None),
        ("3.5.35", "3.4.23", None),
        ("3.5.35", "3.5.1", None),
    ];
    for (mine, theirs, needed) in table {
        let cluster = format!("{}.0", &theirs[..3]);
        let decision = Scene::cluster(3).version(theirs).cluster_version(&cluster).etcd(mine).decide();
        let Reason::Joining { caution, .. } = decision.reason else { panic!("{mine} in {theirs}: {decision:?}") };
        assert_eq!(caution.is_some(), needed.is_some(), "{mine} in {theirs}: {caution:?}");
        assert!(needed.is_none_or(|needed| caution.expect("as above").contains(needed)));
    }
}

// ---------------------------------------------------------------- decisions as such

/// One of each kind of situation, for what holds in all of them.
fn assorted() -> Vec<Scene> {
    let list = [voter(1), voter(2), voter(3)];
    let forming: Vec<Member> = (1..=3).map(founder).collect();
    vec![
        Scene::founders(3),
        Scene::one_silent(5),
        Scene::founders(3).founding(2, 1..=2).founding(3, 1..=2),
        Scene::group(3).forming(OURS, &forming, 2..=3),
        Scene::cluster(3),
        Scene::cluster(2).member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)])),
        Scene::replacing(voter(4)).known(4, "terminated"),
        Scene::replacing(voter(4)).asked(4).again(10),
        Scene::replacing(unstarted(4)).again(60),
        Scene::group(3).serving(&list, 2..=3),
        Scene::group(3).hesitant(BlindKind::Unreachable, &list, 2..=3),
        Scene::group(3).hesitant(BlindKind::Denied, &list, 2..=3),
        Scene::group(3).data(log(1, true)).serving(&list, 2..=3),
        Scene::group(3).data(log(1, false)).cloud_down(),
        Scene::group(3).data(log(1, true)).serving(&list[1..], 2..=3),
        consumer(Scene::cluster(3)),
        consumer(Scene::group(3).hesitant(BlindKind::Denied, &list, 2..=3)),
    ]
}

#[test]
fn the_order_of_probes_does_not_matter() {
    for mut scene in assorted() {
        let sorted = scene.decide();
        scene.o.probes.reverse();
        assert_eq!(scene.decide(), sorted);
    }
}

#[test]
fn a_saved_observation_is_decided_alike() {
    for scene in assorted() {
        let (o, p) = saved(&scene.o, &scene.p);
        assert_eq!((&o, &p), (&scene.o, &scene.p));
        let reread: Decision = through_json(&decide(&o, &p));
        assert_eq!(reread, scene.decide());
    }
}

fn saved(o: &Observation, p: &Policy) -> (Observation, Policy) {
    (through_json(o), through_json(p))
}

fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("it is plain data");
    serde_json::from_str(&text).expect("it was written by the same model")
}

#[test]
fn f02_what_is_said_to_the_others_is_what_is_decided_on() {
    let said = statement(&Scene::founders(3).o, &Scene::founders(3).p);
    let expected = said_by(1, Some(founders_text(1..=3)));
    assert_eq!(said, Some(expected.clone()));
    let unsettled = Scene::founders(3).asg(|g| g.desired = 4);
    assert_eq!(statement(&unsettled.o, &unsettled.p), Some(Statement { founders: None, ..expected }));
    assert_eq!(statement(&Scene::founders(3).cloud_down().o, &unsettled.p), None);
}

#[test]
fn the_next_pass_asks_ec2_about_every_member_and_founder() {
    let scene = Scene::replacing(voter(4)).data(log(1, false));
    let asked = remember(&scene.o, &scene.p).member_instances;
    assert_eq!(asked, (1..=4).map(id).collect());
}

// ---------------------------------------------------------------- a founding is one of its own

#[test]
fn b02_f84_a_founding_by_other_disks_has_another_token() {
    let token = |scene: Scene| scene.creates("founders-agree").token;
    let again =
        Scene::founders(3).says(3, Statement { nonce: "beef".into(), ..said_by(3, Some(founders_text(1..=3))) });
    assert_ne!(token(Scene::founders(3)), token(again));
    assert_ne!(token(Scene::founders(3)), token(Scene::founders(3).record(|record| record.nonce = "beef".into())));
}

#[test]
fn f84_a_disk_without_a_record_gets_one_before_it_says_anything() {
    let mut scene = Scene::founders(3);
    scene.o.record = Seen::No(blind(BlindKind::Absent));
    assert_eq!(statement(&scene.o, &scene.p), None);
    assert_eq!(scene.because(Reason::NothingOnRecord), Action::BeginRecord);
    scene.step();
    scene.creates("founders-agree");
    scene.o.record = Seen::No(blind(BlindKind::Malformed));
    scene.refuses("record-unusable");
    assert_eq!(scene.decide().reason.exit(), Exit::Person);
}

/// Scenario A of the disk that comes back: its cluster was given up and founded again meanwhile.
#[test]
fn b02_f84_the_disk_of_a_lost_cluster_is_no_member_of_the_one_founded_after_it() {
    let scene = Scene::group(3).data(log(1, true));
    let list: Vec<Member> = (1..=3).map(voter).collect();
    let formed = |s: Scene| (2..=3).fold(s, |s, n| s.member_of(OTHER, n, &list, Seen::Yes(list.clone())));
    formed(scene).refuses(Reason::OtherClustersData { mine: OURS, formed: OTHER });
}

#[test]
fn b03_f85_founders_of_a_year_ago_do_not_found_by_majority() {
    let founders = |age: u64, date: Option<u64>| {
        let scene = Scene::one_silent(3);
        let now = scene.o.at;
        let launched = now - Duration::from_secs(age);
        let scene = scene.ec2(|ec2| ec2.found.values_mut().for_each(|i| i.launched = Some(launched)));
        scene.asg(|g| g.date = date.map(|after| launched + Duration::from_secs(after)))
    };
    const YEAR: u64 = 365 * 24 * 3600;
    founders(YEAR, Some(YEAR)).waits("founders-silent");
    founders(901, Some(901)).waits("founders-silent");
    founders(900, Some(900)).creates("founders-majority");
    // This node's own clock does not matter, and without AWS's there is none.
    founders(YEAR, Some(100)).creates("founders-majority");
    founders(100, Some(YEAR)).waits("founders-silent");
    founders(100, None).waits("founders-silent");
    // When all speak, the age does not matter.
    let all = Scene::founders(3).ec2(|ec2| {
        ec2.found.values_mut().for_each(|i| i.launched = i.launched.map(|at| at - Duration::from_secs(900_000)));
    });
    all.creates("founders-agree");
}

/// The tag is the word of all: whoever's disk it names needs nobody's answer.
#[test]
fn f87_a_founding_that_was_tagged_is_completed_by_each_of_its_founders() {
    let founding = founding_of(1..=3);
    let others_gone = (2..=3).fold(Scene::group(3).tagged(&founding), Scene::silent);
    let mut completing = others_gone.clone();
    let reason = Reason::AgreedFounding { cluster: founding.cluster };
    assert_eq!(completing.because(reason.clone()), Action::Agree(founding.clone()), "for when it has data");
    completing.step();
    let start = completing.starts(New, reason);
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    // Where EC2 has given an address to another instance since, the own record still has the list.
    let moved = others_gone.ec2(|ec2| ec2.found.get_mut(&id(2)).expect("it is there").addresses = at(9));
    moved.waits("others-founding");
    moved.record(|record| record.agreed = Some(founding)).starts(New, "agreed-founding");
}

/// Two agreements with the same disks, in a smaller and a larger company; the tag has the last word.
#[test]
fn f87_never_led_data_of_another_founding_than_the_tags_is_given_up() {
    let scene = Scene::group(3).agreed(OURS).data(log(1, false)).tagged(&founding_of(1..=3));
    let tagged = founding_of(1..=3).cluster.to_string();
    let mut scene = scene.silent(2).silent(3);
    scene.sets_aside(Reason::NeverLedOtherFounding { mine: OURS, tagged });
    scene.step();
    assert_eq!(scene.o.record.ok().expect("it was begun").given_up, [OURS]);
    // The same where the group has a cluster already; who had a leader keeps its data.
    let of_another = |led| Scene::group(3).agreed(OURS).data(log(1, led)).tag(OTHER).silent(2).silent(3);
    of_another(false).sets_aside("never-led-other-founding");
    of_another(true).starts(Existing, "own-data-nobody-objects");
}

#[test]
fn f87_who_was_wiped_after_the_tag_founds_nothing() {
    let scene = Scene::founders(3).tagged(&founding_of(1..=3)).record(|record| record.nonce = "beef".into());
    scene.waits("others-founding");
}

/// B24: two founders whose etcds take long, and three instances that came meanwhile.
#[test]
fn b24_f109_founders_that_left_to_start_are_not_outvoted_by_a_larger_group() {
    let scene = (1..=5).fold(Scene::group(5).me(4), Scene::silent).founding(3, 1..=5).founding(5, 1..=5).me(4);
    let scene = scene.tagged(&founding_of(1..=3)).again(60);
    scene.waits(Reason::OthersFounding {
        cluster: founding_of(1..=3).cluster,
        why: format!("{}, {}, {} may hold it", id(1), id(2), id(3)),
    });
    // Without the tag it takes the word of all.
    let mut untagged = scene.asg(|g| g.founding_tag = None).again(60);
    untagged.creates("founders-majority");
    untagged.o.before.as_mut().expect("it is a later pass").untaggable = true;
    untagged.waits("founders-silent");
}

#[test]
fn f87_a_founding_that_lost_its_quorum_is_given_up_and_replaced() {
    let founding = founding_of(1..=3);
    let mut scene = Scene::group(3).tagged(&founding).known(2, "terminated").known(3, "terminated");
    let lost = vec![format!("{} (terminated)", id(2)), format!("{} (terminated)", id(3))];
    let action = scene.because(Reason::FoundingLost { cluster: founding.cluster, lost });
    assert_eq!(action, Action::GiveUp { cluster: founding.cluster });
    scene.step();
    let scene = scene.asg(|g| g.instances.retain(|instance, _| *instance == id(1))).asg(|g| g.desired = 1).again(1);
    let start = scene.creates("founders-agree");
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=1));
}

/// An etcd in the place of its agent would not hear that the others have lost their disks.
#[test]
fn f87_data_that_never_had_a_leader_waits_for_a_quorum_of_its_founders() {
    let founding = founding_of(1..=3);
    let OwnData::Log { member_id, founders, .. } = log(1, false) else { unreachable!("it is a log") };
    let data = OwnData::Log { cluster_id: founding.cluster, member_id, had_leader: false, founders };
    let scene = Scene::group(3).tagged(&founding).record(|r| r.agreed = Some(founding.clone())).data(data.clone());
    let alone = scene.clone().silent(2).silent(3);
    alone.waits(Reason::FoundersNotBack { mine: founding.cluster, waiting_for: vec![id(2), id(3)] });
    assert_eq!(statement(&alone.o, &alone.p).expect("it speaks").founders, None, "it agrees to nothing else");
    // The disk of a founder that has not started yet, or its etcd.
    alone.clone().says(2, said_by(2, None)).starts(Existing, "own-data-nobody-objects");
    let list: Vec<Member> = (1..=3).map(founder).collect();
    alone.clone().forming(founding.cluster, &list, [2]).starts(Existing, "own-data-nobody-objects");
    alone.clone().forming(OTHER, &list, [2]).waits("founders-not-back");
    let wiped = |n| Statement { nonce: "beef".into(), ..said_by(n, None) };
    // In a group that is not tagged, who has agreed again since will not start this one.
    let again = |n| Statement { agreed: Some(OTHER), ..said_by(n, None) };
    alone.clone().says(2, again(2)).starts(Existing, "own-data-nobody-objects");
    let untagged = alone.clone().asg(|g| g.founding_tag = None);
    untagged.clone().says(2, again(2)).waits("founders-not-back");
    untagged.says(2, again(2)).says(3, wiped(3)).sets_aside("never-led-founders-lost");
    let mut hopeless = alone.clone().says(2, wiped(2)).says(3, wiped(3));
    let lost = (2..=3).map(|n| format!("{} (has another disk)", id(n))).collect();
    hopeless.sets_aside(Reason::NeverLedFoundersLost { mine: founding.cluster, lost });
    hopeless.step();
    hopeless.waits("second-read");
    // F51: blind, or with a leader behind it, it starts.
    alone.clone().cloud_down().starts(Existing, "own-data-nobody-objects");
    alone.data(log(1, true)).starts(Existing, "own-data-nobody-objects");
}

#[test]
fn f87_a_tag_is_void_only_when_nobody_can_hold_what_it_names() {
    let founding = founding_of(1..=3);
    let gave_up = |n| Statement { given_up: vec![founding.cluster], ..said_by(n, Some(founders_text(1..=3))) };
    let scene = Scene::founders(3).tagged(&founding).record(|record| record.nonce = "beef".into());
    scene.clone().silent(2).silent(3).waits("others-founding");
    // One founder less than a quorum cannot tell whether the others had a leader.
    scene.clone().says(2, gave_up(2)).waits("others-founding");
    scene.clone().says(2, gave_up(2)).says(3, gave_up(3)).again(1).creates("founders-agree");
    let mine = scene.clone().record(|record| record.given_up = vec![founding.cluster]);
    mine.says(2, gave_up(2)).creates("founders-agree");
    // Nobody has the disk any more that it had then.
    let wiped = |n| Statement { nonce: "beef".into(), ..said_by(n, Some(founders_text(1..=3))) };
    scene.clone().says(2, wiped(2)).waits("others-founding");
    scene.clone().says(2, wiped(2)).says(3, wiped(3)).creates("founders-agree");
    // All are gone, and no joiner has left the cluster's tag. An instance that shuts down may still serve.
    let gone = |state| {
        let scene = Scene::group(3).me(4).instance(4, "InService", "running").asg(|g| g.desired = 1);
        let scene = (1..=3).fold(scene, |s, n| s.known(n, state).asg(|g| drop(g.instances.remove(&id(n)))));
        Scene { o: Observation { probes: Vec::new(), ..scene.o }, ..scene }.tagged(&founding).again(1)
    };
    gone("terminated").creates("founders-agree");
    gone("shutting-down").waits("others-founding");
}

#[test]
fn f87_a_tag_that_nobody_can_read_is_never_void() {
    let scene = Scene::founders(3).asg(|g| g.founding_tag = Some("by hand".into()));
    scene.waits(Reason::FoundingTagUnreadable { tag: "by hand".into() });
    scene.policy(|p| p.initial_cluster = InitialCluster::Force).creates("founders-agree");
}

#[test]
fn f87_where_the_group_cannot_be_tagged_every_founder_must_have_agreed() {
    let untaggable = |scene: Scene| {
        let mut scene = scene.record(|record| record.agreed = Some(founding_of(1..=3)));
        scene.o.before.as_mut().expect("it is a later pass").untaggable = true;
        scene
    };
    let agreed = |n| {
        let agreed = Some(founding_of(1..=3).cluster);
        Statement { agreed, ..said_by(n, Some(founders_text(1..=3))) }
    };
    let scene = untaggable(Scene::founders(3)).says(2, agreed(2));
    scene.waits(Reason::FoundersAgreeing { cluster: founding_of(1..=3).cluster, waiting_for: vec![id(3)] });
    scene.says(3, agreed(3)).starts(New, "agreed-founding");
    untaggable(Scene::one_silent(3)).says(2, agreed(2)).waits("founders-silent");
}

#[test]
fn f87_what_was_tagged_is_waited_for_until_aws_shows_it() {
    let mut scene = Scene::founders(3);
    scene.step();
    let Action::TagGroup { group, tags } = scene.because("founders-agree") else { panic!("{:?}", scene.decide()) };
    assert_eq!((group.as_str(), tags.keys().collect::<Vec<_>>()), ("etcd", vec![&FOUNDING_TAG.to_owned()]));
    scene.o.before.as_mut().expect("it is a later pass").tagged = tags;
    scene.waits("second-read");
    // By force the new cluster's id takes the place of the old one's, so that all can join it.
    let forced = Scene::founders(3).asg(|g| g.cluster_tag = Some("c1".into()));
    let mut forced = forced.policy(|p| p.initial_cluster = InitialCluster::Force);
    forced.step();
    let Action::TagGroup { tags, .. } = forced.because("founders-agree") else { panic!("{:?}", forced.decide()) };
    assert_eq!(tags.get(CLUSTER_TAG), Some(&founding_of(1..=3).cluster.to_string()));
}

/// A founder that was wiped before the first leader may have voted: it is replaced, and not resumed.
#[test]
fn f84_a_founder_with_another_disk_is_not_resumed() {
    let list = [founder(1), voter(2), voter(3)];
    let scene = || Scene::group(3).serving(&list, 2..=3);
    scene().agreed(OURS).starts(Existing, "resume");
    scene().removes(1, "replaces-own-lost-disk");
    scene().agreed(OTHER).removes(1, "replaces-own-lost-disk");
    // One that was silent has not run before there was a leader.
    let mut silent = Agreement { cluster: OURS, ..founding_of(1..=3) };
    scene().tagged(&silent).removes(1, "replaces-own-lost-disk");
    silent.founders[0].nonce = None;
    scene().tagged(&silent).starts(Existing, "resume");
}

// ---------------------------------------------------------------- what never happens, and what sometimes does

/// The id that etcd gives to this node when it is added.
const ADDED: MemberId = MemberId(0xadd);

/// Does to the world what a decision asks for.
fn carry_out(o: &mut Observation, action: &Action) {
    match action {
        Action::Remove { member, .. } => each_list(o, |list| list.retain(|m| m.id != *member)),
        Action::Add { peer_url, as_learner, .. } => each_list(o, |list| {
            let peer_urls = vec![peer_url.clone()];
            let (name, client_urls) = (String::new(), Vec::new());
            list.push(Member { id: ADDED, name, peer_urls, client_urls, learner: *as_learner });
        }),
        Action::SetDataAside { gives_up } => {
            o.own_data = OwnData::Empty;
            new_disk(o, *gives_up);
        }
        Action::GiveUp { cluster } => new_disk(o, Some(*cluster)),
        Action::BeginRecord => new_disk(o, None),
        Action::Agree(agreement) => {
            if let Seen::Yes(record) = &mut o.record {
                record.agreed = Some(agreement.clone());
            }
        }
        Action::TagGroup { tags, .. } => {
            if let Seen::Yes(group) = &mut o.group {
                group.founding_tag = tags.get(FOUNDING_TAG).cloned().or(group.founding_tag.take());
                group.cluster_tag = tags.get(CLUSTER_TAG).cloned().or(group.cluster_tag.take());
            }
        }
        Action::Wait | Action::Refuse | Action::Start(_) | Action::Follow { .. } => {}
    }
}

/// A record with another nonce, and all that was given up so far.
fn new_disk(o: &mut Observation, gives_up: Option<ClusterId>) {
    let mut given_up = o.record.ok().map(|record| record.given_up.clone()).unwrap_or_default();
    given_up.extend(gives_up);
    o.record = Seen::Yes(Record { nonce: "d15c".into(), given_up, agreed: None });
}

fn each_list(o: &mut Observation, change: impl Fn(&mut Vec<Member>)) {
    for probe in &mut o.probes {
        if let PeerAnswer::Member(view) = &mut probe.peer {
            change(&mut view.members);
        }
        if let Some(Ok(ClientView { quorum_list: Seen::Yes(list), .. })) = &mut probe.client {
            change(list);
        }
    }
}

/// A random world: sane but for some noise, small enough that everything happens in it.
struct Chance {
    rng: fastrand::Rng,
    noise: f64,
}

impl Chance {
    fn odd(&mut self) -> bool {
        self.rng.f64() < self.noise
    }

    /// The usual, or with some noise anything.
    fn mostly<T: Clone>(&mut self, usual: T, others: &[T]) -> T {
        if self.odd() { self.any(others) } else { usual }
    }

    fn any<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(..of.len())].clone()
    }

    fn world(&mut self) -> Scene {
        let size = self.rng.u64(1..=5);
        let mut scene = Scene::group(size).version(self.any(&[SAFE, UNSAFE]));
        let mine = self.any(&[None, Some(SAFE)]);
        let mine = self.mostly(mine, &["3.4.23", UNSAFE, "3.7.3"].map(Some));
        scene.o.etcd = mine.map(|mine| Seen::Yes(etcd(mine)));
        scene.p = self.options(scene.p);
        for n in 1..=6 {
            scene = self.instance(scene, n, n <= size);
        }
        scene = match self.rng.u8(..4) {
            0 => (2..=size).fold(scene, |s, n| s.founding(n, 1..=size)),
            1 => self.etcds(scene, size, None),
            _ => {
                let version = self.mostly("3.6.0", &["3.0.0", "3.4.0", "3.5.0"]);
                self.etcds(scene, size, Some("3.6.0")).cluster_version(version)
            }
        };
        for n in 2..=6 {
            if self.odd() {
                scene = self.strange_answer(scene, n, size);
            }
        }
        scene.o.own_data = self.own_data();
        scene.o.own_commit = self.any(&[None, Some(7), Some(8)]);
        for probe in &mut scene.o.probes {
            if let Some(Ok(view)) = &mut probe.client {
                view.commit = self.any(&[None, Some(7), Some(8)]);
            }
        }
        scene = self.founding(scene, size);
        scene = self.identity_and_cloud(scene);
        let passes = self.rng.u8(..4);
        for _ in 0..passes {
            let (seconds, read) = (self.rng.u64(1..70), self.odd());
            scene = if read || scene.o.group.ok().is_none() { scene.later(seconds) } else { scene.again(seconds) };
        }
        if let Some(before) = &mut scene.o.before {
            before.untaggable = self.odd();
        }
        if self.rng.u8(..8) == 0 { consumer(scene) } else { scene }
    }

    fn options(&mut self, p: Policy) -> Policy {
        Policy {
            founding: self.any(&[Founding::Majority, Founding::Unanimous]),
            initial_cluster: self.mostly(InitialCluster::Auto, &[InitialCluster::Never, InitialCluster::Force]),
            join_as: self.mostly(JoinAs::Auto, &[JoinAs::Learner, JoinAs::Voter]),
            rejoin: self.rng.bool(),
            prune_foreign: self.odd(),
            ..p
        }
    }

    fn instance(&mut self, scene: Scene, n: u64, inside: bool) -> Scene {
        let states = ["pending", "running", "stopping", "stopped", "shutting-down", "terminated"];
        let state = if inside { self.mostly("running", &states) } else { self.any(&states) };
        let lifecycle = self.mostly("InService", &["Pending", "Terminating:Wait", "Standby", "Warmed:Stopped", "New"]);
        match (inside, self.rng.u8(..3)) {
            (true, _) => scene.instance(n, lifecycle, state),
            (false, 0) => scene.known(n, state),
            (false, 1) => scene.asked(n),
            (false, _) => scene,
        }
    }

    /// A cluster of some nodes, in the group or not, of which most answer.
    fn etcds(&mut self, scene: Scene, size: u64, decided: Option<&str>) -> Scene {
        let last = if self.rng.bool() { size } else { 6 };
        let first = if self.rng.bool() { 1 } else { 2 };
        let usual = if decided.is_some() { voter } else { founder };
        let mut list: Vec<Member> = Vec::new();
        for n in first..=last {
            let others: &[fn(u64) -> Member] = if decided.is_some() {
                &[
                    unstarted,
                    learner,
                    founder,
                    |n| named("etcd", voter(n)),
                    |n| Member { name: id(9).to_string(), ..voter(n) },
                ]
            } else {
                &[founder]
            };
            list.push(self.mostly(usual, others)(n));
        }
        if first == 1 && self.odd() {
            match self.rng.bool() {
                true => list[0].peer_urls = vec![peer(9)],
                false => list[0].name = id(self.rng.u64(2..=6)).to_string(),
            }
        }
        let answering: Vec<u64> = (2..=last).filter(|n| *n <= size && !self.odd()).collect();
        let cluster = self.mostly(OURS, &[OTHER]);
        let scene = scene.others_silent(&list);
        let scene =
            if decided.is_some() && !self.odd() { scene.tag(self.mostly(cluster, &[OURS, OTHER])) } else { scene };
        answering.into_iter().fold(scene, |s, n| match decided {
            None => s.forming(cluster, &list, [n]),
            Some(_) => {
                let blinds = [BlindKind::Unreachable, BlindKind::Denied].map(|kind| Seen::No(blind(kind)));
                let quorum = self.mostly(Seen::Yes(list.clone()), &blinds);
                s.member_of(cluster, n, &list, quorum)
            }
        })
    }

    fn strange_answer(&mut self, scene: Scene, n: u64, size: u64) -> Scene {
        let absences =
            [Absence::Refused, no_answer(), Absence::Tls("expired".into()), Absence::NotEtcd("nginx".into())];
        let absence = self.any(&absences);
        let list: Vec<Member> = (1..=size).map(founder).collect();
        match self.rng.u8(..8) {
            0 => scene.founding(n, 1..=size),
            1 => scene.founding(n, 2..=size),
            2 => {
                let view = scene.view(OTHER, &list, None);
                scene.probe(peer(n), view, None)
            }
            3 => scene.member_of(OTHER, n, &[voter(n)], Seen::Yes(vec![voter(n)])),
            _ => scene.absent(n, absence),
        }
    }

    fn own_data(&mut self) -> OwnData {
        let other = OwnData::Log { cluster_id: OTHER, member_id: MemberId(1), had_leader: true, founders: Vec::new() };
        let unreadable = OwnData::Unreadable { why: "a test says so".into() };
        self.mostly(
            OwnData::Empty,
            &[OwnData::NoLog, log(1, true), log(1, false), log(1, false), log(8, true), other, unreadable],
        )
    }

    /// What is on record here, and in the group's tag.
    fn founding(&mut self, scene: Scene, size: u64) -> Scene {
        let mut all = founding_of(1..=size);
        let others = Agreement { founders: founding_of(2..=size + 1).founders, cluster: OURS };
        let usual = scene.o.record.clone();
        let Seen::Yes(record) = usual.clone() else { return scene };
        if matches!(&scene.o.own_data, OwnData::Log { had_leader: false, .. }) {
            all.cluster = OURS;
        }
        let agreed = Seen::Yes(Record { agreed: Some(all.clone()), ..record.clone() });
        let gave_up = Seen::Yes(Record { nonce: "d15c".into(), given_up: vec![all.cluster], agreed: None });
        let none = [BlindKind::Absent, BlindKind::Malformed].map(|kind| Seen::No(blind(kind)));
        let [absent, damaged] = none;
        let record = self.mostly(usual, &[agreed.clone(), agreed, gave_up, absent, damaged]);
        let mut scene = match if self.odd() { self.rng.u8(..4) } else { 4 } {
            0 | 1 => scene.tagged(&all),
            2 => scene.tagged(&others),
            3 => scene.asg(|g| g.founding_tag = Some("by hand".into())),
            _ => scene,
        };
        scene.o.record = record;
        scene
    }

    fn identity_and_cloud(&mut self, mut scene: Scene) -> Scene {
        if self.odd() {
            let tag = self.any(&["c1", "c3"]);
            scene = scene.asg(|g| g.cluster_tag = Some(tag.to_owned()));
        }
        if self.odd() {
            scene = scene.asg(|g| g.desired += 1);
        }
        match if self.odd() { self.rng.u8(..8) } else { 8 } {
            0 => scene.cloud_down(),
            1 => scene.asg(|g| drop(g.instances.remove(&id(1)))),
            2 => scene.ec2(|ec2| drop(ec2.found.remove(&id(1)))),
            3 => scene.ec2(|ec2| drop(ec2.found.remove(&id(2)))),
            4 => scene.identity(|me| me.target_lifecycle_state = Some("Warmed:Running".into())),
            5 => scene.identity(|me| me.addresses = Addresses::default()),
            6 => Scene { o: Observation { me: Seen::No(blind(BlindKind::Unreachable)), ..scene.o }, ..scene },
            7 => Scene { o: Observation { ec2: Seen::No(blind(BlindKind::Throttled)), ..scene.o }, ..scene },
            _ => scene,
        }
    }
}

#[test]
fn in_random_worlds_nothing_unsafe_ever_happens_and_everything_else_sometimes_does() {
    let mut sometimes: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..WORLDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let noise = [0.02, 0.1, 0.25][rng.usize(..3)];
        let scene = Chance { rng, noise }.world();
        let decision = scene.decide();
        if let Err(broken) = never(&scene, &decision) {
            panic!("world {seed}: {broken}: {decision:#?}\n{}", serde_json::to_string(&scene.o).expect("plain data"));
        }
        for seen in [kind(&decision.action).to_owned(), decision.reason.code()] {
            *sometimes.entry(seen).or_default() += 1;
        }
    }
    let missing: Vec<&str> = SOMETIMES.split(' ').filter(|code| !sometimes.contains_key(*code)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}; seen: {sometimes:#?}");
}

// An unoptimised build takes a third of a millisecond for each.
const WORLDS: u64 = if cfg!(debug_assertions) { 40_000 } else { 400_000 };

/// All actions and all reasons.
const SOMETIMES: &str = "\
    wait refuse remove add set-data-aside begin-record agree give-up tag-group start-new start-existing follow own-data-listed own-data-nobody-objects own-data-tagged \
    founders-agree founders-majority agreed-founding resume untagged proven-dead replaces-own-lost-disk address-reused joining \
    backend-without-log never-led-other-formed never-led-other-founding never-led-founders-lost rejoin-after-removal endpoints metadata-blind \
    group-blind ec2-blind not-in-group group-unsettled founder-without-address second-read founders-disagree \
    founders-silent cluster-tagged creation-forbidden forming-without-me nothing-on-record founding-lost founders-agreeing founders-not-back \
    others-founding founding-tag-unreadable record-unusable no-quorum other-joining \
    learner-not-promoted removal-costs-quorum addition-risks-quorum version-unsettled owner-unknown no-member-answers \
    too-few-endpoints warm-pool leaving two-clusters other-clusters-data log-ahead removed-member \
    address-taken data-unreadable denied \
    not-the-tagged-cluster no-own-address version-skips-a-minor version-too-old";

/// An action by its name, with the two starts told apart.
pub fn kind(action: &Action) -> &'static str {
    match action {
        Action::Wait => "wait",
        Action::Refuse => "refuse",
        Action::Remove { .. } => "remove",
        Action::Add { .. } => "add",
        Action::SetDataAside { .. } => "set-data-aside",
        Action::BeginRecord => "begin-record",
        Action::Agree(_) => "agree",
        Action::GiveUp { .. } => "give-up",
        Action::TagGroup { .. } => "tag-group",
        Action::Start(Start { state: New, .. }) => "start-new",
        Action::Start(Start { state: Existing, .. }) => "start-existing",
        Action::Follow { .. } => "follow",
    }
}

/// What must hold of every decision, worked out here in another way than there.
fn never(scene: &Scene, decision: &Decision) -> Result<(), String> {
    let o = &scene.o;
    let broken = |rule: &str, holds: bool| if holds { Ok(()) } else { Err(rule.to_owned()) };
    let quiet = matches!(decision.action, Action::Wait | Action::Refuse | Action::Follow { .. });
    broken("S5: a consumer changes nothing", scene.p.role == Role::Member || quiet)?;
    let mine = o.etcd.as_ref().and_then(|seen| Some(seen.ok()?.minor));
    let lowest = views(o).filter_map(|(_, v)| Some(v.server_version.parse::<EtcdVersion>().ok()?.minor)).min();
    let apart = mine.zip(lowest).is_some_and(|(mine, lowest)| mine > lowest + 1);
    let without_data = matches!(o.own_data, OwnData::Empty | OwnData::NoLog);
    let enters = matches!(decision.action, Action::Add { .. } | Action::Start(_));
    broken("F89: no etcd two minors above a member", !enters || !apart || !without_data)?;
    match &decision.action {
        Action::Wait | Action::Refuse => {}
        Action::Follow { .. } => broken("a member follows nobody", scene.p.role == Role::Consumer)?,
        Action::BeginRecord | Action::Agree(_) | Action::GiveUp { .. } => {
            broken("S1: who has data founds nothing", matches!(o.own_data, OwnData::Empty | OwnData::NoLog))?;
        }
        Action::TagGroup { tags, .. } => {
            let agreed =
                o.record.ok().and_then(|record| record.agreed.as_ref()).map(|agreed| agreed.cluster.to_string());
            let named = tags.get(FOUNDING_TAG).and_then(|tag| tag.split(' ').next());
            broken("F87: only what was agreed to is tagged", named.is_none() || agreed.as_deref() == named)?;
            let formed: Vec<String> = views(o).map(|(_, view)| view.cluster_id.to_string()).collect();
            let new = tags.get(CLUSTER_TAG);
            let named = named.map(str::to_owned);
            broken(
                "F94: the tag names a cluster that answers or begins",
                new.is_none_or(|id| formed.contains(id) || named.as_ref() == Some(id)),
            )?;
            let old = o.group.ok().and_then(|group| group.cluster_tag.as_ref());
            let forced = scene.p.initial_cluster == InitialCluster::Force;
            broken("F94: only by force is a tag written over", new.is_none() || old.is_none() || forced)?;
        }
        Action::SetDataAside { .. } => {
            let something = matches!(o.own_data, OwnData::NoLog | OwnData::Log { .. });
            broken("only what is there is set aside", something)?;
        }
        Action::Start(start) => {
            let formed = views(o).any(|(_, v)| v.cluster_version.is_some() || v.members.iter().any(Member::published));
            let fresh = o.own_data == OwnData::Empty;
            broken("S1: no new cluster beside a formed one", start.state == Existing || !formed)?;
            broken("S1: no new cluster over old data", start.state == Existing || fresh)?;
            let own_token = start.token.strip_prefix(ARN).is_some_and(|rest| rest.len() == 17);
            broken("F11, F84: a new cluster has a token of its own", start.state == Existing || own_token)?;
            broken("F87: a new cluster is one that this disk agreed to", start.state == Existing || is_agreed(o))?;
            let urls: BTreeSet<&MemberUrl> = start.initial_cluster.iter().map(|(_, url)| url).collect();
            broken("F29: the list holds the own URL", urls.contains(&start.peer_url))?;
            broken("F17: no URL is listed twice", urls.len() == start.initial_cluster.len())?;
        }
        Action::Remove { member, .. } => {
            let gone = listed(o).into_iter().find(|m| m.id == *member).ok_or("it is not listed")?;
            broken("S2: no member of a living instance is removed", !owner_lives(o, gone))?;
            let rest = quorum_list(o).iter().filter(|m| m.id != *member && !m.learner).count();
            let enough = reachable(o, Some(*member)) > rest / 2;
            broken("S3: a removal leaves a quorum", gone.learner || enough)?;
        }
        Action::Add { as_learner, .. } => {
            let list = quorum_list(o);
            let voters = list.iter().filter(|m| !m.learner).count();
            let enough = reachable(o, None) > voters.div_ceil(2);
            broken("S3: a voter is not needed before it starts", *as_learner || enough)?;
            broken("F14: one join at a time", list.iter().all(|m| m.published() && !m.learner))?;
            broken("F32: no URL is added twice", list.iter().all(|m| !m.peer_urls.contains(&peer(1))))?;
        }
    }
    let mut next = o.clone();
    carry_out(&mut next, &decision.action);
    let again = decide(&next, &scene.p);
    let changes = !matches!(decision.action, Action::Start(_)) && !quiet;
    let onward = if changes { again.action != decision.action } else { again == *decision };
    broken("style 15: after a change comes the next step, else the same", onward)
}

/// Whether the tag names this node's disk, or its record has an agreement.
fn is_agreed(o: &Observation) -> bool {
    let Seen::Yes(record) = &o.record else { return false };
    let founder = format!("{}={}", id(1), record.nonce);
    let tag = o.group.ok().and_then(|group| group.founding_tag.as_deref()).unwrap_or_default();
    tag.split(' ').any(|word| word == founder) || record.agreed.is_some()
}

/// The answers of the group's instances, and of those that they list for their own cluster (F91).
fn ours(o: &Observation) -> impl Iterator<Item = &Probe> {
    let of_group = o.probes.iter().filter(|probe| probe.instance.is_some());
    let lists: Vec<_> = of_group.filter_map(view).map(|v| (v.cluster_id, &v.members)).collect();
    let listed = move |probe: &Probe| {
        let theirs = view(probe).map(|v| v.cluster_id);
        let mut members = lists.iter().filter(|(id, _)| Some(*id) == theirs).flat_map(|(_, members)| *members);
        members.any(|m| m.peer_urls.contains(&probe.url))
    };
    o.probes.iter().filter(move |probe| probe.instance.is_some() || listed(probe))
}

fn view(probe: &Probe) -> Option<&PeerView> {
    match &probe.peer {
        PeerAnswer::Member(view) => Some(view),
        PeerAnswer::Founding(_) | PeerAnswer::Absent(_) => None,
    }
}

fn views(o: &Observation) -> impl Iterator<Item = (&MemberUrl, &PeerView)> {
    ours(o).filter_map(|probe| Some((&probe.url, view(probe)?)))
}

/// All lists of one random world's cluster are equal.
fn quorum_list(o: &Observation) -> &[Member] {
    let lists = ours(o).filter_map(|probe| match &probe.client {
        Some(Ok(view)) => view.quorum_list.ok(),
        Some(Err(_)) | None => None,
    });
    lists.map(Vec::as_slice).next().unwrap_or_default()
}

fn listed(o: &Observation) -> Vec<&Member> {
    quorum_list(o).iter().chain(views(o).flat_map(|(_, view)| &view.members)).collect()
}

fn reachable(o: &Observation, without: Option<MemberId>) -> usize {
    let voters = quorum_list(o).iter().filter(|m| m.published() && !m.learner && Some(m.id) != without);
    voters.filter(|m| views(o).any(|(url, _)| m.peer_urls.contains(url))).count()
}

/// Whether EC2 gives the instance that a member stands for any chance to come back. This node knows about itself.
fn owner_lives(o: &Observation, m: &Member) -> bool {
    let Some(ec2) = o.ec2.ok() else { return false };
    let by_name = InstanceId::from_member_name(&m.name);
    let owners = ec2.found.iter().filter(|(owner, instance)| match &by_name {
        Some(name) => name == *owner,
        None => m.peer_urls.iter().any(|url| instance.addresses.hold(url)),
    });
    let others = owners.filter(|(owner, _)| **owner != id(1));
    let mut states = others.map(|(_, instance)| instance.state.as_str());
    states.any(|state| matches!(state, "pending" | "running" | "stopping" | "stopped"))
}
