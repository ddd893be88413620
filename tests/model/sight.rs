//! What a node sees.

use std::collections::{BTreeMap, BTreeSet};

use super::etcd::{self, FIRST_ADDED, Row};
use super::memory::{Agent, Before, Memory, Said, Statement};
use super::world::{Act, Address, Aws, Disk, Id, Life, Member, Node, Read, Record, Rules, World};

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
    let group = aws.group.instances.iter().filter(|(life, ..)| listed(*life)).map(|(_, address, _)| *address);
    let mut asked: BTreeMap<Address, Answer> = BTreeMap::new();
    for address in group.filter(|address| Some(*address) != own) {
        asked.insert(address, answer(world, n, address));
    }
    let known = |name: Node| {
        let life = aws.group.instances.get(usize::from(name)).map(|(life, ..)| *life);
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
