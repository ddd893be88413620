//! Situations and decisions: what `decide` does in each row of its table, in the failure catalogue's entries, and
//! what it never does in any of many random worlds.
//!
//! Node `n` is instance `i-0000000n` at `10.0.0.n` and, where it is listed, member `n`. This node is 1 unless said.

mod always;
mod consumer;
mod data;
mod death;
mod doctor;
mod found;
mod founding;
mod join;
mod leaving;
mod life;
mod never;
mod no_data;
mod random;
mod recover;
mod scene;
mod snapshot;
mod start;
mod status;
mod version;
mod who;

use std::time::Duration;

use etcd_bootstrap::model::agreement;
use etcd_bootstrap::model::{
    Absence, AddressForm, Addresses, Agreement, Blind, BlindKind, ClusterId, EtcdVersion, Founder, FounderEntry,
    FoundingRule, InitialCluster, InstanceId, JoinAs, Leave, Member, MemberId, MemberUrl, OwnData, Policy, Proof,
    Prune, Reason, Role, Scheme, Statement, launch_hook, render_initial_cluster, terminate_hook,
};

pub use random::kind;

const OURS: ClusterId = ClusterId(0xc1);
const OTHER: ClusterId = ClusterId(0xc2);
const ARN: &str = "arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:u:autoScalingGroupName/etcd";
/// A version whose learners are safe (F55), and one whose are not.
const SAFE: &str = "3.6.16";
const UNSAFE: &str = "3.5.23";

/// What the program does with its default options, but by addresses.
pub fn policy() -> Policy {
    Policy {
        role: Role::Member,
        address_form: AddressForm::Addresses,
        peer_scheme: Scheme::Http,
        peer_port: 2380,
        client_scheme: Scheme::Http,
        client_port: 2379,
        founding: FoundingRule::Majority,
        founding_grace: Duration::from_secs(60),
        initial_cluster: InitialCluster::Auto,
        join_as: JoinAs::Auto,
        rejoin: false,
        prune_foreign: false,
        launch_hook: launch_hook(),
        terminate_hook: terminate_hook(),
        leave: Leave::Auto,
        prune: Prune::Auto,
        seeds: Vec::new(),
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
    [Absence::Tls("expired".into()), Absence::Denied("403".into()), Absence::NotUnderstood("nginx".into())]
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
    let (group, given_up, agreed, recovers) = (ARN.into(), Vec::new(), None, false);
    Statement { instance: id(n), group, founders, etcd: None, nonce: disk(n), given_up, agreed, recovers }
}

/// EC2's word for it.
fn is(n: u64, state: &str) -> Proof {
    Proof::Ec2State { instance: id(n), state: state.into() }
}

fn dead(m: &Member, proof: Proof) -> Reason {
    Reason::ProvenDead { member: m.into(), proof }
}

fn log(member: u64, had_leader: bool) -> OwnData {
    let founders =
        (1..=3).map(|n| FounderEntry { name: id(n).to_string(), peer_urls: vec![peer(n).to_string()] }).collect();
    OwnData::Log { cluster_id: OURS, member_id: MemberId(member), had_leader, founders }
}
