//! Many random worlds, in which nothing unsafe ever happens and everything else sometimes does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use etcd_bootstrap::files::saved;
use etcd_bootstrap::model::ClusterState::{Existing, New};
use etcd_bootstrap::model::{
    Absence, Action, Addresses, Agreement, BlindKind, Change, Decision, FoundingRule, InitialCluster, JoinAs, Member,
    MemberId, Observation, OwnData, Policy, Record, Seen, Start,
};

use super::consumer::consumer;
use super::never::never;
use super::scene::Scene;
use super::{
    OTHER, OURS, SAFE, UNSAFE, blind, etcd, founder, founding_of, id, learner, log, named, no_answer, peer, unstarted,
    voter,
};
use crate::support::ground::Directory;

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
        if let Some(before) = &mut scene.o.history {
            before.deeds.untaggable = self.odd();
        }
        if self.rng.u8(..8) == 0 { consumer(scene) } else { scene }
    }

    fn options(&mut self, p: Policy) -> Policy {
        Policy {
            founding: self.any(&[FoundingRule::Majority, FoundingRule::Unanimous]),
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
            [Absence::Refused, no_answer(), Absence::Tls("expired".into()), Absence::NotUnderstood("nginx".into())];
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

/// The world of a seed.
pub fn world(seed: u64) -> Scene {
    let mut rng = fastrand::Rng::with_seed(seed);
    let noise = [0.02, 0.1, 0.25][rng.usize(..3)];
    Chance { rng, noise }.world()
}

/// What breaks a rule tells its seed. `SEED=n` replays that world alone, and writes its observation for `explain`:
///
/// ```text
/// SEED=17 cargo test --test tests -- --nocapture in_random_worlds
/// cargo run -- explain target/world-17.observation.json
/// ```
#[test]
fn in_random_worlds_nothing_unsafe_ever_happens_and_everything_else_sometimes_does() {
    if let Some(seed) = std::env::var("SEED").ok().filter(|seed| !seed.is_empty()) {
        let seed = seed.parse().unwrap_or_else(|e| panic!("SEED={seed}: {e}"));
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let scene = world(seed);
        println!("etcd-bootstrap explain {}", save(seed, &scene, &target).display());
        return check(seed, &scene, &scene.decide());
    }
    let mut sometimes: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..WORLDS {
        let scene = world(seed);
        let decision = scene.decide();
        check(seed, &scene, &decision);
        for seen in [kind(&decision.action).to_owned(), decision.reason.code().to_owned()] {
            *sometimes.entry(seen).or_default() += 1;
        }
    }
    let missing: Vec<&str> = SOMETIMES.split(' ').filter(|code| !sometimes.contains_key(*code)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}; seen: {sometimes:#?}");
}

fn check(seed: u64, scene: &Scene, decision: &Decision) {
    if let Err(broken) = never(scene, decision) {
        panic!("world {seed}: {broken}: {decision:#?}\nagain, with its observation: SEED={seed}");
    }
}

/// Writes the observation of a world, as a run of the agent does, and returns where.
fn save(seed: u64, scene: &Scene, directory: &Path) -> PathBuf {
    let file = directory.join(format!("world-{seed}.observation.json"));
    let Scene { o: observation, p: policy, .. } = scene.clone();
    let record =
        serde_json::to_vec(&saved::Record { format: saved::Format, policy, observation }).expect("it is plain data");
    fs::write(&file, record).unwrap_or_else(|e| panic!("write {}: {e}", file.display()));
    file
}

#[test]
fn a_world_that_was_saved_is_explained_as_it_is_decided() {
    let directory = Directory::new().expect("a directory");
    for seed in 0..5 {
        let scene = world(seed);
        let explain = Command::new(env!("CARGO_BIN_EXE_etcd-bootstrap"))
            .args(["explain", "--output=json"])
            .arg(save(seed, &scene, directory.path()))
            .output();
        let explained = explain.expect("the program runs").stdout;
        let explained: serde_json::Value = serde_json::from_slice(&explained).expect("it is JSON");
        let reason = serde_json::to_value(scene.decide().reason).expect("it is plain data");
        assert_eq!(explained["reason"], reason, "world {seed}");
    }
}

// An unoptimised build takes a third of a millisecond for each.
const WORLDS: u64 = if cfg!(debug_assertions) { 40_000 } else { 400_000 };

/// All actions and all reasons.
const SOMETIMES: &str = "\
    wait refuse remove add set-data-aside begin-record agree give-up tag-group start-new start-existing follow own-data-listed own-data-nobody-objects own-data-tagged \
    founders-agree founders-majority agreed-founding resume untagged proven-dead replaces-own-lost-disk address-reused joining \
    backend-without-log never-led-other-formed never-led-other-founding never-led-founders-lost never-led-removed rejoin-after-removal endpoints metadata-blind \
    group-blind ec2-blind not-in-group group-unsettled founder-without-address second-read founders-disagree \
    founders-silent cluster-tagged creation-forbidden forming-without-me nothing-on-record founding-lost founders-agreeing founders-not-back \
    others-founding founding-tag-unreadable record-unusable no-quorum other-joining \
    learner-not-promoted removal-costs-quorum addition-risks-quorum outdated-member version-unsettled owner-unknown no-member-answers \
    too-few-endpoints warm-pool leaving two-clusters other-clusters-data log-ahead removed-member \
    address-taken data-unreadable denied \
    not-the-tagged-cluster no-own-address version-skips-a-minor version-too-old";

/// An action by its name, with the two starts told apart.
pub fn kind(action: &Action) -> &'static str {
    match action {
        Action::Wait => "wait",
        Action::Refuse => "refuse",
        Action::Change(Change::Remove { .. }) => "remove",
        Action::Change(Change::Add { .. }) => "add",
        Action::Change(Change::SetDataAside { .. }) => "set-data-aside",
        Action::Change(Change::BeginRecord) => "begin-record",
        Action::Change(Change::Agree(_)) => "agree",
        Action::Change(Change::GiveUp { .. }) => "give-up",
        Action::Change(Change::TagGroup { .. }) => "tag-group",
        Action::Start(Start { state: New, .. }) => "start-new",
        Action::Start(Start { state: Existing, .. }) => "start-existing",
        Action::Follow(_) => "follow",
        Action::Change(Change::MarkLeft(_)) => "mark-left",
        Action::Change(Change::CompleteHook { .. }) => "complete-hook",
        Action::Change(Change::KeepWaiting { .. }) => "keep-waiting",
        Action::Change(Change::Promote { .. } | Change::MoveLeader { .. }) | Action::Serve { .. } | Action::Rest => {
            unreachable!("neither `run` nor the model's `watch` decides those")
        }
    }
}
