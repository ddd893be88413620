//! The state of the world as plain data, and what happens to it besides the agents: AWS, faults, time.
//!
//! Everything is small and canonical, so that equal situations are equal values: an instance is its number in the order
//! of ids, an address its last octet, a time "young" or "old".

use super::agent;
use super::etcd::{self, Cluster, Row};

/// A cluster's id, as the shipped code and etcd derive it.
pub type Id = u64;
/// The nonce of a disk, counted for each instance.
pub type Nonce = u8;

/// An instance by its number: `i-00000002` is 2.
pub type Node = u8;
/// An address by its last octet.
pub type Address = u8;
/// A member's id: a founder's is its address, as etcd derives it from the URLs (membership/member.go:63); the others' are
/// counted from [`etcd::FIRST_ADDED`].
pub type Member = u8;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    /// Every instance that was ever launched.
    pub nodes: Vec<Machine>,
    pub desired: usize,
    /// The group's tag `cluster-id`.
    pub tag: Option<Id>,
    /// The group's tag `founding`.
    pub founding: Option<Founders>,
    /// The first instances were launched long ago.
    pub aged: bool,
    /// What AWS said before its last change, and still may say: its reads lag.
    pub aws_before: Option<Aws>,
    /// Links that are cut, from one instance to another: a security group cuts one direction alone.
    pub cut: Vec<(Node, Node)>,
    pub clusters: Vec<Cluster>,
    pub left: Left,
    /// A state in which something that never may happen has happened is the end.
    pub broken: Option<Broken>,
}

/// An agreement: each founder with the disk that agreed, None for one that was silent.
pub type Founders = Vec<(Node, Address, Option<Nonce>)>;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Machine {
    pub life: Life,
    pub address: Address,
    /// Not with the first instances of the group.
    pub later: bool,
    pub disk: Disk,
    pub record: Option<Record>,
    /// What the data directory remembers to have given up, for as long as the disk is not wiped.
    pub given_up: Vec<Id>,
    /// How many records this instance has begun.
    pub nonces: Nonce,
    /// A copy of the disk as it was before a wipe.
    pub saved: Option<(Log, Option<Record>)>,
    pub etcd_runs: bool,
    /// Nothing runs before etcd when etcd does: then it is `Off`.
    pub agent: Agent,
}

/// What AWS makes of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Life {
    InService,
    /// `Terminating:Wait` in its group; it still runs.
    Leaving,
    /// `shutting-down`: it still runs and answers, but not for long.
    ShuttingDown,
    /// The machine is gone; EC2 remembers it without an address.
    Terminated,
    /// Unknown to EC2.
    Forgotten,
}

impl Life {
    pub fn runs(self) -> bool {
        matches!(self, Self::InService | Self::Leaving | Self::ShuttingDown)
    }

    /// EC2 gives no sign that it will go: its data counts.
    pub fn stays(self) -> bool {
        matches!(self, Self::InService | Self::Leaving)
    }
}

/// `model::Record` but for what was given up, which outlives it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Record {
    pub nonce: Nonce,
    pub agreed: Option<Founders>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Disk {
    Empty,
    /// A backend without its log.
    Backend,
    Log(Log),
}

/// etcd's own log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Log {
    pub cluster: usize,
    pub member: Member,
    /// Has heard of a leader.
    pub led: bool,
    /// Holds all that was acknowledged.
    pub fresh: bool,
    /// The member list as this member knows it, where that is not the latest.
    pub stale: Option<Vec<Row>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Agent {
    /// About to begin, for the first time or after a refusal: etcd's unit runs it again whatever its exit code is.
    Off,
    Waiting(Memory),
    /// Has decided and not yet acted: the world may change in between.
    Decided(Memory, Act),
}

/// What one pass leaves to the next, and to the other founders.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Memory {
    pub before: Before,
    /// What the founders' port answers; None where it is closed.
    pub said: Option<Said>,
}

/// None is a 404.
pub type Said = Option<Statement>;

/// `model::Statement` but for who says it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Statement {
    pub founders: Option<Vec<Node>>,
    pub nonce: Nonce,
    pub given_up: Vec<Id>,
    pub agreed: Option<Id>,
}

/// `model::Before`, made finite.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Before {
    pub founders: Option<(Vec<Node>, Standing)>,
    pub suspects: Vec<(Member, Standing)>,
    pub asked: Vec<Node>,
    pub forgotten: Vec<(Node, Standing)>,
    /// The founding that this run has tagged.
    pub tagged: Option<Founders>,
}

/// For how long and in how many reads something was found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Standing {
    pub twice: bool,
    /// Longer than any grace.
    pub old: bool,
}

/// `model::Action`, made finite.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Act {
    Wait,
    /// The agent ends, and its memory with it.
    Refuse,
    Remove {
        member: Member,
        via: Address,
    },
    Add {
        learner: bool,
        via: Address,
    },
    Tag {
        founding: Option<Founders>,
        cluster: Option<Id>,
    },
    SetAside {
        gives_up: Option<Id>,
    },
    BeginRecord,
    Agree(Founders),
    GiveUp(Id),
    Start {
        /// The cluster that it begins; None for `existing`.
        new: Option<Id>,
        list: Vec<(Option<Node>, Address)>,
    },
}

impl Act {
    fn is_call(&self) -> bool {
        matches!(self, Self::Remove { .. } | Self::Add { .. } | Self::Tag { .. })
    }
}

/// How much may still go wrong.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Left {
    pub reboots: u8,
    /// ReplaceRootVolume: a reboot with an empty disk.
    pub wipes: u8,
    /// Logs lost while the backend stays.
    pub log_losses: u8,
    pub terminations: u8,
    /// Terminated instances that EC2 forgets.
    pub forgotten: u8,
    pub cuts: u8,
    /// Reads of AWS that give an older state, or nothing.
    pub odd_reads: u8,
    pub scale_ins: u8,
    pub scale_outs: u8,
    /// Disks that are put back as they were before they were wiped.
    pub restores: u8,
    /// The group's tags removed by hand.
    pub untags: u8,
}

/// What may never happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Broken {
    SecondCluster,
    TwoFoundings,
    DataLost,
    LiveMemberRemoved,
    QuorumAtRisk,
    DataSetAside,
    IdUsedTwice,
    OldBackendOpened,
}

/// What AWS says when asked for everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Aws {
    pub instances: Vec<(Life, Address, bool)>,
    pub desired: usize,
    pub tag: Option<Id>,
    pub founding: Option<Founders>,
}

/// How a read of AWS goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Read {
    Now,
    Before,
    Nothing,
}

/// What is possible in a scenario beside its `Left`.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A replacement may get a dead one's address.
    pub addresses_are_reused: bool,
    /// The role may write the group's tags. Where it may not, its agents know that from the start.
    pub tag: bool,
    /// An instance may be `Terminating:Wait` before it goes.
    pub leaves_slowly: bool,
    /// No disk is lost, and no address used again, in the moments between the first entry of a learner, or of a founder
    /// that was silent at the agreement, and the publication of its URLs.
    pub disks_outlast_publication: bool,
    /// A replacement is launched later than `SAME_GENERATION` after the first instances of the group.
    pub replacements_are_late: bool,
    /// From a look to the call that it leads to, no instance boots and no grace runs out.
    pub calls_are_prompt: bool,
    /// From a look to the tag that it leads to, nothing happens at all.
    pub tags_are_prompt: bool,
    pub strict: etcd::Strict,
}

impl Rules {
    pub const USUAL: Self = Self {
        addresses_are_reused: false,
        tag: true,
        leaves_slowly: false,
        disks_outlast_publication: true,
        replacements_are_late: true,
        calls_are_prompt: true,
        tags_are_prompt: true,
        strict: etcd::Strict::Quorum,
    };
}

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    // An agent
    Look(Node, Read),
    Carry(Node),
    // An etcd and what follows its start
    Publish(Node),
    Promote(Node),
    Tag(Node),
    StartTimesOut(Node),
    // AWS
    Leave(Node),
    Terminate(Node),
    Terminated(Node),
    Forget(Node),
    Launch(Address),
    ScaleIn(Node),
    ScaleOut,
    // Faults
    Reboot(Node),
    Wipe(Node),
    Restore(Node),
    Untag,
    LoseLog(Node),
    Cut(Node, Node),
    Isolate(Node),
    Heal,
    // Time
    Minute,
}

impl Machine {
    fn new(address: Address, later: bool) -> Self {
        Self {
            life: Life::InService,
            address,
            later,
            disk: Disk::Empty,
            record: None,
            given_up: Vec::new(),
            nonces: 0,
            saved: None,
            etcd_runs: false,
            agent: Agent::Off,
        }
    }

    pub fn begin_record(&mut self) {
        self.nonces += 1;
        self.record = Some(Record { nonce: self.nonces, agreed: None });
    }

    pub fn give_up(&mut self, cluster: Id) {
        if !self.given_up.contains(&cluster) {
            self.given_up.push(cluster);
        }
    }

    /// The record goes with the log that it lies beside.
    pub fn loses(&mut self, disk: Disk) {
        self.disk = disk;
        self.record = None;
    }

    pub fn log(&self) -> Option<&Log> {
        match &self.disk {
            Disk::Log(log) => Some(log),
            Disk::Empty | Disk::Backend => None,
        }
    }

    fn boots(&mut self) {
        self.etcd_runs = false;
        self.agent = Agent::Off;
    }
}

impl World {
    /// A fresh group.
    pub fn fresh(nodes: u8, left: Left) -> Self {
        Self {
            nodes: (0..nodes).map(|n| Machine::new(n, false)).collect(),
            desired: usize::from(nodes),
            tag: None,
            founding: None,
            aged: false,
            aws_before: None,
            cut: Vec::new(),
            clusters: Vec::new(),
            left,
            broken: None,
        }
    }

    /// A formed cluster of the first `members` instances of a group of `nodes`.
    pub fn formed(members: u8, nodes: u8, tag: bool, left: Left) -> Self {
        let mut world = Self::fresh(nodes, left);
        let founders: Founders = (0..members).map(|n| (n, n, Some(1))).collect();
        let id = agent::id_of(&founders);
        let begun = founders.iter().map(|(n, _, nonce)| (*n, nonce.expect("it has one"))).collect();
        let row = |n| Row { id: n, address: n, name: Some(n), published: true, learner: false, ran: true };
        let list: Vec<Row> = (0..members).map(row).collect();
        let founding_list = list.clone();
        world.clusters.push(Cluster { id, founding_list, begun, formed: true, list });
        for machine in &mut world.nodes[..usize::from(members)] {
            let member = machine.address;
            machine.disk = Disk::Log(Log { cluster: 0, member, led: true, fresh: true, stale: None });
            machine.begin_record();
            machine.record = Some(Record { nonce: 1, agreed: Some(founders.clone()) });
            machine.etcd_runs = true;
        }
        world.tag = tag.then_some(id);
        world.founding = tag.then_some(founders);
        world
    }

    pub fn machine(&self, n: Node) -> &Machine {
        &self.nodes[usize::from(n)]
    }

    pub fn machine_mut(&mut self, n: Node) -> &mut Machine {
        &mut self.nodes[usize::from(n)]
    }

    pub fn all(&self) -> impl Iterator<Item = (Node, &Machine)> {
        (0..).zip(&self.nodes)
    }

    pub fn running(&self) -> impl Iterator<Item = (Node, &Machine)> {
        self.all().filter(|(_, m)| m.life.runs())
    }

    pub fn staying(&self) -> impl Iterator<Item = (Node, &Machine)> {
        self.all().filter(|(_, m)| m.life.stays())
    }

    /// Who answers at an address.
    pub fn at(&self, address: Address) -> Option<Node> {
        self.running().find(|(_, m)| m.address == address).map(|(n, _)| n)
    }

    pub fn reaches(&self, from: Node, to: Node) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Members of etcd need both ways.
    pub fn linked(&self, one: Node, other: Node) -> bool {
        self.reaches(one, other) && self.reaches(other, one)
    }

    pub fn aws(&self, read: Read) -> Option<Aws> {
        match read {
            Read::Now => Some(self.aws_now()),
            Read::Before => self.aws_before.clone(),
            Read::Nothing => None,
        }
    }

    fn aws_now(&self) -> Aws {
        let instances = self.nodes.iter().map(|m| (m.life, m.address, m.later)).collect();
        Aws { instances, desired: self.desired, tag: self.tag, founding: self.founding.clone() }
    }

    /// A change of AWS that reads may not show yet.
    pub fn aws_changes(&mut self, change: impl FnOnce(&mut Self)) {
        self.aws_before = (self.left.odd_reads > 0).then(|| self.aws_now());
        change(self);
    }

    /// The cluster that had a leader; two are a broken world.
    pub fn formed_cluster(&self) -> Option<usize> {
        self.clusters.iter().position(|c| c.formed)
    }

    /// Everything that may happen next.
    pub fn events(&self, rules: &Rules) -> Vec<Event> {
        let mut events = Vec::new();
        if self.broken.is_some() {
            return events;
        }
        for (n, m) in self.running() {
            self.steps(n, m, rules, &mut events);
            self.faults(n, m, rules, &mut events);
        }
        self.cloud(rules, &mut events);
        if !self.cut.is_empty() {
            events.push(Event::Heal);
        }
        let tagged = self.tag.is_some() || self.founding.is_some();
        events.extend((self.left.untags > 0 && tagged).then_some(Event::Untag));
        // Calls to etcd have a deadline of seconds.
        if !rules.calls_are_prompt
            || !self.nodes.iter().any(|m| matches!(&m.agent, Agent::Decided(_, act) if act.is_call()))
        {
            events.push(Event::Minute);
        } else {
            events.retain(|event| !matches!(event, Event::Launch(_)));
        }
        events
    }

    /// What a node does by itself.
    pub fn steps(&self, n: Node, m: &Machine, rules: &Rules, events: &mut Vec<Event>) {
        match &m.agent {
            Agent::Off | Agent::Waiting(_) if !m.etcd_runs => {
                events.push(Event::Look(n, Read::Now));
                if self.left.odd_reads > 0 {
                    events.push(Event::Look(n, Read::Nothing));
                    events.extend(self.aws_before.is_some().then_some(Event::Look(n, Read::Before)));
                }
            }
            Agent::Decided(..) => events.push(Event::Carry(n)),
            Agent::Off | Agent::Waiting(_) => {}
        }
        if m.etcd_runs {
            events.extend(etcd::may_publish(self, n).then_some(Event::Publish(n)));
            events.extend(etcd::may_promote(self, n).then_some(Event::Promote(n)));
            events.extend((rules.tag && etcd::may_tag(self, n)).then_some(Event::Tag(n)));
            // A unit of etcd is started once its etcd has a leader; until then systemd's timeout ends it.
            events.extend(m.log().is_some_and(|log| !log.led).then_some(Event::StartTimesOut(n)));
        }
    }

    fn faults(&self, n: Node, m: &Machine, rules: &Rules, events: &mut Vec<Event>) {
        let left = &self.left;
        events.extend((left.reboots > 0).then_some(Event::Reboot(n)));
        if m.disk != Disk::Empty {
            let too_soon = rules.disks_outlast_publication && etcd::ran_unseen(self, m.address);
            events.extend((left.wipes > 0 && !too_soon).then_some(Event::Wipe(n)));
            events.extend((left.log_losses > 0 && m.disk != Disk::Backend && !too_soon).then_some(Event::LoseLog(n)));
        }
        events.extend((left.restores > 0 && m.saved.is_some()).then_some(Event::Restore(n)));
        if left.cuts > 0 {
            let others = self.running().map(|(other, _)| other).filter(|other| *other != n);
            events.extend(others.filter(|o| self.reaches(n, *o)).map(|other| Event::Cut(n, other)));
            events.push(Event::Isolate(n));
        }
        match m.life {
            Life::InService => {
                if left.terminations > 0 {
                    events.push(Event::Terminate(n));
                    events.extend(rules.leaves_slowly.then_some(Event::Leave(n)));
                }
                events.extend((left.scale_ins > 0 && self.desired > 1).then_some(Event::ScaleIn(n)));
            }
            Life::Leaving => events.push(Event::Terminate(n)),
            Life::ShuttingDown | Life::Terminated | Life::Forgotten => {}
        }
    }

    /// What AWS does by itself.
    pub fn cloud(&self, rules: &Rules, events: &mut Vec<Event>) {
        for (n, m) in self.all() {
            match m.life {
                Life::ShuttingDown => events.push(Event::Terminated(n)),
                Life::Terminated if self.left.forgotten > 0 => events.push(Event::Forget(n)),
                Life::InService | Life::Leaving | Life::Terminated | Life::Forgotten => {}
            }
        }
        if self.left.scale_outs > 0 {
            events.push(Event::ScaleOut);
        }
        let in_service = self.all().filter(|(_, m)| m.life == Life::InService).count();
        if in_service < self.desired {
            let held = |a: &Address| self.all().any(|(_, m)| m.address == *a && m.life.runs());
            let fresh = self.nodes.iter().map(|m| m.address + 1).max().unwrap_or(0);
            events.push(Event::Launch(fresh));
            if rules.addresses_are_reused {
                let too_soon = |a: &Address| rules.disks_outlast_publication && etcd::ran_unseen(self, *a);
                events.extend((0..fresh).filter(|a| !held(a) && !too_soon(a)).map(Event::Launch));
            }
        }
    }

    /// The world after an event that is no agent's.
    pub fn happen(&mut self, event: &Event, rules: &Rules) {
        match *event {
            Event::Look(..) | Event::Carry(_) => unreachable!("agents do these"),
            Event::Publish(n) => etcd::publish(self, n),
            Event::Promote(n) => etcd::promote(self, n),
            Event::Tag(n) => {
                let cluster = self.machine(n).log().expect("it runs").cluster;
                let id = self.clusters[cluster].id;
                self.aws_changes(|w| w.tag = Some(id));
            }
            Event::Untag => {
                self.left.untags -= 1;
                self.aws_changes(|w| (w.tag, w.founding) = (None, None));
            }
            Event::StartTimesOut(n) | Event::Reboot(n) => {
                self.left.reboots -= u8::from(matches!(event, Event::Reboot(_)));
                self.machine_mut(n).boots();
            }
            Event::Wipe(n) => {
                self.left.wipes -= 1;
                let kept = self.left.restores > 0;
                let machine = self.machine_mut(n);
                machine.boots();
                machine.saved = machine.log().filter(|_| kept).map(|log| (log.clone(), machine.record.clone()));
                machine.loses(Disk::Empty);
                machine.given_up.clear();
            }
            Event::Restore(n) => {
                self.left.restores -= 1;
                let machine = self.machine_mut(n);
                machine.boots();
                let (log, record) = machine.saved.take().expect("it was saved");
                machine.disk = Disk::Log(Log { fresh: false, ..log });
                machine.record = record;
            }
            Event::LoseLog(n) => {
                self.left.log_losses -= 1;
                self.machine_mut(n).boots();
                self.machine_mut(n).disk = Disk::Backend;
                // The record lies beside the backend: it is set aside together with it.
            }
            Event::Leave(n) => {
                self.left.terminations -= 1;
                self.aws_changes(|w| w.machine_mut(n).life = Life::Leaving);
            }
            Event::Terminate(n) => {
                self.left.terminations -= u8::from(self.machine(n).life == Life::InService);
                self.aws_changes(|w| w.machine_mut(n).life = Life::ShuttingDown);
            }
            Event::ScaleIn(n) => {
                self.left.scale_ins -= 1;
                self.aws_changes(|w| w.machine_mut(n).life = Life::ShuttingDown);
                self.desired -= 1;
            }
            Event::Terminated(n) => self.aws_changes(|w| {
                let machine = w.machine_mut(n);
                machine.boots();
                machine.life = Life::Terminated;
                machine.loses(Disk::Empty);
                machine.given_up.clear();
                machine.saved = None;
                machine.nonces = 0;
                w.cut.retain(|(from, to)| *from != n && *to != n);
            }),
            Event::Forget(n) => {
                self.left.forgotten -= 1;
                self.aws_changes(|w| w.machine_mut(n).life = Life::Forgotten);
            }
            Event::ScaleOut => {
                self.left.scale_outs -= 1;
                self.aws_changes(|w| w.desired += 1);
            }
            Event::Launch(address) => {
                let machine = Machine::new(address, rules.replacements_are_late);
                self.aws_changes(|w| w.nodes.push(machine));
            }
            Event::Cut(from, to) => {
                self.left.cuts -= 1;
                self.cut_links([(from, to)]);
            }
            Event::Isolate(n) => {
                self.left.cuts -= 1;
                let others: Vec<Node> = self.running().map(|(other, _)| other).filter(|other| *other != n).collect();
                self.cut_links(others.into_iter().flat_map(|other| [(n, other), (other, n)]));
            }
            Event::Heal => self.cut.clear(),
            Event::Minute => self.minute(),
        }
        etcd::settle(self);
    }

    fn cut_links(&mut self, links: impl IntoIterator<Item = (Node, Node)>) {
        self.cut.extend(links);
        self.cut.sort_unstable();
        self.cut.dedup();
    }

    /// Enough time for every grace. AWS's reads have caught up by then.
    fn minute(&mut self) {
        self.aws_before = None;
        for machine in &mut self.nodes {
            let (Agent::Waiting(memory) | Agent::Decided(memory, _)) = &mut machine.agent else { continue };
            let before = &mut memory.before;
            before.founders.iter_mut().for_each(|(_, standing)| standing.old = true);
            before.suspects.iter_mut().for_each(|(_, standing)| standing.old = true);
            before.forgotten.iter_mut().for_each(|(_, standing)| standing.old = true);
        }
    }
}
