//! An agent in the model: its steps, what must hold of its decisions, and what it sees.

use std::collections::{BTreeMap, BTreeSet};

use super::etcd::{self, Change, FIRST_ADDED, Row, Strict};
use super::memory::{Agent, Before, Memory, Said, Statement};
use super::mutations::Done;
use super::world::{Act, Address, Aws, Broken, Disk, Id, Life, Log, Machine, Member, Node, Read, Record, Rules, World};
use super::{Scenario, watching};

/// More changes of the own disk than any rule asks for between two looks at the world.
const CHANGES: usize = 8;

/// All that one pass of a node sees, in the model's words.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sight {
    pub me: Node,
    pub address: Address,
    pub data: Data,
    pub damaged: bool,
    pub record: Option<Record>,
    pub given_up: Vec<Id>,
    pub aws: Option<Aws>,
    /// AWS's reply is that of the pass before.
    pub last_reply: bool,
    pub aged: bool,
    pub detached: bool,
    pub plain: bool,
    pub answers: Vec<(Address, Answer)>,
    pub before: Before,
    /// Its metadata say that its group terminates it.
    pub leaves: bool,
    pub left: Option<(Id, Member, bool)>,
    /// It is `watch` that looks, in a group with a terminating hook or without.
    pub watches: bool,
    pub hooked: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Data {
    Empty,
    Backend,
    Log { cluster: Id, member: Member, led: bool, founders: Vec<Row> },
}

/// What comes from an address.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    Silence,
    Refused,
    Founding(Node, Said),
    Etcd { cluster: Id, member: Member, list: Vec<Row>, led: bool, learner: bool, leader: bool },
}

/// What the shipped code makes of a sight.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub act: Act,
    pub memory: Memory,
    /// The action's name and the reason's code.
    pub said: String,
}

// ---------------------------------------------------------------- steps

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
            w.founding = founding.or(w.founding.take());
            w.tag = cluster.or(w.tag);
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

/// A change that etcd accepts must leave it a leader.
fn call(world: &mut World, n: Node, via: Address, change: Change, rules: &Rules) {
    let quorate = |world: &World| world.formed_cluster().is_some_and(|c| etcd::quorate(world, c).is_some());
    let before = quorate(world);
    etcd::change(world, n, via, change, rules.strict);
    if before && !quorate(world) && rules.strict != Strict::Off {
        world.broken = world.broken.or(Some(Broken::QuorumAtRisk));
    }
}

/// What must hold of a decision at the moment of its look, judged by the world as it is and not as it was seen.
pub fn judge(world: &mut World, n: Node, act: &Act) {
    let broken = match act {
        Act::Wait | Act::Refuse | Act::Start { .. } | Act::Tag { .. } => None,
        Act::BeginRecord | Act::Agree(_) | Act::GiveUp(_) | Act::MarkLeft(..) => None,
        Act::Complete(instance) => watching::judge_completion(world, n, *instance),
        Act::SetAside { .. } => {
            let damaged = world.machine(n).damaged;
            // An etcd that does not run is in no quorum.
            let lives = |cluster| damaged && etcd::quorate(world, cluster).is_some();
            let needed = |log: &&Log| log.led && !makes_room(world, log.cluster) && !lives(log.cluster);
            let kept = world.machine(n).log().filter(needed);
            kept.map(|_| Broken::DataSetAside)
        }
        Act::Remove { member, via } => {
            let live = lives(world, n, *member) || watching::is_heard(world, n, *member);
            let live = live.then_some(Broken::LiveMemberRemoved);
            live.or(watching::judge_leave(world, n, *member))
                .or((!survives(world, *via, Change::Remove(*member))).then_some(Broken::QuorumAtRisk))
        }
        Act::Add { learner: true, .. } => None,
        Act::Add { learner: false, via } => {
            let change = Change::Add { address: world.machine(n).address, learner: false };
            (!survives(world, *via, change)).then_some(Broken::QuorumAtRisk)
        }
    };
    world.broken = world.broken.or(broken);
}

/// Whether a cluster was given up, and its successor has a quorum.
fn makes_room(world: &World, cluster: usize) -> bool {
    let successor = world.formed_cluster().filter(|c| Some(world.clusters[*c].id) == world.tag);
    world.is_given_up(cluster) && successor.is_some_and(|c| etcd::quorate(world, c).is_some())
}

/// Whether a member belongs to another machine that is there and stays: one with its log, or one at its address that was
/// added and is about to start.
fn lives(world: &World, remover: Node, member: Member) -> bool {
    world.all().filter(|(_, machine)| machine.life == Life::InService).any(|(n, machine)| {
        let owner = machine.log().is_some_and(|log| log.member == member && world.clusters[log.cluster].formed);
        let row = world.formed_cluster().and_then(|c| world.clusters[c].row(member));
        let joining = n != remover
            && machine.log().is_none()
            && row.is_some_and(|row| row.address == machine.address && row.name.is_none_or(|name| name == n));
        owner || joining
    })
}

/// Whether the voters that run are a quorum of the list after a change, one that is added counted as down: etcd's own
/// check may be off. Who of them is linked to whom, no agent can see; etcd's check does, see `carry_out`.
fn survives(world: &World, via: Address, change: Change) -> bool {
    let Some(part) = world.at(via).and_then(|speaker| etcd::quorate_with(world, speaker)) else { return true };
    let list = &world.clusters[part.cluster].list;
    let runs = |row: &&Row| {
        let is = |m: &Machine| m.log().is_some_and(|log| log.cluster == part.cluster && log.member == row.id);
        world.running().any(|(_, m)| m.etcd_runs && is(m))
    };
    let rest = || list.iter().filter(|row| !row.learner && change != Change::Remove(row.id));
    let added = usize::from(matches!(change, Change::Add { .. }));
    let learner = list.iter().any(|row| row.learner && change == Change::Remove(row.id));
    learner || rest().filter(runs).count() >= etcd::quorum(rest().count() + added)
}

// ---------------------------------------------------------------- what a node sees

pub fn see(world: &World, n: Node, read: Read, rules: &Rules) -> Sight {
    let before = match &world.machine(n).agent {
        Agent::Waiting(memory) | Agent::Decided(memory, _) => memory.before.clone(),
        Agent::Off => Before { untaggable: !rules.tag, ..Before::default() },
    };
    look_around(world, n, read, before, false)
}

pub fn look_around(world: &World, n: Node, read: Read, before: Before, watches: bool) -> Sight {
    let machine = world.machine(n);
    let data = match &machine.disk {
        Disk::Empty => Data::Empty,
        Disk::Backend => Data::Backend,
        Disk::Log(log) => Data::Log {
            cluster: world.clusters[log.cluster].id,
            member: log.member,
            led: log.led,
            founders: founders_of(world, log.cluster, log.member),
        },
    };
    let aws = world.aws(read);
    let answers = aws.as_ref().map(|aws| ask(world, n, aws, &before, watches)).unwrap_or_default();
    Sight {
        me: n,
        address: machine.address,
        data,
        damaged: machine.damaged,
        record: machine.record.clone(),
        given_up: machine.given_up.clone(),
        aws,
        last_reply: false,
        aged: world.aged,
        detached: world.detached,
        plain: world.plain,
        answers,
        before,
        leaves: machine.life != Life::InService,
        left: machine.left,
        watches,
        hooked: false,
    }
}

/// The initial cluster in a founder's log; who joined has none.
fn founders_of(world: &World, cluster: usize, member: Member) -> Vec<Row> {
    let founder = member < FIRST_ADDED;
    if founder { world.clusters[cluster].founding_list.clone() } else { Vec::new() }
}

/// Asks every instance of the group that may have an etcd, then every listed member: as `observe.rs` does. A watch asks
/// the own etcd too.
fn ask(world: &World, n: Node, aws: &Aws, before: &Before, watches: bool) -> Vec<(Address, Answer)> {
    let own = Some(world.machine(n).address).filter(|_| !watches);
    let listed = |life: Life| life.runs() && !(world.detached && life == Life::ShuttingDown);
    let group = aws.instances.iter().filter(|(life, ..)| listed(*life)).map(|(_, address, _)| *address);
    let mut asked: BTreeMap<Address, Answer> = BTreeMap::new();
    for address in group.filter(|address| Some(*address) != own) {
        asked.insert(address, answer(world, n, address));
    }
    let known = |name: Node| {
        let life = aws.instances.get(usize::from(name)).map(|(life, ..)| *life);
        let in_question = life.is_some_and(Life::runs) || before.asked.contains(&name);
        in_question && life == Some(Life::Terminated)
    };
    let listed: BTreeSet<Address> = asked
        .values()
        .flat_map(|answer| match answer {
            Answer::Etcd { list, .. } => list.as_slice(),
            Answer::Silence | Answer::Refused | Answer::Founding(..) => &[],
        })
        .filter(|row| !row.name.is_some_and(known))
        .map(|row| row.address)
        .filter(|address| Some(*address) != own)
        .collect();
    for address in listed {
        asked.entry(address).or_insert_with(|| answer(world, n, address));
    }
    asked.into_iter().collect()
}

pub fn answer(world: &World, from: Node, address: Address) -> Answer {
    let Some(n) = world.at(address).filter(|n| world.reaches(from, *n)) else { return Answer::Silence };
    let machine = world.machine(n);
    match (&machine.agent, machine.log()) {
        // It says that it agrees to nothing, if it has a record to say it with.
        _ if machine.recovering.is_some() => Answer::Founding(
            n,
            machine.record.as_ref().map(|record| Statement {
                founders: None,
                nonce: record.nonce,
                given_up: machine.given_up.clone(),
                agreed: None,
                recovers: true,
            }),
        ),
        (_, Some(log)) if machine.etcd_runs => {
            let cluster = &world.clusters[log.cluster];
            let list = log.stale.clone().unwrap_or_else(|| cluster.list.clone());
            let learner = list.iter().any(|row| row.id == log.member && row.learner);
            let leader = etcd::quorate_with(world, n).is_some();
            let (cluster, member, led) = (cluster.id, log.member, log.led);
            Answer::Etcd { cluster, member, list, led, learner, leader }
        }
        (Agent::Waiting(memory) | Agent::Decided(memory, _), _) => match &memory.said {
            Some(said) => Answer::Founding(n, said.clone()),
            None => Answer::Refused,
        },
        _ => Answer::Refused,
    }
}
