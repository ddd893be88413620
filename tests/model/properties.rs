//! What never happens (S1-S4), and what always comes in the end (L1-L3).

use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::Property;

use super::Scenario;
use super::etcd::{self, FIRST_ADDED, Row, quorum};
use super::happen::Event;
use super::world::{Broken, Left, Life, Machine, Node, World};

/// What holds in every state.
pub fn never() -> Vec<Property<Scenario>> {
    vec![
        Property::always("S1 no second cluster", |_: &Scenario, w: &World| w.broken != Some(Broken::SecondCluster)),
        Property::always("S1 no id names two foundings", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::TwoFoundings)
        }),
        Property::always("S1 no acknowledged write is lost", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::DataLost)
        }),
        Property::always("S1 no id is used by two disks", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::IdUsedTwice)
        }),
        Property::always("S2 no live member is removed", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::LiveMemberRemoved)
        }),
        Property::always("S3 no change costs the quorum", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::QuorumAtRisk)
        }),
        Property::always("S4 no data is set aside that was led", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::DataSetAside)
        }),
        Property::always("S4 no old backend is opened", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::OldBackendOpened)
        }),
        Property::always("S8 no cluster is given up that may live", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::GivenUpAlive)
        }),
        Property::always("S7 no leave by choice takes the group below its quorum", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::TooFewStay)
        }),
        Property::always("L4 who lets its instance go is off the list", |_: &Scenario, w: &World| {
            w.broken != Some(Broken::HookOfAMember)
        }),
        Property::always("L1-L3 once faults stop, all ends well", |scenario: &Scenario, w: &World| {
            ends_well(scenario, w)
        }),
    ]
}

/// What must come about in some state, so that a "never" has a meaning.
pub type Sometimes = (&'static str, fn(&Scenario, &World) -> bool);

pub const ALL_JOINED: Sometimes =
    ("every instance of the group is a voter of one cluster", |_, w| all_are_voters(w) && nobody_else_is(w));

pub const REPLACED: Sometimes =
    ("a later instance is a voter, and an earlier one has gone and is no member", |_, w| {
        let later = w.running().any(|(n, m)| m.later && is_voter(w, n));
        let gone = |(n, m): (Node, &Machine)| m.life == Life::Terminated && !names(w).any(|name| name == n);
        later && w.all().any(gone) && nobody_else_is(w)
    });

pub const LATE_FOUNDER: Sometimes = ("a founder starts where others have published", |_, w| {
    let late = |row: &Row| !row.published && row.name.is_some_and(|n| w.machine(n).etcd_runs);
    w.formed_cluster()
        .is_some_and(|c| w.clusters[c].list.iter().any(late) && w.clusters[c].list.iter().any(|r| r.published))
});

pub const WIPED_RETURNS: Sometimes = ("a founder's instance is a voter under a new id", |_, w| {
    w.running().any(|(n, m)| !m.later && m.log().is_some_and(|log| log.member >= FIRST_ADDED) && is_voter(w, n))
        && w.clusters.iter().any(|c| c.founding_list.len() == w.desired)
});

pub const NOTHING_IS_LEFT: Sometimes = ("no data is left of a cluster that the tag names", |_, w| {
    w.tags.cluster.is_some() && w.staying().all(|(_, m)| m.log().is_none()) && w.staying().count() == w.desired
});

fn names(world: &World) -> impl Iterator<Item = Node> {
    world.clusters.iter().flat_map(|c| &c.list).filter_map(|row| row.name)
}

fn is_voter(world: &World, n: Node) -> bool {
    let member = world.machine(n).log().map(|log| (log.cluster, log.member));
    member.and_then(|(c, id)| world.clusters[c].row(id)).is_some_and(|row| row.published && !row.learner)
}

/// Whether the agents owe it to this world that all ends well: most voters of its cluster live, or nothing is left of a
/// cluster and the tag names none.
fn is_owed(world: &World) -> bool {
    let held = |c: &usize| world.clusters[*c].formed && world.is_held(*c) && !world.is_given_up(*c);
    let mut formed = (0..world.clusters.len()).filter(held);
    // A damaged log cannot tell that it never had a leader, and who was added says that there was a cluster: a person has
    // to say that nothing is left of it.
    let added = |m: &Machine| m.log().is_some_and(|log| log.member >= FIRST_ADDED);
    let unclear = || world.staying().any(|(_, m)| m.damaged || added(m));
    let Some(cluster) = formed.next() else { return world.tags.cluster.is_none() && !unclear() };
    // Where a recovery ends after its tag, a person has to do it again, or undo the tag.
    let unborn = world.tags.cluster.is_some_and(|tag| world.clusters.iter().all(|c| c.id != tag));
    if unborn || is_a_persons(world) {
        return false;
    }
    let row = |member| world.clusters[cluster].row(member).is_some_and(|row| !row.learner);
    let lives = |m: &Machine| {
        m.life == Life::InService && !m.damaged && m.log().is_some_and(|log| log.cluster == cluster && row(log.member))
    };
    let living = world.nodes.iter().filter(|m| lives(m)).count();
    formed.next().is_none() && living >= quorum(world.clusters[cluster].voters())
}

/// L1, L3: every instance of the group is a published voter of one cluster.
pub fn all_are_voters(world: &World) -> bool {
    let Some(part) = world.formed_cluster().and_then(|cluster| etcd::quorate(world, cluster)) else { return false };
    let list = &world.clusters[part.cluster].list;
    let voter = |member| list.iter().any(|row| row.id == member && row.published && !row.learner);
    let group: Vec<_> = world.all().filter(|(_, m)| m.life.runs()).collect();
    group.len() == world.desired
        && group
            .iter()
            .filter(|(_, m)| !m.mute)
            .all(|(n, m)| part.nodes.contains(n) && m.log().is_some_and(|log| voter(log.member)))
}

/// L2: the cluster has no other members.
fn nobody_else_is(world: &World) -> bool {
    world.formed_cluster().is_some_and(|cluster| world.clusters[cluster].list.len() == world.desired)
}

/// Whether a person has put back a disk whose member has been removed since, or whose cluster is another now. Its node
/// refuses, rightly, and the member that it was in between is gone while its instance is there: only a person can help.
fn is_a_persons(world: &World) -> bool {
    let given_up = |m: &Machine| m.log().is_some_and(|log| world.is_given_up(log.cluster));
    world.running().filter(|(_, m)| m.put_back && !given_up(m)).any(|(_, m)| {
        let member = m.log().and_then(|log| world.clusters[log.cluster].row(log.member));
        member.is_none() || m.log().map(|log| log.cluster) != world.formed_cluster()
    })
}

/// Runs the agents fairly after the last fault. Where nobody watches only a node that joins removes the dead (F74): where
/// dead members are all that is left to do, one more instance is launched.
pub fn ends_well(scenario: &Scenario, world: &World) -> bool {
    let mut now = without_faults(scenario, world);
    if now.broken.is_some() || !is_owed(&now) {
        return true;
    }
    let mut newcomer = false;
    let mut passed = Vec::new();
    let well = loop {
        let hash = hash(&(&now, newcomer));
        let known = scenario.ends_well.lock().expect("no panic").contains(&hash);
        let voters = all_are_voters(&now);
        // What breaks on the way is found by the search.
        if known || now.broken.is_some() || (voters && nobody_else_is(&now)) {
            break true;
        }
        if !passed.contains(&hash) {
            passed.push(hash);
            now = round(scenario, now);
        } else if let Some(later) =
            later(scenario, &now).filter(|later| !passed.contains(&self::hash(&(later, newcomer))))
        {
            now = later;
        } else if voters && !newcomer && !now.is_watched() {
            newcomer = true;
            now.desired += 1;
        } else {
            break false;
        }
    };
    if well {
        scenario.ends_well.lock().expect("no panic").extend(passed);
    }
    well
}

/// What everyone says in the end, for people.
pub fn tell_the_end(scenario: &Scenario, world: &World) -> String {
    let now = (0..50).fold(without_faults(scenario, world), |now, _| round(scenario, now));
    let all = (0..).zip(&now.nodes).flat_map(|(n, _)| steps(scenario, &now, n, false));
    let lines = all.map(|event| format!("  {event:?}: {}", scenario.comment(&now, &event)));
    format!("and in the end\n{}\n{now:?}", lines.collect::<Vec<_>>().join("\n"))
}

/// No more faults, and those over that were under way: who was about to leave is gone, or leaves as it should.
fn without_faults(scenario: &Scenario, world: &World) -> World {
    let mut now =
        World { cut: Vec::new(), group_before: None, tags_before: None, left: Left::default(), ..world.clone() };
    for (n, m) in world.running() {
        if m.life == Life::Leaving && m.watch.is_some() {
            continue;
        }
        if m.life == Life::Leaving {
            now = scenario.step(&now, &Event::Terminate(n));
        }
        if m.life != Life::InService {
            now = scenario.step(&now, &Event::Terminated(n));
        }
    }
    now.nodes.iter_mut().for_each(|machine| machine.recovering = None);
    etcd::settle(&mut now);
    now
}

/// The world a minute on, if that changes anything. Time also passes for those that try the same again and again, such
/// as an agent that refuses and begins anew.
fn later(scenario: &Scenario, world: &World) -> Option<World> {
    let mut later = world.clone();
    later.happen(&Event::Minute, &scenario.rules);
    (later != *world).then_some(later)
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Everyone does what there is to do. Only when that is nothing, time passes, and then starts time out.
pub fn round(scenario: &Scenario, before: World) -> World {
    let mut now = before.clone();
    let mut cloud = Vec::new();
    now.cloud(&scenario.rules, &mut cloud);
    for event in cloud.iter().take(1) {
        now = scenario.step(&now, event);
    }
    for n in 0..u8::try_from(now.nodes.len()).expect("few nodes") {
        for event in steps(scenario, &now, n, false) {
            now = scenario.step(&now, &event);
        }
    }
    if now == before {
        now = later(scenario, &now).unwrap_or(now);
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
