//! What never happens (S1-S4), and what always comes in the end (L1-L3).

use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::Property;

use super::Scenario;
use super::etcd::{self, quorum};
use super::world::{Broken, Event, Left, Life, World};

/// What holds in every state.
pub fn never() -> Vec<Property<Scenario>> {
    vec![
        Property::always("S1 no second cluster", |_: &Scenario, w: &World| w.broken != Some(Broken::SecondCluster)),
        Property::always("S1 no acknowledged write is lost", |_: &Scenario, w: &World| w.broken != Some(Broken::DataLost)),
        Property::always("S1 no id is used by two disks", |_: &Scenario, w: &World| w.broken != Some(Broken::IdUsedTwice)),
        Property::always("S2 no live member is removed", |_: &Scenario, w: &World| w.broken != Some(Broken::LiveMemberRemoved)),
        Property::always("S3 no change costs the quorum", |_: &Scenario, w: &World| w.broken != Some(Broken::QuorumAtRisk)),
        Property::always("S4 no data is set aside that was led", |_: &Scenario, w: &World| w.broken != Some(Broken::DataSetAside)),
        Property::always("S4 no old backend is opened", |_: &Scenario, w: &World| w.broken != Some(Broken::OldBackendOpened)),
        Property::always("L1-L3 once faults stop, all ends well", |scenario: &Scenario, w: &World| ends_well(scenario, w)),
    ]
}

/// Whether the agents owe it to this world that all ends well: no cluster exists yet, or a majority of its voters lives.
fn is_owed(world: &World) -> bool {
    let mut formed = (0..world.clusters.len()).filter(|c| world.clusters[*c].formed);
    let Some(cluster) = formed.next() else { return world.tag.is_none() };
    let row = |member| world.clusters[cluster].row(member).is_some_and(|row| !row.learner);
    let lives = |m: &super::world::Machine| {
        m.life == Life::InService && m.log().is_some_and(|log| log.cluster == cluster && row(log.member))
    };
    let living = world.nodes.iter().filter(|m| lives(m)).count();
    formed.next().is_none() && living >= quorum(world.clusters[cluster].voters())
}

/// Every instance of the group is a published voter of one cluster that has no other members.
fn is_well(world: &World) -> bool {
    let Some(cluster) = world.formed_cluster() else { return false };
    let list = &world.clusters[cluster].list;
    let Some(part) = etcd::quorate(world, cluster) else { return false };
    let group: Vec<_> = world.all().filter(|(_, m)| m.life.in_group()).map(|(n, _)| n).collect();
    group.len() == world.desired
        && list.len() == group.len()
        && group.iter().all(|n| part.nodes.contains(n))
        && list.iter().all(|row| row.published && !row.learner)
}

/// Runs the agents fairly after the last fault.
pub fn ends_well(scenario: &Scenario, world: &World) -> bool {
    if world.broken.is_some() || !is_owed(world) {
        return true;
    }
    let mut now = World { cut: Vec::new(), aws_before: None, left: Left::default(), ..world.clone() };
    etcd::settle(&mut now);
    let mut passed = Vec::new();
    let well = loop {
        if is_well(&now) {
            break true;
        }
        let mut hasher = DefaultHasher::new();
        now.hash(&mut hasher);
        let hash = hasher.finish();
        if scenario.ends_well.lock().expect("no panic").contains(&hash) {
            break true;
        }
        if passed.contains(&hash) {
            break false;
        }
        passed.push(hash);
        now = round(scenario, now);
    };
    if well {
        scenario.ends_well.lock().expect("no panic").extend(passed);
    }
    well
}

/// Everyone does what there is to do. Only when that is nothing, time passes, and then starts time out.
pub fn round(scenario: &Scenario, before: World) -> World {
    let mut now = before.clone();
    let mut cloud = Vec::new();
    now.cloud(&scenario.rules, &mut cloud);
    let leaving = now.running().filter(|(_, m)| m.life == Life::Leaving).map(|(n, _)| Event::Terminate(n));
    cloud.extend(leaving);
    for event in cloud.iter().take(1) {
        now = scenario.step(&now, event);
    }
    for n in 0..u8::try_from(now.nodes.len()).expect("few nodes") {
        for event in steps(scenario, &now, n, false) {
            now = scenario.step(&now, &event);
        }
    }
    if now == before {
        now.happen(&Event::Minute);
    }
    if now == before {
        for n in 0..u8::try_from(now.nodes.len()).expect("few nodes") {
            for event in steps(scenario, &now, n, true) {
                now = scenario.step(&now, &event);
            }
        }
    }
    now
}

fn steps(scenario: &Scenario, world: &World, n: u8, timeouts: bool) -> Vec<Event> {
    let mut events = Vec::new();
    if world.machine(n).life.runs() {
        world.steps(n, world.machine(n), &scenario.rules, &mut events);
    }
    events.retain(|event| matches!(event, Event::StartTimesOut(_)) == timeouts);
    events
}
