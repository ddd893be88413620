//! Leaves from their begin to their end, by several nodes in turns, with a `watch` that is killed on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd_bootstrap::decide::{remember, watch};
use etcd_bootstrap::model::{Absence, Action, Change, History, LeftMember, Member};

use super::{Scene, both_hooks, told};
use crate::decide::{id, learner, log, voter};

/// A group and its cluster, as they are.
struct World {
    list: Vec<Member>,
    leader: u64,
    desired: usize,
    /// Where each instance is in its life.
    states: BTreeMap<u64, &'static str>,
    /// Whom EC2 has given notice.
    spot: BTreeSet<u64>,
    seconds: u64,
    memories: BTreeMap<u64, History>,
    marks: BTreeMap<u64, LeftMember>,
    /// Whose hook the group has ended, but still shows.
    completed: BTreeSet<u64>,
    done: Vec<String>,
    /// The `watch` that makes this one of all changes is killed right after it.
    killed_after: Option<usize>,
}

impl World {
    /// Nodes 1 to n in service, led by the first.
    fn of(n: u64) -> Self {
        Self {
            list: (1..=n).map(voter).collect(),
            leader: 1,
            desired: usize::try_from(n).expect("a group is small"),
            states: (1..=n).map(|n| (n, "InService")).collect(),
            spot: BTreeSet::new(),
            seconds: 0,
            memories: BTreeMap::new(),
            marks: BTreeMap::new(),
            completed: BTreeSet::new(),
            done: Vec::new(),
            killed_after: None,
        }
    }

    fn terminating(mut self, nodes: impl IntoIterator<Item = u64>) -> Self {
        self.states.extend(nodes.into_iter().map(|n| (n, "Terminating:Wait")));
        self
    }

    fn desired(self, desired: usize) -> Self {
        Self { desired, ..self }
    }

    fn voters(&self) -> usize {
        self.list.iter().filter(|m| !m.learner).count()
    }

    fn lists(&self, n: u64) -> bool {
        self.list.iter().any(|m| m.id.0 == n)
    }

    /// What node n sees.
    fn seen_by(&self, n: u64) -> Scene {
        let mut scene = Scene::group(0).me(n).data(log(n, true)).hooks(both_hooks()).desired(self.desired);
        scene.o.taken_at += Duration::from_secs(self.seconds);
        let now = scene.o.taken_at;
        scene = scene.asg(|group| group.read_at = now);
        for (m, state) in &self.states {
            scene = scene.instance(*m, state, "running").launched(*m, *m);
            scene = if self.lists(*m) { scene } else { scene.absent(*m, Absence::Refused) };
        }
        scene = scene.listing(&self.list).led_by(self.leader);
        scene = if self.spot.contains(&n) { scene.spot("terminate") } else { scene };
        scene.o.left = self.marks.get(&n).cloned();
        scene.o.history = self.memories.get(&n).cloned();
        scene
    }

    /// A pass of node n.
    fn pass(&mut self, n: u64) {
        let scene = self.seen_by(n);
        let decision = watch(&scene.o, &scene.p);
        let mut history = scene.o.history.clone().unwrap_or_default();
        match &decision.action {
            Action::Wait => {}
            Action::Change(Change::KeepWaiting { .. }) => history.deeds.heartbeat = Some(scene.o.taken_at),
            Action::Change(change) => {
                self.done.push(format!("{n}: {}", told(&decision)));
                self.take(n, change);
                if let Change::CompleteHook { instance, .. } = change {
                    history.deeds.completed.insert(instance.clone());
                }
            }
            other => panic!("a watch does not {other:?}"),
        }
        let deeds = history.deeds;
        let mut o = scene.o.clone();
        o.history.get_or_insert_default().deeds = deeds;
        self.memories.insert(n, remember(&o, &scene.p));
        let changed = matches!(decision.action, Action::Change(_));
        if changed && self.killed_after == Some(self.done.len()) {
            self.memories.remove(&n);
        }
    }

    fn take(&mut self, n: u64, change: &Change) {
        match change {
            Change::Remove { member, .. } => {
                assert_eq!(member.0, n, "each its own");
                self.list.retain(|m| m.id != *member);
                if self.leader == n {
                    self.leader = self.list.iter().find(|m| !m.learner).expect("somebody stays").id.0;
                }
            }
            Change::MoveLeader { to, .. } => self.leader = to.0,
            Change::MarkLeft(mark) => drop(self.marks.insert(n, mark.clone())),
            Change::CompleteHook { instance, .. } => {
                assert_eq!(*instance, id(n), "each its own");
                self.completed.insert(n);
            }
            other => panic!("no leave takes {other:?}"),
        }
    }

    /// Passes of these nodes in turns every two seconds, for so long.
    fn walk(&mut self, nodes: &[u64], seconds: u64) -> &[String] {
        let end = self.seconds + seconds;
        while self.seconds < end {
            self.seconds += 2;
            for n in nodes {
                if self.states[n] == "Terminating:Proceed" {
                    continue;
                }
                let was_completed = self.completed.contains(n);
                self.pass(*n);
                // S7: by choice the others are never fewer than a quorum of the desired size.
                assert!(!self.spot.is_empty() || self.voters() > self.desired / 2, "{:?}", self.done);
                // The group shows it a pass later.
                if was_completed {
                    self.states.insert(*n, "Terminating:Proceed");
                }
            }
        }
        &self.done
    }

    #[track_caller]
    fn has_left(&self, n: u64) {
        assert!(!self.lists(n), "{n} is listed: {:?}", self.done);
        assert_eq!(self.marks.get(&n).map(|mark| mark.member.0), Some(n), "{:?}", self.done);
        assert_eq!(self.states[&n], "Terminating:Proceed", "{:?}", self.done);
    }
}

const WHOLE: [&str; 4] =
    ["1: move to 3: leaves", "1: remove 1: leaves", "1: mark 1: left", "1: complete terminate of 1: left"];

#[test]
fn f72_f73_a_leader_leaves_in_four_steps() {
    let mut world = World::of(3).terminating([1]);
    assert_eq!(world.walk(&[1, 2, 3], 120), WHOLE);
    world.has_left(1);
    assert_eq!(world.leader, 3);
}

#[test]
fn t14_a_watch_that_is_killed_after_any_step_comes_to_the_same_end() {
    for step in 0..=WHOLE.len() {
        let mut world = World { killed_after: Some(step), ..World::of(3).terminating([1]) };
        let done = world.walk(&[1, 2, 3], 120).to_vec();
        world.has_left(1);
        // The group may be told twice of what it does not show yet, and of nothing else.
        let twice = usize::from(step == WHOLE.len());
        assert_eq!((&done[..4], done.len()), (&WHOLE.map(str::to_owned)[..], 4 + twice), "{step}");
    }
    // And one that remembers nothing at all.
    let mut world = World::of(3).terminating([1]);
    for _ in 0..20 {
        world.memories.clear();
        world.walk(&[1], 2);
    }
    world.has_left(1);
}

#[test]
fn t10_two_of_five_leave_at_once_and_three_stay() {
    for [a, b] in [[1, 2], [2, 1], [4, 5], [2, 5]] {
        for killed_after in (0..9).map(Some) {
            let mut world = World { killed_after, ..World::of(5).terminating([a, b]).desired(3) };
            let done = world.walk(&[1, 2, 3, 4, 5], 240).to_vec();
            world.has_left(a);
            world.has_left(b);
            assert_eq!(world.voters(), 3);
            assert!(done.iter().filter(|d| d.contains(": move to")).count() <= 1, "T8: {done:?}");
            assert!(![a, b].contains(&world.leader));
        }
    }
}

#[test]
fn t12_a_group_that_goes_to_nothing_keeps_its_last_member_listed() {
    let mut world = World::of(3).terminating([1, 2, 3]).desired(0);
    world.walk(&[1, 2, 3], 400);
    world.has_left(1);
    world.has_left(2);
    assert_eq!((world.voters(), world.lists(3), world.marks.contains_key(&3)), (1, true, false));
    assert_eq!(world.states[&3], "Terminating:Proceed");
}

#[test]
fn t25_the_last_of_a_group_of_one_holds_its_hook_until_the_new_one_votes() {
    let mut world = World::of(1).terminating([1]);
    assert!(world.walk(&[1], 900).is_empty());
    world.states.insert(2, "Pending:Wait");
    world.list.push(learner(2));
    assert!(world.walk(&[1], 40).is_empty());
    world.list[1] = voter(2);
    world.walk(&[1], 40);
    world.has_left(1);
    assert_eq!(world.leader, 2);
}

#[test]
fn t11_two_of_three_with_a_spot_notice_leave_within_ten_seconds() {
    let mut world = World { spot: [1, 2].into(), ..World::of(3) };
    world.walk(&[1, 2], 20);
    assert_eq!((world.voters(), world.lists(3), world.leader), (1, true, 3), "{:?}", world.done);
}

#[test]
fn t05_a_refresh_whose_replacements_fail_stops_at_the_floor() {
    let mut world = World::of(3).terminating([1]);
    world.walk(&[1, 2, 3], 120);
    world.has_left(1);
    let mut world = world.terminating([2]);
    world.walk(&[2, 3], 600);
    assert!(world.lists(2) && world.voters() == 2, "{:?}", world.done);
    // The one that fits comes at last.
    world.states.insert(4, "InService");
    world.list.push(voter(4));
    world.walk(&[2, 3, 4], 120);
    world.has_left(2);
}
