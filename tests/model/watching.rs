//! `watch` on the nodes of the model: members that leave with their instances, and dead ones that go though nobody joins.
//!
//! Which member leads is left out: that a leader hands over first spares clients seconds, and nothing rests on it. How
//! long a hook lasts is left open: it may run out at any moment.

use super::agent::enact;
use super::etcd::quorum;
use super::judge::{judge, owns};
use super::memory::{Before, Watch};
use super::sight::{Sight, look_around};
use super::world::{Act, Broken, Left, Life, Node, Read, Rules, World};
use super::{Scenario, properties};

// ---------------------------------------------------------------- steps

/// One pass. What changes this disk alone is done at once, as in one of the agent.
pub fn look(world: &mut World, n: Node, read: Read, scenario: &Scenario) {
    let mut sight = see(world, n, read, &scenario.rules);
    loop {
        let outcome = scenario.think(sight);
        judge(world, n, &outcome.act);
        let mark = match outcome.act {
            Act::MarkLeft(cluster, member) => Some((cluster, member, false)),
            _ => None,
        };
        let act = Some(outcome.act).filter(|act| *act != Act::Wait && mark.is_none());
        let machine = world.machine_mut(n);
        machine.watch = Some(Watch { before: outcome.memory.before, act, raced: false });
        if mark.is_none() {
            break;
        }
        machine.left = mark;
        sight = Sight { last_reply: true, ..see(world, n, read, &scenario.rules) };
    }
    if scenario.rules.tags_are_prompt && matches!(act(world, n), Some(Act::Tag { .. })) {
        carry_out(world, n, &scenario.rules);
    }
    world.left.odd_reads -= u8::from(read != Read::Now);
}

pub fn see(world: &World, n: Node, read: Read, rules: &Rules) -> Sight {
    let watch = world.machine(n).watch.as_ref().expect("it watches");
    let before = Before { untaggable: !rules.tag, ..watch.before.clone() };
    Sight { hooked: rules.leaves_slowly, ..look_around(world, n, read, before, true) }
}

fn act(world: &World, n: Node) -> Option<&Act> {
    world.machine(n).watch.as_ref()?.act.as_ref()
}

/// Does what was decided in the last pass.
pub fn carry_out(world: &mut World, n: Node, rules: &Rules) {
    let Some(watch) = &mut world.machine_mut(n).watch else { return };
    let Some(act) = watch.act.take() else { return };
    watch.before.note(&act);
    if let Act::Complete(instance) = act {
        watch.before.completed.push(instance);
        watch.before.completed.sort_unstable();
        // AWS refuses what does not wait any more.
        if world.machine(instance).life == Life::Leaving {
            world.aws_changes(|w| w.machine_mut(instance).life = Life::ShuttingDown);
        }
        return;
    }
    let raced = std::mem::take(&mut watch.raced);
    if is_leave(world, n, &act) {
        leave(world, n, act, raced, rules);
    } else {
        enact(world, n, act, rules);
    }
}

/// S7: two that leave in one moment must not have counted on each other.
fn leave(world: &mut World, n: Node, act: Act, raced: bool, rules: &Rules) {
    enact(world, n, act, rules);
    let voters = world.formed_cluster().map_or(0, |cluster| world.clusters[cluster].voters());
    if raced && voters < quorum(world.desired) {
        world.broken = world.broken.or(Some(Broken::TooFewStay));
    }
    world.nodes.iter_mut().filter_map(|m| m.watch.as_mut()).for_each(|watch| watch.raced = watch.act.is_some());
}

/// Whether a node takes its own member out while its group waits for that.
fn is_leave(world: &World, n: Node, act: &Act) -> bool {
    let own = matches!(act, Act::Remove { member, .. } if owns(world, n, *member));
    own && world.machine(n).life == Life::Leaving
}

// ---------------------------------------------------------------- scenarios

const LEFT: properties::Sometimes = ("one has left, and its instance goes", |_, w| {
    w.nodes.iter().any(|m| m.life == Life::ShuttingDown && m.left.is_some())
});

fn leaving(members: u8, left: Left, watched: &[Node]) -> Scenario {
    let world = World::formed(members, members, true, left);
    Scenario::new(world).rules(|rules| rules.leaves_slowly = true).watched_on(watched)
}

#[test]
fn the_only_one_leaves_once_another_is_a_voter() {
    leaving(1, Left { terminations: 1, reboots: 1, ..Left::default() }, &[0])
        .sometimes(&[LEFT, properties::REPLACED])
        .explore(2_659, &["keep-waiting too-few-to-leave", "remove leaves", "mark-left left", "complete-hook left"]);
}

#[test]
fn one_of_three_is_scaled_in_and_nobody_joins() {
    leaving(3, Left { scale_ins: 1, reboots: 1, ..Left::default() }, &[1, 2])
        .explore(24_461, &["remove leaves", "remove proven-dead", "wait watching"]);
}

#[test]
fn f74_dead_members_go_though_nobody_joins() {
    let left = Left { scale_ins: 1, forgotten: 1, reboots: 1, ..Left::default() };
    let scenario = Scenario::new(World::formed(3, 3, true, left)).watched_on(&[1, 2]);
    scenario.explore(11_412, &["remove proven-dead", "wait proven-dead"]);
}

#[test]
#[ignore = "many states: make model"]
fn one_of_three_leaves_and_its_watch_dies_at_any_moment() {
    leaving(3, Left { terminations: 1, dead_watches: 1, ..Left::default() }, &[0, 1])
        .sometimes(&[LEFT, properties::REPLACED])
        .explore(85_702, &["complete-hook left", "complete-hook leaver-gone"]);
}

#[test]
#[ignore = "many states: make model"]
fn one_leaves_and_boots_while_aws_lags() {
    leaving(3, Left { terminations: 1, reboots: 1, odd_reads: 1, ..Left::default() }, &[0])
        .sometimes(&[LEFT, properties::REPLACED])
        .explore(376_936, &["refuse left"]);
}

#[test]
#[ignore = "many states: make model"]
fn one_leaves_while_links_fail() {
    leaving(3, Left { terminations: 1, cuts: 1, ..Left::default() }, &[0])
        .sometimes(&[LEFT, properties::REPLACED])
        .explore(103_875, &["wait left"]);
}
