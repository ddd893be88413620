//! A person who gives a cluster up: `recover` in the model, by the shipped guard.

use std::collections::BTreeSet;

use etcd_bootstrap::decide::recover;
use etcd_bootstrap::model::{ClusterId, Contents, GivenUp, Order};
use stateright::{Checker, HasDiscoveries, Model};

use super::etcd::{Cluster, Row};
use super::properties::Sometimes;
use super::sight::see;
use super::spell;
use super::world::{Broken, Disk, Id, Left, Log, Node, Read, World};
use super::{Scenario, properties};

/// Writes the tag, where the guard lets a person: from the node's own data, or from a snapshot of the last minute.
pub fn tag(world: &mut World, n: Node, read: Read, scenario: &Scenario) {
    let Some(seen) = world.aws(read) else { return };
    if stopped(world, n, read, seen.tags.cluster, scenario) {
        return;
    }
    if others_with_data(world, n) {
        world.broken = world.broken.or(Some(Broken::GivenUpAlive));
    }
    let old = seen.tags.cluster.or_else(|| world.machine(n).log().map(|log| world.clusters[log.cluster].id));
    // No two recoveries have one token.
    let new = RECOVERED + u64::from(world.left.recoveries);
    world.left.recoveries -= 1;
    world.aws_changes(|w| {
        w.tags.replaced.extend(old.filter(|old| !w.tags.replaced.contains(old)));
        w.tags.cluster = Some(new);
    });
    // Until a person has logged in and read the plan, everybody sees that the instance is there.
    world.group_before = None;
    world.machine_mut(n).boots();
    world.machine_mut(n).recovering = Some(new);
}

/// Puts the new cluster's data into its place, where the guard still does not object.
pub fn move_in(world: &mut World, n: Node, scenario: &Scenario) {
    let Some(id) = world.machine(n).recovering else { return };
    if stopped(world, n, Read::Now, Some(id), scenario) {
        world.machine_mut(n).recovering = None;
        return;
    }
    let address = world.machine(n).address;
    let row = Row { id: address, address, name: Some(n), published: false, learner: false, ran: true };
    let list = vec![row];
    world.clusters.push(Cluster { id, begun: Vec::new(), founding_list: list.clone(), formed: true, list });
    let cluster = world.clusters.len() - 1;
    let machine = world.machine_mut(n);
    machine.loses(Disk::Log(Log { cluster, member: address, led: true, fresh: true, stale: None }));
    machine.recovering = None;
}

/// Ids of clusters that were recovered.
const RECOVERED: Id = 0xfeed_0000;

fn stopped(world: &World, n: Node, read: Read, gives_up: Option<Id>, scenario: &Scenario) -> bool {
    let o = spell::observation(&see(world, n, read, &scenario.rules));
    let own = world.machine(n).log().filter(|log| log.led);
    let of = own.map(|log| log.cluster).or_else(|| world.clusters.iter().rposition(|cluster| cluster.formed));
    let members = of.map(|cluster| world.clusters[cluster].list.iter().map(spell::listed).collect());
    let order = Order {
        gives_up: Some(gives_up.map_or(GivenUp::Nothing, |id| GivenUp::Cluster(ClusterId(id)))),
        despite: BTreeSet::new(),
        foreign: true,
        own: own.is_some(),
        cluster: None,
        contents: Contents { members: members.unwrap_or_default(), ..Contents::default() },
    };
    let ignored = |code: &str| scenario.ignored == Some(code);
    recover(&o, &scenario.policy, &order).iter().any(|reason| !ignored(reason.code()))
}

/// Whether an instance that stays may go on in a cluster that nobody has given up.
fn others_with_data(world: &World, n: Node) -> bool {
    let mut logs = world.staying().filter(|(other, _)| *other != n).filter_map(|(_, m)| m.log());
    logs.any(|log| log.led && !world.tags.replaced.contains(&world.clusters[log.cluster].id))
}

const RECOVERED_AND_WHOLE: Sometimes = ("a recovered cluster has taken in the whole group", |_, w| {
    let id = w.formed_cluster().map(|cluster| w.clusters[cluster].id);
    id.is_some_and(|id| id >= RECOVERED) && properties::all_are_voters(w)
});

const OLD_DATA_WAITS: Sometimes = ("data of a cluster that was given up comes back", |_, w| {
    w.staying().filter_map(|(_, m)| m.log()).any(|log| w.tags.replaced.contains(&w.clusters[log.cluster].id))
});

const TAG_OF_NOTHING: Sometimes = ("a recovery ends between its tag and its data", |_, w| {
    let tag = w.tags.cluster.filter(|tag| *tag >= RECOVERED);
    tag.is_some_and(|tag| w.clusters.iter().all(|c| c.id != tag)) && w.nodes.iter().all(|m| m.recovering.is_none())
});

#[test]
fn everything_is_lost_and_a_person_recovers_in_any_moment() {
    let left = Left { terminations: 2, recoveries: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::formed(2, 2, true, left))
        .sometimes(&[RECOVERED_AND_WHOLE, TAG_OF_NOTHING])
        .explore(37_649, &["wait cluster-tagged", "add joining"]);
}

#[test]
fn s8_a_person_recovers_while_founders_start() {
    let left = Left { recoveries: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::tagged(3, left))
        .sometimes(&[properties::ALL_JOINED])
        .explore(8_996, &["start-new agreed-founding"]);
}

#[test]
fn a_quorum_is_lost_and_old_data_comes_back() {
    let left = Left { wipes: 1, restores: 1, reboots: 1, recoveries: 1, ..Left::default() };
    Scenario::new(World::formed(2, 2, true, left))
        .sometimes(&[RECOVERED_AND_WHOLE, OLD_DATA_WAITS])
        .explore(162, &["set-data-aside replaced-by-recovery", "wait cluster-replaced"]);
}

#[test]
fn two_persons_recover_while_aws_lags() {
    let left = Left { terminations: 1, recoveries: 2, odd_reads: 1, ..Left::default() };
    Scenario::new(World::formed(1, 2, true, left)).sometimes(&[RECOVERED_AND_WHOLE]).explore(7_037, &["add joining"]);
}

/// The other rows are in the table of `tests/decide/recover.rs` alone. That the tag is another's by now matters where two
/// look and move in the same moment, which no step of the model does: `recovery::halfway` has them do it.
#[test]
fn each_row_of_the_guard_is_needed() {
    let begin = |left| World::formed(3, 3, true, left);
    let rows = [
        ("cluster-lives", begin(Left { recoveries: 1, reboots: 1, ..Left::default() })),
        ("survivor-runs", begin(Left { recoveries: 1, terminations: 1, reboots: 1, ..Left::default() })),
        ("unaccounted", begin(Left { recoveries: 1, reboots: 3, ..Left::default() })),
    ];
    for (code, world) in rows {
        let mut scenario = Scenario::new(world);
        scenario.ignored = Some(code);
        let checker = scenario.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let broken: Vec<_> = checker.discoveries().into_keys().collect();
        assert!(!broken.is_empty(), "nothing breaks without '{code}'");
        println!("{code:20} {broken:?}");
    }
}
