//! What may be wrong with a cluster: a word for programs, and a sentence.

use serde::Serialize;

/// What keeps a cluster from being called sound, as programs are told it: what weighs most comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The metadata did not tell who this node is.
    MetadataBlind,
    /// Auto Scaling did not tell of the group.
    GroupBlind,
    /// EC2 did not tell of the instances.
    Ec2Blind,
    /// No port of any instance can be reached from here, by who is no instance itself.
    CutOff,
    /// No member answers with a quorum.
    NoQuorum,
    /// Members of several clusters answer.
    TwoClusters,
    /// A member has an alarm.
    Alarm,
    /// A member's instance is gone for good.
    ProvenDead,
    /// A voter does not answer at one of its ports.
    MemberSilent,
    /// A voter answers, and does not do what it should.
    MemberIll,
    /// A voter is far behind the leader.
    MemberBehind,
    /// A member is no voter yet.
    NotVoting,
    /// The group has no tag that names its cluster.
    Untagged,
    /// The group's tag names another cluster.
    NotTheTaggedCluster,
    /// There are more or fewer members than the group wants, or not all of them serve.
    WrongSize,
}

impl Cause {
    /// All.
    pub const ALL: [Self; 15] = [
        Self::MetadataBlind,
        Self::GroupBlind,
        Self::Ec2Blind,
        Self::CutOff,
        Self::NoQuorum,
        Self::TwoClusters,
        Self::Alarm,
        Self::ProvenDead,
        Self::MemberSilent,
        Self::MemberIll,
        Self::MemberBehind,
        Self::NotVoting,
        Self::Untagged,
        Self::NotTheTaggedCluster,
        Self::WrongSize,
    ];
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ill {
    /// For programs.
    pub cause: Cause,
    /// For people: a sentence.
    pub why: String,
}
