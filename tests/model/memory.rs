//! What an agent and a watch have in mind: what one pass leaves to the next.

use super::world::{Act, Founders, Id, Member, Node, Nonce};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Agent {
    /// About to begin, for the first time or after a refusal: etcd's unit runs it again whatever its exit code is.
    Off,
    Waiting(Memory),
    /// Has decided and not yet acted: the world may change in between.
    Decided(Memory, Act),
}

/// `watch`, which looks whether an etcd runs or not.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Watch {
    pub before: Before,
    /// Decided, and not yet done.
    pub act: Option<Act>,
    /// Another has left since.
    pub raced: bool,
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
    pub recovers: bool,
}

/// `model::History`, made finite.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Before {
    pub founders: Option<(Vec<Node>, Sighting)>,
    pub suspects: Vec<(Member, Sighting)>,
    pub asked: Vec<Node>,
    pub forgotten: Vec<(Node, Sighting)>,
    /// The founding that this run has tagged.
    pub tagged: Option<Founders>,
    /// The cluster that this run has tagged.
    pub cluster_tagged: Option<Id>,
    pub untaggable: bool,
    /// The rest is of use to a watch alone.
    pub silent_leavers: Vec<(Node, Sighting)>,
    pub awaited: Vec<(Member, Sighting)>,
    /// It leaves, and has done so for long.
    pub leaving: Option<bool>,
    pub completed: Vec<Node>,
}

impl Before {
    /// Remembers a tag that is written.
    pub fn note(&mut self, act: &Act) {
        if let Act::Tag { founding, cluster } = act {
            self.tagged = founding.clone().or(self.tagged.take());
            self.cluster_tagged = cluster.or(self.cluster_tagged);
        }
    }

    /// Time passes, enough for every grace.
    pub fn ages(&mut self) {
        self.founders.iter_mut().for_each(|(_, standing)| standing.old = true);
        let members = self.suspects.iter_mut().chain(&mut self.awaited).map(|(_, standing)| standing);
        let nodes = self.forgotten.iter_mut().chain(&mut self.silent_leavers).map(|(_, standing)| standing);
        members.chain(nodes).for_each(|standing| standing.old = true);
        self.leaving = self.leaving.map(|_| true);
    }
}

/// For how long and in how many reads something was found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sighting {
    pub twice: bool,
    /// Longer than any grace.
    pub old: bool,
}
