//! The state of the world as plain data, and what happens to it besides the agents: AWS, faults, time.
//!
//! Everything is small and canonical, so that equal situations are equal values: an instance is its number in the order
//! of ids, an address its last octet, a time "young" or "old".

use super::etcd::{self, Cluster, Row};
use super::memory::{Agent, Watch};

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
    pub tags: Tags,
    /// The first instances were launched long ago.
    pub aged: bool,
    /// A person detaches from the group whom they terminate.
    pub detached: bool,
    /// No Auto Scaling group launches them. That their tags go with the last one that has them is among `untags`.
    pub plain: bool,
    /// What AWS said of the group's instances before their last change, and still may say: its reads lag.
    pub group_before: Option<Group>,
    /// The same of its tags. The two are kept apart, so that a reply of each age may come with one of the other.
    pub tags_before: Option<Tags>,
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
    /// Nothing is installed on it that would ever run.
    pub mute: bool,
    pub disk: Disk,
    pub record: Option<Record>,
    /// What the data directory remembers to have given up, for as long as the disk is not wiped.
    pub given_up: Vec<Id>,
    /// How many records this instance has begun.
    pub nonces: Nonce,
    /// A copy of the disk as it was before a wipe.
    pub saved: Option<(Log, Option<Record>)>,
    /// The disk is such a copy.
    pub put_back: bool,
    /// No etcd starts on the log.
    pub damaged: bool,
    pub etcd_runs: bool,
    /// Nothing runs before etcd when etcd does: then it is `Off`.
    pub agent: Agent,
    /// A person recovers here: the tag names this cluster, and its data is not in its place yet.
    pub recovering: Option<Id>,
    /// What goes along with its life; None where its unit is not enabled, or it has died for good.
    pub watch: Option<Watch>,
    /// The mark of the member that has left, and whether it is old. It outlives the data.
    pub left: Option<(Id, Member, bool)>,
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
    MarkLeft(Id, Member),
    /// Ends an instance's wait for its terminating hook.
    Complete(Node),
}

impl Act {
    pub fn is_call(&self) -> bool {
        matches!(self, Self::Remove { .. } | Self::Add { .. } | Self::Tag { .. } | Self::Complete(_))
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
    /// Logs damaged in their middle.
    pub damages: u8,
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
    /// Calls that would tag the group and are denied.
    pub denials: u8,
    /// A person gives the cluster up and recovers on one node.
    pub recoveries: u8,
    /// Watches that end and are not started again.
    pub dead_watches: u8,
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
    GivenUpAlive,
    TooFewStay,
    HookOfAMember,
}

/// What AWS says when asked for everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Aws {
    pub group: Group,
    pub tags: Tags,
}

/// The instances that were ever launched, each with whether that was later than the first ones.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Group {
    pub instances: Vec<(Life, Address, bool)>,
    pub desired: usize,
}

/// The group's tags.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tags {
    pub cluster: Option<Id>,
    pub founding: Option<Founders>,
    pub replaced: Vec<Id>,
}

/// How a read of AWS goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Read {
    Now,
    Before,
    OldGroup,
    OldTags,
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
    /// `watch` is enabled on what is launched.
    pub watched: bool,
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
        watched: false,
        disks_outlast_publication: true,
        replacements_are_late: true,
        calls_are_prompt: true,
        tags_are_prompt: true,
        strict: etcd::Strict::Quorum,
    };
}

impl Machine {
    pub fn new(address: Address, later: bool) -> Self {
        Self {
            life: Life::InService,
            address,
            later,
            mute: false,
            disk: Disk::Empty,
            record: None,
            given_up: Vec::new(),
            nonces: 0,
            saved: None,
            put_back: false,
            damaged: false,
            etcd_runs: false,
            agent: Agent::Off,
            recovering: None,
            watch: None,
            left: None,
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
        self.put_back = false;
        self.damaged = false;
    }

    pub fn log(&self) -> Option<&Log> {
        match &self.disk {
            Disk::Log(log) => Some(log),
            Disk::Empty | Disk::Backend => None,
        }
    }

    pub fn log_mut(&mut self) -> Option<&mut Log> {
        match &mut self.disk {
            Disk::Log(log) => Some(log),
            Disk::Empty | Disk::Backend => None,
        }
    }

    /// Whether a call is on its way.
    pub fn calls(&self) -> bool {
        let by_agent = matches!(&self.agent, Agent::Decided(_, act) if act.is_call());
        by_agent || self.watch.as_ref().and_then(|watch| watch.act.as_ref()).is_some_and(Act::is_call)
    }

    pub fn boots(&mut self) {
        self.etcd_runs = false;
        self.agent = Agent::Off;
        self.recovering = None;
        self.watch = self.watch.take().map(|_| Watch::default());
    }
}

impl World {
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

    /// Whether anybody stays whose watch removes the dead.
    pub fn is_watched(&self) -> bool {
        self.all().any(|(_, m)| m.life == Life::InService && m.watch.is_some())
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
        let group = match read {
            Read::Now | Read::OldTags => self.group(),
            Read::Before | Read::OldGroup => self.group_before.clone()?,
            Read::Nothing => return None,
        };
        let tags = match read {
            Read::Before | Read::OldTags => self.tags_before.clone()?,
            Read::Now | Read::OldGroup | Read::Nothing => self.tags.clone(),
        };
        Some(Aws { group, tags })
    }

    pub fn group(&self) -> Group {
        let instances = self.nodes.iter().map(|m| (m.life, m.address, m.later)).collect();
        Group { instances, desired: self.desired }
    }

    /// A change of AWS that reads may not show yet.
    pub fn aws_changes(&mut self, change: impl FnOnce(&mut Self)) {
        let (group, tags) = (self.group(), self.tags.clone());
        change(self);
        if self.left.odd_reads > 0 {
            self.group_before = Some(group).filter(|group| *group != self.group()).or(self.group_before.take());
            self.tags_before = Some(tags).filter(|tags| *tags != self.tags).or(self.tags_before.take());
        }
    }

    /// The cluster that had a leader and was not given up: one whose data is still there before one whose data is lost.
    pub fn formed_cluster(&self) -> Option<usize> {
        let formed = |c: &usize| self.clusters[*c].formed && !self.is_given_up(*c);
        let all = || (0..self.clusters.len()).filter(formed);
        all().find(|c| self.is_held(*c)).or_else(|| all().next())
    }

    /// Whether a person has recovered another cluster from this one.
    pub fn is_given_up(&self, cluster: usize) -> bool {
        self.tags.replaced.contains(&self.clusters[cluster].id)
    }

    /// Whether an instance that stays has data of a cluster that was led.
    pub fn is_held(&self, cluster: usize) -> bool {
        self.staying().filter_map(|(_, m)| m.log()).any(|log| log.cluster == cluster && log.led)
    }
}
