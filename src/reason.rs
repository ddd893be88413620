//! The sentences: what a decision's reason says to a person, what they can do, and the exit code it leads to.
//!
//! Owns wording and codes only; every rule is in `decide.rs`.

use std::fmt;
use std::time::Duration;

use crate::model::{Absence, Blind, BlindKind, CLUSTER_TAG, FOUNDING_TAG, Lack, Proof, Reason};

/// Exit codes, an interface for units: see sysexits.h and systemd.exec(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The file is written, or the dry run was printed.
    Done = 0,
    /// EX_USAGE: the command line is wrong.
    Usage = 64,
    /// EX_UNAVAILABLE: AWS or the instance metadata.
    Unavailable = 69,
    /// EX_TEMPFAIL: not now, try again.
    NotNow = 75,
    /// EX_CONFIG: a person must look.
    Person = 78,
}

impl Reason {
    /// The variant's name, as in saved observations and logs.
    pub fn code(&self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(code)) => code,
            Ok(serde_json::Value::Object(map)) => map.keys().next().cloned().unwrap_or_default(),
            Ok(_) | Err(_) => String::new(),
        }
    }

    /// How the program ends when it gives up for this reason.
    pub fn exit(&self) -> Exit {
        match self {
            Self::MetadataBlind(blind) | Self::GroupBlind(blind) | Self::Ec2Blind(blind) => match blind.kind {
                BlindKind::Denied | BlindKind::Absent | BlindKind::Ambiguous => Exit::Person,
                BlindKind::Unreachable | BlindKind::Throttled | BlindKind::Malformed => Exit::Unavailable,
            },
            Self::NotInGroup { .. }
            | Self::TwoClusters { .. }
            | Self::OtherClustersData { .. }
            | Self::LogAhead { .. }
            | Self::RemovedMember { .. }
            | Self::DiskIsACopy { .. }
            | Self::AddressTaken { .. }
            | Self::DataUnreadable { .. }
            | Self::Denied { .. }
            | Self::NotTheTaggedCluster { .. }
            | Self::FoundingTagUnreadable { .. }
            | Self::RecordUnusable { .. }
            | Self::NoOwnAddress
            | Self::VersionSkipsAMinor { .. }
            | Self::VersionTooOld { .. } => Exit::Person,
            _ => Exit::NotNow,
        }
    }

    /// How long waiting can help; None as long as the deadline allows. Rights and memberships of a fresh instance
    /// take a while to reach every server of AWS (F68), after that a person must look.
    pub fn patience(&self) -> Option<Duration> {
        let settling = Duration::from_secs(60);
        match self {
            Self::MetadataBlind(blind) | Self::GroupBlind(blind) | Self::Ec2Blind(blind) => match blind.kind {
                BlindKind::Denied | BlindKind::Absent | BlindKind::Ambiguous => Some(settling),
                BlindKind::Unreachable | BlindKind::Throttled | BlindKind::Malformed => None,
            },
            // A founder may be replaced by a fitting one, and a cluster takes some seconds to follow its members up.
            Self::NotInGroup { .. } | Self::VersionSkipsAMinor { .. } | Self::Untagged { .. } => Some(settling),
            _ => None,
        }
    }

    /// What a person can do; None where the reason says it all or nothing has to be done.
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::ClusterTagged { unclear, .. } if !unclear.is_empty() => {
                "make these instances answer first: they may be that cluster".into()
            }
            Self::ClusterTagged { cluster, .. } => format!(
                "if cluster {cluster} is lost for good, restore a snapshot, or delete the group's tag '{CLUSTER_TAG}' \
                 or run with --initial-cluster-policy=force to create an empty cluster"
            ),
            Self::OwnDataTagged { other, at, .. } => format!(
                "stop the etcds of cluster {other}, which is not this group's ({}), or write its id to the tag \
                 '{CLUSTER_TAG}'; keep the data of both until it is clear which is the right one",
                at.join(", ")
            ),
            Self::NoQuorum { lack: Lack::ClientPort, .. } => "the etcds of a majority run: if it stays so, make their \
                client port answer this node (security group; --trusted-ca-file, --cert-file, --key-file)"
                .into(),
            Self::NoQuorum { lack: Lack::Leader, .. } => "the etcds of a majority run: wait for their election".into(),
            Self::NoQuorum { lack: Lack::Etcds, .. } => "start the stopped members again: with them it is whole".into(),
            Self::NoQuorum { lack: Lack::Instances, .. } => "start whatever member can still be started; if there are \
                too few, restore a snapshot into a new cluster (etcd.io, disaster recovery) and keep the survivors' \
                data: nothing is created here while survivors exist"
                .into(),
            Self::TwoClusters { .. } => "find out which cluster holds the data and stop the other's members".into(),
            Self::OtherClustersData { .. } => {
                "this disk belongs to another cluster, and may be its last: attach it where \
                it belongs, or move the data directory away, and keep it, to join afresh"
                    .into()
            }
            Self::LogAhead { .. } => {
                "the cluster that answers was restored, or created again, from less than this node \
                has: find out which is the right one, and keep this data; if it is the other, move the data directory \
                away to join afresh"
                    .into()
            }
            Self::RemovedMember { .. } => "run with --rejoin to set the old data aside and join as a new member".into(),
            Self::DiskIsACopy { .. } => {
                "only one may run. If this is the copy: move the data directory away, and keep it, to \
                join as a new member. If the disk was moved here: terminate the other instance"
                    .into()
            }
            Self::DataUnreadable { .. } => "if the data is elsewhere, name that directory by --data-dir or --wal-dir; \
                else repair it, or, while the others have a quorum, move it away, and keep it, to join as a new member"
                .into(),
            Self::Denied { .. } => {
                "etcd's authentication hides the members: give the agent a client certificate whose \
                common name is a user with the role root (--cert-file, --key-file)"
                    .into()
            }
            Self::NotTheTaggedCluster { .. } => {
                format!("if the cluster was restored on purpose, write its id to the group's tag '{CLUSTER_TAG}'")
            }
            Self::OwnerUnknown { .. } | Self::OtherJoining { .. } => {
                "if that node is gone for good: etcdctl member remove ID".into()
            }
            Self::ForeignInTheWay { .. } => {
                "if it is gone for good: etcdctl member remove ID, or run this node with --prune-foreign".into()
            }
            Self::AddressTaken { .. } => "two live instances claim one address: remove one of them".into(),
            Self::LearnerNotPromoted { .. } => "its etcd-bootstrap-ready.service promotes it; look at its log".into(),
            Self::FoundersNotBack { .. } => "start those nodes, or terminate them if they are gone for good".into(),
            Self::OthersFounding { cluster, .. } => format!(
                "start those nodes; if they are gone for good and cluster {cluster} was never used, delete the group's tag \
                 '{FOUNDING_TAG}' or run with --initial-cluster-policy=force"
            ),
            Self::FoundingTagUnreadable { .. } => {
                format!("only this program writes '{FOUNDING_TAG}': if no cluster was ever used, delete it")
            }
            Self::RecordUnusable { .. } => {
                "create etcd's data directory for etcd's user (mode 0700), or make it writable \
                for this unit (ReadWritePaths=)"
                    .into()
            }
            Self::CreationForbidden => "run one node with --initial-cluster-policy=auto to create the cluster".into(),
            Self::VersionSkipsAMinor { .. } => "go up one minor version at a time, on every node, before the next one \
                (etcd.io, upgrading); if the version of this node's etcd is another one, say it with --etcd-version"
                .into(),
            Self::VersionTooOld { .. } => "start this node with a newer etcd; if the version of its etcd is another \
                one, say it with --etcd-version"
                .into(),
            Self::VersionUnsettled { .. } => {
                "nobody can join in a downgrade: finish it on the members that there are, \
                or etcdctl downgrade cancel"
                    .into()
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnDataListed { cluster } => {
                write!(f, "this node has its own data and cluster {cluster} lists its member")
            }
            Self::OwnDataNobodyObjects => f.write_str("this node has its own data and no quorum says otherwise"),
            Self::OwnDataTagged { mine, other, .. } => write!(
                f,
                "this node's data is of cluster {mine}, which the group's tag names, though cluster {other} answers"
            ),
            Self::FoundersAgree { founders } => {
                write!(f, "all {founders} founders have no data and see the same list")
            }
            Self::FoundersMajority { agreed, silent } => write!(
                f,
                "{agreed} founders agree; silent since the founding grace, and launched together with this node: {}",
                join(silent)
            ),
            Self::AgreedFounding { cluster } => {
                write!(
                    f,
                    "the founding of cluster {cluster} is agreed, and this disk, which is in it, has started nothing yet"
                )
            }
            Self::Resume { member } => write!(f, "this node is listed as member {member} and has never started"),
            Self::Untagged { cluster } => {
                write!(f, "cluster {cluster} is formed, and the group's tag does not name it")
            }
            Self::ProvenDead { member, proof } => write!(f, "member {member} is dead: {proof}"),
            Self::ReplacesOwnLostDisk { member } => {
                write!(f, "member {member} has this node's address, but its data is not here any more")
            }
            Self::AddressReused { member, proof } => {
                write!(f, "member {member} had this node's address and is dead: {proof}")
            }
            Self::ForeignInTheWay { member } => write!(
                f,
                "etcd refuses to add this node; member {member} is silent and belongs to no instance of this group"
            ),
            Self::Joining { cluster, members, as_learner, caution } => {
                let role = if *as_learner { "learner" } else { "voter" };
                write!(f, "cluster {cluster} with {members} members does not list this node; it joins as a {role}")?;
                caution.as_ref().map_or(Ok(()), |caution| write!(f, "; but {caution}"))
            }
            Self::BackendWithoutLog => {
                f.write_str("the data directory holds a database without a write-ahead log: etcd must not open it")
            }
            Self::NeverLedOtherFormed { mine, formed } => write!(
                f,
                "the data is of cluster {mine}, which never had a leader here, and cluster {formed} is formed: \
                 there is nothing in it"
            ),
            Self::NeverLedOtherFounding { mine, tagged } => write!(
                f,
                "the data is of cluster {mine}, which never had a leader here, and the group's tag names cluster {tagged}: \
                 there is nothing in it"
            ),
            Self::NeverLedFoundersLost { mine, lost } => write!(
                f,
                "the data is of cluster {mine}, which never had a leader here and never can: lost founders {}",
                lost.join(", ")
            ),
            Self::NothingOnRecord => {
                f.write_str("no formed cluster answers, and this disk has no record of a founding yet")
            }
            Self::FoundingLost { cluster, lost } => write!(
                f,
                "the founding of cluster {cluster} cannot be completed, and this node has not started it: lost founders {}",
                lost.join(", ")
            ),
            Self::RejoinAfterRemoval { member } => write!(f, "member {member} was removed and --rejoin is given"),
            Self::Endpoints { cluster } => write!(f, "cluster {cluster} serves"),
            Self::MetadataBlind(blind) | Self::GroupBlind(blind) | Self::Ec2Blind(blind) => write!(f, "{blind}"),
            Self::NotInGroup { group } => {
                write!(f, "AWS's reply about the Auto Scaling group '{group}' does not hold this instance")
            }
            Self::GroupUnsettled { eligible, desired, other } => {
                write!(f, "the group is not settled: {eligible} of {desired} desired instances")?;
                if other.is_empty() { Ok(()) } else { write!(f, "; {}", other.join(", ")) }
            }
            Self::FounderWithoutAddress { instance } => {
                write!(f, "EC2 gives no running instance with an address for {instance}")
            }
            Self::SecondRead { what } => write!(f, "a second read must confirm {what}"),
            Self::FoundersDisagree { instance, theirs, mine } => match theirs {
                Some(theirs) => write!(f, "{instance} sees the founders '{theirs}', this node '{mine}'"),
                None => write!(f, "{instance} does not see a settled group yet"),
            },
            Self::FoundersSilent { silent, agreed, founders } => {
                write!(f, "{agreed} of {founders} founders agree; not heard: {}", silent.join("; "))
            }
            Self::ClusterTagged { cluster, unclear } => {
                write!(f, "no formed cluster answers, but the group's tag says that cluster {cluster} exists")?;
                if unclear.is_empty() { Ok(()) } else { write!(f, "; not understood: {}", unclear.join("; ")) }
            }
            Self::CreationForbidden => f.write_str("no formed cluster answers, and --initial-cluster-policy is never"),
            Self::FormingWithoutMe { cluster } => {
                write!(f, "cluster {cluster} is forming without this node; it can join once there is a leader")
            }
            Self::FoundersNotBack { mine, waiting_for } => write!(
                f,
                "the data is of cluster {mine}, which never had a leader and needs more of its founders for that: {}",
                join(waiting_for)
            ),
            Self::FoundersAgreeing { cluster, waiting_for } => {
                write!(f, "not everyone has agreed to found cluster {cluster} yet: {}", join(waiting_for))
            }
            Self::OthersFounding { cluster, why } => {
                write!(
                    f,
                    "the group's tag names the founding of cluster {cluster}, in which this disk has no part: {why}"
                )
            }
            Self::FoundingTagUnreadable { tag } => {
                write!(f, "the group's tag '{FOUNDING_TAG}' cannot be read: '{tag}'")
            }
            Self::NoQuorum { cluster, answering, why, .. } => write!(
                f,
                "cluster {cluster} has no quorum that confirms its member list; answering: {} ({})",
                answering.join(", "),
                why.join("; ")
            ),
            Self::OtherJoining { member } => write!(f, "member {member} has been added and has not started yet"),
            Self::LearnerNotPromoted { member } => write!(f, "learner {member} is not promoted yet"),
            Self::RemovalCostsQuorum { member, reachable, needed } => {
                write!(f, "removing {member} would leave {reachable} reachable voters where {needed} are needed")
            }
            Self::AdditionRisksQuorum { reachable, needed } => write!(
                f,
                "a further voter would need {needed} reachable voters until it starts, and there are {reachable}"
            ),
            Self::OwnerUnknown { member, why } => {
                write!(f, "this node's address belongs to member {member}: {why}")
            }
            Self::NoMemberAnswers { asked } => write!(f, "none of {asked} instances answers as an etcd with a quorum"),
            Self::TooFewEndpoints { living, voters } => write!(
                f,
                "EC2 calls all but {living} of the cluster's {voters} voters gone, which would leave no quorum"
            ),
            Self::WarmPool { state } => write!(f, "this instance is for the warm pool ({state}) and joins nothing"),
            Self::Leaving { state } => write!(f, "this instance is {state} in its group and joins nothing"),
            Self::TwoClusters { one, other } => write!(f, "two formed clusters answer: {one} and {other}"),
            Self::OtherClustersData { mine, formed } => {
                write!(f, "the data is of cluster {mine}, but this group's cluster is {formed}")
            }
            Self::LogAhead { cluster, mine, theirs } => write!(
                f,
                "this node's log is ahead of the cluster that answers: of cluster {cluster}, entry {mine} is committed \
                 here, and a quorum has come to {theirs}"
            ),
            Self::RemovedMember { member, cluster } => {
                write!(f, "cluster {cluster} has removed this node's member {member}")
            }
            Self::DiskIsACopy { member, why } => write!(f, "member {member} of this disk is another node's: {why}"),
            Self::AddressTaken { member } => write!(f, "member {member} of another live instance has this address"),
            Self::DataUnreadable { why } | Self::Denied { why } => f.write_str(why),
            Self::NotTheTaggedCluster { tag, seen } => {
                write!(f, "the group's tag names cluster {tag}, but cluster {seen} answers")
            }
            Self::RecordUnusable { why } => write!(f, "what this node agrees to cannot be kept: {why}"),
            Self::NoOwnAddress => f.write_str("the metadata gives this instance no address of the form asked for"),
            Self::VersionUnsettled { cluster, lowest } => write!(
                f,
                "the cluster's version is {cluster} and its lowest member's {lowest}: it is about to rise, or a downgrade \
                 is under way"
            ),
            Self::VersionSkipsAMinor { newer, older } => {
                write!(f, "{newer} is more than one minor version above {older}: together one of them panics, for good")
            }
            Self::VersionTooOld { mine, cluster } => {
                write!(f, "this node's etcd {mine} is older than the cluster, whose version is {cluster}")
            }
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ec2State { instance, state } => write!(f, "EC2 says that {instance} is {state}"),
            Self::Forgotten { instance, silent_for } => {
                write!(f, "{instance} is unknown to EC2, in no group's list, and silent for {}", seconds(*silent_for))
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

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::NoAnswer(after) => write!(f, "no answer within {}", seconds(*after)),
            Self::NoName(why) => write!(f, "the name does not resolve: {why}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Denied(why) => write!(f, "denied: {why}"),
            Self::NotEtcd(why) => write!(f, "not an etcd that can be understood: {why}"),
            Self::NotAsked => f.write_str("not asked"),
        }
    }
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
