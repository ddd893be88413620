//! Why a decision is what it is. What is told of each is one block of `blocks.rs`.

mod blocks;
mod data;
mod life;
mod recovery;
mod told;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::told::Told;
use super::address::{ClusterId, InstanceId, MemberId};
use super::observation::{MemberRef, Vote, seconds};
use super::seen::Blind;
use super::state::{Ec2State, LifecycleState};
use crate::exit::Exit;

/// What depends on the tag.
pub const UNTAGGED: &str = "without the right tag a group that is replaced as a whole, or loses its disks, gets a second \
     and empty cluster";

/// What a cluster lacks that confirms no member list, as far as a look from outside tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// The etcds of a majority run, and a client port of theirs does not answer this node.
    #[default]
    ClientPort,
    /// The etcds of a majority run and answer, without a leader.
    Leader,
    /// The instances of a majority exist, and too few of their etcds run.
    Etcds,
    /// The instances of a majority, or their disks, are gone.
    Instances,
}

macro_rules! reasons {
    ($(#[$doc:meta])* $($code:literal $variant:ident $({ $($field:ident: $kind:ty),+ })? $(($inner:ty))?,)+) => {
        $(#[$doc])*
        #[allow(missing_docs, reason = "its block in blocks.rs says what it means")]
        pub enum Reason {
            $(#[serde(rename = $code)] $variant $({ $($field: $kind),+ })? $(($inner))?,)+
        }

        impl Reason {
            /// What names it in saved observations, logs and documents.
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)+
                }
            }

            /// One of each, with nothing in it: for the documents, in their order.
            pub fn each() -> Vec<Self> {
                vec![$(Self::$variant $({ $($field: <$kind>::default()),+ })? $((<$inner>::default()))?,)+]
            }
        }
    };
}

reasons! {
    /// Why a decision is what it is. Display says it to a person.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    // Starting with own data
    "own-data-listed" OwnDataListed { cluster: ClusterId },
    "own-data-nobody-objects" OwnDataNobodyObjects,
    "own-data-tagged" OwnDataTagged { mine: ClusterId, other: ClusterId, at: Vec<String> },
    // Starting without
    "founders-agree" FoundersAgree { founders: usize },
    "founders-majority" FoundersMajority { agreed: usize, silent: Vec<InstanceId> },
    "agreed-founding" AgreedFounding { cluster: ClusterId },
    "resume" Resume { member: MemberId },
    // Changing the member list, or what must be so before
    "untagged" Untagged { cluster: ClusterId },
    "proven-dead" ProvenDead { member: MemberRef, proof: Proof },
    "replaces-own-lost-disk" ReplacesOwnLostDisk { member: MemberRef },
    "address-reused" AddressReused { member: MemberRef, proof: Proof },
    "joining" Joining { cluster: ClusterId, members: usize, vote: Vote, caution: Option<String> },
    // Setting data aside
    "backend-without-log" BackendWithoutLog,
    "never-led-other-formed" NeverLedOtherFormed { mine: ClusterId, formed: ClusterId },
    "never-led-other-founding" NeverLedOtherFounding { mine: ClusterId, tagged: String },
    "never-led-founders-lost" NeverLedFoundersLost { mine: ClusterId, lost: Vec<String> },
    "replaced-by-recovery" ReplacedByRecovery { mine: ClusterId, by: ClusterId },
    "damaged-log-aside" DamagedLogAside { member: MemberId, why: String },
    "never-led-removed" NeverLedRemoved { member: MemberId },
    "rejoin-after-removal" RejoinAfterRemoval { member: MemberId },
    // Keeping the record of a founding
    "nothing-on-record" NothingOnRecord,
    "founding-lost" FoundingLost { cluster: ClusterId, lost: Vec<String> },
    // Following
    "endpoints" Endpoints { cluster: ClusterId },
    "asks-aws" AsksAws { why: String },
    // Leaving with the instance, and going along with its life
    "leaves" Leaves { why: String },
    "hands-over" HandsOver { why: String },
    "leaver-gone" LeaverGone { instance: InstanceId, proof: Proof },
    "watching" Watching { voters: usize, desired: usize, leader: Option<String>, ills: Vec<String> },
    "aside" Aside { state: LifecycleState },
    "left" Left { why: String },
    "last-member" LastMember { member: MemberRef },
    "too-few-to-leave" TooFewToLeave { reachable: usize, needed: usize },
    "other-leaving" OtherLeaving { member: MemberRef },
    // Beside etcd's start
    "in-sync" InSync,
    "in-service" InService,
    "not-in-service" NotInService { state: LifecycleState },
    "cluster-unsound" ClusterUnsound { why: Vec<String> },
    "hook-unknown" HookUnknown { wanted: String, seen: Vec<String> },
    "hook-refused" HookRefused(Blind),
    "own-member-serves" OwnMemberServes { cluster: ClusterId },
    "learner-here" LearnerHere { member: MemberId },
    // Waiting
    "not-serving" NotServing { why: String },
    "tag-refused" TagRefused { cluster: ClusterId, blind: Blind },
    "fresh-reply-needed" FreshReplyNeeded,
    "port-taken" PortTaken { why: String },
    "metadata-blind" MetadataBlind(Blind),
    "group-blind" GroupBlind(Blind),
    "ec2-blind" Ec2Blind(Blind),
    "not-in-group" NotInGroup { group: String },
    "group-unsettled" GroupUnsettled { eligible: usize, desired: usize, other: Vec<String> },
    "founder-without-address" FounderWithoutAddress { instance: InstanceId },
    "second-read" SecondRead { what: String },
    "founders-disagree" FoundersDisagree { instance: InstanceId, theirs: Option<String>, mine: String },
    "founders-silent" FoundersSilent { silent: Vec<String>, agreed: usize, founders: usize },
    "cluster-tagged" ClusterTagged { cluster: String, unclear: Vec<String> },
    "creation-forbidden" CreationForbidden,
    "forming-without-me" FormingWithoutMe { cluster: ClusterId },
    "founders-not-back" FoundersNotBack { mine: ClusterId, waiting_for: Vec<InstanceId> },
    "founders-agreeing" FoundersAgreeing { cluster: ClusterId, waiting_for: Vec<InstanceId> },
    "others-founding" OthersFounding { cluster: ClusterId, why: String },
    "founding-tag-unreadable" FoundingTagUnreadable { tag: String },
    "cluster-replaced" ClusterReplaced { mine: ClusterId, by: String },
    "log-damaged" LogDamaged { why: String },
    "no-quorum" NoQuorum { cluster: ClusterId, answering: Vec<String>, why: Vec<String>, lack: Lack },
    "other-joining" OtherJoining { member: MemberRef },
    "foreign-in-the-way" ForeignInTheWay { member: MemberRef },
    "learner-not-promoted" LearnerNotPromoted { member: MemberRef },
    "removal-costs-quorum" RemovalCostsQuorum { member: MemberRef, reachable: usize, needed: usize },
    "addition-risks-quorum" AdditionRisksQuorum { reachable: usize, needed: usize },
    "outdated-member" OutdatedMember { at: String, former: MemberId },
    "version-unsettled" VersionUnsettled { cluster: String, lowest: String },
    "owner-unknown" OwnerUnknown { member: MemberRef, why: String },
    "no-member-answers" NoMemberAnswers { asked: usize },
    "too-few-endpoints" TooFewEndpoints { living: usize, voters: usize },
    "aws-rests" AwsRests { left: Duration },
    // Recovering by hand
    "cluster-lives" ClusterLives { at: Vec<String> },
    "survivor-runs" SurvivorRuns { at: Vec<String> },
    "other-recovers" OtherRecovers { instance: InstanceId },
    "unaccounted" Unaccounted { who: Vec<String> },
    "not-given-up" NotGivenUp { named: String, said: String },
    "foreign-snapshot" ForeignSnapshot { given_up: String, of: ClusterId },
    "own-data-in-the-way" OwnDataInTheWay { mine: String },
    "data-behind-log" DataBehindLog { writes: u64 },
    "recovery-unready" RecoveryUnready { why: String },
    // Taking snapshots
    "snapshot-kept" SnapshotKept { name: String },
    "snapshot-left-to-followers" SnapshotLeftToFollowers,
    "snapshot-overdue" SnapshotOverdue { newest: Option<String>, age: Duration, every: Duration },
    "snapshot-broke-off" SnapshotBrokeOff { why: String },
    "snapshots-blind" SnapshotsBlind(Blind),
    "cluster-corrupt" ClusterCorrupt { faults: Vec<String> },
    // Refusing
    "certificate-unfit" CertificateUnfit { why: String },
    "warm-pool" WarmPool { state: LifecycleState },
    "leaving" Leaving { state: LifecycleState },
    "two-clusters" TwoClusters { one: ClusterId, other: ClusterId },
    "other-clusters-data" OtherClustersData { mine: ClusterId, formed: ClusterId },
    "log-ahead" LogAhead { cluster: ClusterId, mine: u64, theirs: u64 },
    "removed-member" RemovedMember { member: MemberId, cluster: ClusterId },
    "disk-is-a-copy" DiskIsACopy { member: MemberRef, why: String },
    "address-taken" AddressTaken { member: MemberRef },
    "data-unreadable" DataUnreadable { why: String },
    "denied" Denied { why: String },
    "not-the-tagged-cluster" NotTheTaggedCluster { tag: String, seen: ClusterId },
    "no-own-address" NoOwnAddress,
    "version-skips-a-minor" VersionSkipsAMinor { newer: String, older: String },
    "version-too-old" VersionTooOld { mine: String, cluster: String },
    "record-unusable" RecordUnusable { why: String },
}

/// The evidence that a member is gone for good.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the sentence of a variant names its fields")]
pub enum Proof {
    /// EC2 says `shutting-down` or `terminated`.
    Ec2State { instance: InstanceId, state: Ec2State },
    /// EC2 does not know the instance, no group lists it, and its port is silent, for this long.
    Forgotten { instance: InstanceId, silent_for: Duration },
    /// The group says that it terminates the instance, and its ports are silent, for this long.
    Leaving { instance: InstanceId, silent_for: Duration },
    /// Added, never started, silent for this long, and no instance of the group holds its address.
    NeverStarted { silent_for: Duration },
    /// Belongs to nothing that is known, silent for this long, and `--prune-foreign` was given.
    Foreign { silent_for: Duration },
    /// It is this node's own former self.
    #[default]
    Myself,
}

impl Reason {
    /// How the program ends when it gives up for this reason.
    pub fn exit(&self) -> Exit {
        self.told().exit
    }

    /// Whether waiting ends with a person in the end.
    pub fn needs_operator(&self) -> bool {
        self.exit() == Exit::NeedsOperator
    }

    /// How long waiting can help; None as long as the deadline allows.
    pub fn patience(&self) -> Option<Duration> {
        self.told().patience
    }

    /// What a person can do; None where the reason says it all or nothing has to be done.
    pub fn advice(&self) -> Option<String> {
        self.told().advice
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told().sentence)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ec2State { instance, state } => write!(f, "EC2 says that {instance} is {state}"),
            Self::Forgotten { instance, silent_for } => {
                write!(f, "{instance} is unknown to EC2, in no group's list, and silent for {}", seconds(*silent_for))
            }
            Self::Leaving { instance, silent_for } => {
                write!(f, "the group terminates {instance}, and it is silent for {}", seconds(*silent_for))
            }
            Self::NeverStarted { silent_for } => write!(
                f,
                "it never started, no instance of the group has its address, and it is silent for {}",
                seconds(*silent_for)
            ),
            Self::Foreign { silent_for } => {
                write!(
                    f,
                    "it belongs to no instance, is silent for {}, and --prune-foreign is given",
                    seconds(*silent_for)
                )
            }
            Self::Myself => f.write_str("it was this instance, whose data is gone"),
        }
    }
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
