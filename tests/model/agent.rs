//! An agent in the model: its steps.

use super::Scenario;
use super::etcd::{self, Change, Strict};
use super::judge::{judge, lives};
use super::memory::Agent;
use super::mutations::Done;
use super::sight::{Outcome, Sight, see};
use super::world::{Act, Address, Broken, Disk, Life, Machine, Node, Read, Rules, World};

/// More changes of the own disk than any rule asks for between two looks at the world.
const CHANGES: usize = 8;

/// One pass: looks, decides, remembers. What changes this disk alone is done at once, and then it looks again with AWS's
/// last reply.
pub fn look(world: &mut World, n: Node, read: Read, scenario: &Scenario) {
    pass(world, n, read, scenario);
    if scenario.rules.tags_are_prompt && matches!(world.machine(n).agent, Agent::Decided(_, Act::Tag { .. })) {
        carry_out(world, n, &scenario.rules);
    }
    world.left.odd_reads -= u8::from(read != Read::Now);
}

/// The same where its tag is denied. Where it wants none, nothing happens.
pub fn denied(world: &mut World, n: Node, scenario: &Scenario) {
    let before = world.clone();
    pass(world, n, Read::Now, scenario);
    match &mut world.machine_mut(n).agent {
        Agent::Decided(memory, Act::Tag { .. }) => {
            memory.before.untaggable = true;
            let memory = memory.clone();
            world.machine_mut(n).agent = Agent::Waiting(memory);
            world.left.denials -= 1;
        }
        _ => *world = before,
    }
}

/// The same where the machine boots in the first change of its disk. Where it wants none, nothing happens.
pub fn interrupted(world: &mut World, n: Node, scenario: &Scenario) {
    let act = scenario.think(see(world, n, Read::Now, &scenario.rules)).act;
    let machine = world.machine_mut(n);
    match &act {
        // The founding is given up first (`apply`).
        Act::SetAside { gives_up: Some(cluster) } => {
            machine.give_up(*cluster);
            machine.record.iter_mut().for_each(|record| record.agreed = None);
        }
        act if own_disk(machine, act) => {}
        _ => return,
    }
    scenario.mutate_disk(Done::Half(&act), machine);
    machine.boots();
    world.left.reboots -= 1;
    etcd::settle(world);
}

fn pass(world: &mut World, n: Node, read: Read, scenario: &Scenario) {
    let mut sight = see(world, n, read, &scenario.rules);
    for _ in 0..CHANGES {
        let Outcome { act, memory, .. } = scenario.think(sight);
        judge(world, n, &act);
        let own = own_disk(world.machine_mut(n), &act);
        let machine = world.machine_mut(n);
        machine.agent = match &act {
            Act::Refuse => Agent::Off,
            Act::Wait => Agent::Waiting(memory),
            _ if own => Agent::Waiting(memory),
            _ => Agent::Decided(memory, act.clone()),
        };
        if !own {
            break;
        }
        scenario.mutate_disk(Done::Whole(&act), machine);
        sight = Sight { last_reply: true, ..see(world, n, read, &scenario.rules) };
    }
}

/// Whether an act changes the own disk alone; then it is done.
fn own_disk(machine: &mut Machine, act: &Act) -> bool {
    match act {
        Act::SetAside { gives_up } => {
            gives_up.iter().for_each(|cluster| machine.give_up(*cluster));
            machine.loses(Disk::Empty);
        }
        Act::BeginRecord => machine.begin_record(),
        Act::Agree(founders) => machine.record.as_mut().expect("it was begun").agreed = Some(founders.clone()),
        Act::GiveUp(cluster) => {
            machine.give_up(*cluster);
            machine.begin_record();
        }
        _ => return false,
    }
    true
}

/// Does what was decided in the last pass.
pub fn carry_out(world: &mut World, n: Node, rules: &Rules) {
    let Agent::Decided(mut memory, act) = std::mem::replace(&mut world.machine_mut(n).agent, Agent::Off) else {
        return;
    };
    memory.before.note(&act);
    world.machine_mut(n).agent = Agent::Waiting(memory);
    enact(world, n, act, rules);
}

/// What changes more than the own disk.
pub fn enact(world: &mut World, n: Node, act: Act, rules: &Rules) {
    match act {
        Act::Tag { founding, cluster } => world.aws_changes(|w| {
            w.tags.founding = founding.or(w.tags.founding.take());
            w.tags.cluster = cluster.or(w.tags.cluster);
        }),
        Act::Remove { member, via } => {
            if lives(world, n, member) {
                world.broken = Some(Broken::LiveMemberRemoved);
            }
            call(world, n, via, Change::Remove(member), rules);
        }
        Act::Add { learner, via } => {
            let address = world.machine(n).address;
            call(world, n, via, Change::Add { address, learner }, rules);
        }
        Act::Start { new, list } => etcd::start(world, n, new, &list),
        _ => unreachable!("it was done in the look"),
    }
}

/// A change that etcd accepts must leave it a leader, if it would have one without those that are shutting down, too: who
/// removes one of them takes nothing away that lasts.
fn call(world: &mut World, n: Node, via: Address, change: Change, rules: &Rules) {
    let quorate = |world: &World| world.formed_cluster().is_some_and(|c| etcd::quorate(world, c).is_some());
    let mut soon = world.clone();
    soon.nodes.iter_mut().filter(|m| m.life == Life::ShuttingDown).for_each(|m| m.etcd_runs = false);
    let before = quorate(&soon);
    etcd::change(world, n, via, change, rules.strict);
    if before && !quorate(world) && rules.strict != Strict::Off {
        world.broken = world.broken.or(Some(Broken::QuorumAtRisk));
    }
}
