//! What is told of each reason, in one block each.

use super::told::{SETTLING, goes_on, stops, unseen, waits};
use super::{Lack, Reason, Told, UNTAGGED, join, seconds};
use crate::exit::Exit;
use crate::model::{CLUSTER_TAG, FOUNDING_TAG};

impl Reason {
    /// All that is told of it.
    pub fn told(&self) -> Told {
        let elsewhere = self.told_of_data().or_else(|| self.told_of_life()).or_else(|| self.told_of_recovery());
        elsewhere.unwrap_or_else(|| self.told_otherwise())
    }

    fn told_otherwise(&self) -> Told {
        match self {
            // Starting without
            Self::FoundersAgree { founders } => {
                goes_on(format!("all {founders} founders have no data and see the same list"))
            }
            Self::FoundersMajority { agreed, silent } => goes_on(format!(
                "{agreed} founders agree; silent since the founding grace, and launched together with this node: {}",
                join(silent)
            )),
            Self::AgreedFounding { cluster } => goes_on(format!(
                "the founding of cluster {cluster} is agreed, and this disk, which is in it, has started nothing \
                 yet"
            )),
            Self::Resume { member } => goes_on(format!("this node is listed as member {member} and has never started")),
            // Changing the member list, or what must be so before
            Self::Untagged { cluster } => {
                goes_on(format!("cluster {cluster} is formed, and the group's tag does not name it")).patient(SETTLING)
            }
            Self::ProvenDead { member, proof } => goes_on(format!("member {member} is dead: {proof}")),
            Self::ReplacesOwnLostDisk { member } => {
                goes_on(format!("member {member} has this node's address, but its data is not here any more"))
            }
            Self::AddressReused { member, proof } => {
                goes_on(format!("member {member} had this node's address and is dead: {proof}"))
            }
            Self::Joining { cluster, members, vote, caution } => {
                let but = caution.as_ref().map(|caution| format!("; but {caution}")).unwrap_or_default();
                goes_on(format!(
                    "cluster {cluster} with {members} members does not list this node; it joins as a {vote}{but}"
                ))
            }
            // Keeping the record of a founding
            Self::NothingOnRecord => {
                goes_on("no formed cluster answers, and this disk has no record of a founding yet")
            }
            Self::FoundingLost { cluster, lost } => goes_on(format!(
                "the founding of cluster {cluster} cannot be completed, and this node has not started it: lost \
                 founders {}",
                lost.join(", ")
            )),
            // Following
            Self::Endpoints { cluster } => goes_on(format!("cluster {cluster} serves")),
            Self::AsksAws { why } => goes_on(format!("AWS is asked: {why}")),
            Self::Leaves { .. }
            | Self::HandsOver { .. }
            | Self::LeaverGone { .. }
            | Self::Watching { .. }
            | Self::Aside { .. }
            | Self::Left { .. }
            | Self::LastMember { .. }
            | Self::TooFewToLeave { .. }
            | Self::OtherLeaving { .. }
            | Self::InSync { .. }
            | Self::InService { .. }
            | Self::NotInService { .. }
            | Self::ClusterUnsound { .. }
            | Self::HookUnknown { .. }
            | Self::HookRefused { .. }
            | Self::ReplacedByRecovery { .. }
            | Self::ClusterTagged { .. }
            | Self::DamagedLogAside { .. }
            | Self::LogDamaged { .. }
            | Self::ClusterReplaced { .. }
            | Self::ClusterLives { .. }
            | Self::SurvivorRuns { .. }
            | Self::OtherRecovers { .. }
            | Self::Unaccounted { .. }
            | Self::NotGivenUp { .. }
            | Self::ForeignSnapshot { .. }
            | Self::OwnDataInTheWay { .. }
            | Self::DataBehindLog { .. }
            | Self::RecoveryUnready { .. }
            | Self::SnapshotKept { .. }
            | Self::SnapshotLeftToFollowers
            | Self::SnapshotOverdue { .. }
            | Self::SnapshotBrokeOff { .. }
            | Self::SnapshotsBlind { .. }
            | Self::ClusterCorrupt { .. }
            | Self::OwnDataListed { .. }
            | Self::OwnDataNobodyObjects
            | Self::OwnDataTagged { .. }
            | Self::BackendWithoutLog
            | Self::NeverLedOtherFormed { .. }
            | Self::NeverLedOtherFounding { .. }
            | Self::NeverLedFoundersLost { .. }
            | Self::NeverLedRemoved { .. }
            | Self::RejoinAfterRemoval { .. }
            | Self::OtherClustersData { .. }
            | Self::LogAhead { .. }
            | Self::RemovedMember { .. }
            | Self::DiskIsACopy { .. }
            | Self::DataUnreadable { .. } => unreachable!("told by data.rs, life.rs or recovery.rs"),
            // Beside etcd's start
            Self::OwnMemberServes { cluster } => goes_on(format!("this node's member serves cluster {cluster}")),
            Self::LearnerHere { member } => goes_on(format!("this node's member {member} is a learner")),
            // Waiting
            Self::NotServing { why } => waits(
                why,
                "`ready`: this node's etcd is no voter in sync yet",
                "Nothing, as a rule; the log says what it waits for, etcd's own log why.",
            ),
            Self::TagRefused { cluster, blind } => unseen(
                blind,
                format!("{blind}: the group is not tagged with cluster {cluster}: {UNTAGGED}"),
                "the group's tag could not be written",
                "78: allow `autoscaling:CreateOrUpdateTags` in the role. 69: AWS is throttling or down, then wait; or the log \
                 says what it has against the tag.",
            ),
            Self::FreshReplyNeeded => waits(
                "what is decided now rests on a fresh reply of AWS",
                "AWS is asked again before the change",
                "Nothing, it is over at once.",
            ),
            Self::PortTaken { why } => waits(
                why,
                "etcd's peer port cannot be opened on this node, so nothing is started or changed",
                "The log names what to do: stop what holds the port; a container needs the host's network.",
            ),
            Self::MetadataBlind(blind) => unseen(
                blind,
                blind.why.clone(),
                "the instance metadata could not be read",
                "Is IMDSv2 enabled? In a container: host network, or hop limit 2.",
            ),
            Self::GroupBlind(blind) => unseen(
                blind,
                blind.why.clone(),
                "Auto Scaling could not be asked, or there is no such group",
                "78: the log names the missing permission, the group, or says that there is no instance profile. \
                 69: AWS is throttling or down, or the route to it is; wait.",
            ),
            Self::Ec2Blind(blind) => {
                unseen(blind, blind.why.clone(), "EC2 could not be asked", "As for `group-blind`.")
            }
            Self::NotInGroup { group } => stops(
                format!("AWS's reply about the Auto Scaling group '{group}' does not hold this instance"),
                "for a minute AWS's replies have not held this instance",
                "Is the instance in the group that `--scaling-group-name` names? A detached instance is \
                 replaced, not repaired.",
            )
            .patient(SETTLING),
            Self::GroupUnsettled { eligible, desired, other } => waits(
                {
                    let others: String = other.iter().map(|other| format!("; {other}")).collect();
                    format!("the group is not settled: {eligible} of {desired} desired instances{others}")
                },
                "instances are missing, terminating, or more than desired; no cluster is created meanwhile",
                "Nothing, unless the group cannot launch: see its activity history.",
            ),
            Self::FounderWithoutAddress { instance } => waits(
                format!("EC2 gives no running instance with an address for {instance}"),
                "EC2 gives no running instance, or no address of the form asked for, for one of the founders",
                "Wait. If it stays: has the subnet DNS names switched off? Then use `--private-addresses`.",
            ),
            Self::SecondRead { what } => waits(
                format!("a second read must confirm {what}"),
                "a later read of AWS has to confirm the founders",
                "Nothing; it takes a tenth of a second.",
            ),
            Self::FoundersDisagree { instance, theirs, mine } => waits(
                match theirs {
                    Some(theirs) => format!("{instance} sees the founders '{theirs}', this node '{mine}'"),
                    None => format!("{instance} does not see a settled group yet"),
                },
                "another founder sees another list",
                "Nothing while instances boot. If it stays: do all nodes have the same options and group?",
            ),
            Self::FoundersSilent { silent, agreed, founders } => waits(
                format!("{agreed} of {founders} founders agree; not heard: {}", silent.join("; ")),
                "founders have not been heard on their peer port",
                "Did they boot? Does the security group open the peer port between them, and do the TLS files \
                 match? The log has each one's answer.",
            ),
            Self::CreationForbidden => waits(
                "no formed cluster answers, and --initial-cluster-policy is never",
                "no formed cluster answers, and `--initial-cluster-policy=never` is set",
                "Start one node with `auto` if a new cluster is wanted.",
            )
            .advising("run one node with --initial-cluster-policy=auto to create the cluster"),
            Self::FormingWithoutMe { cluster } => waits(
                format!("cluster {cluster} is forming without this node; it can join once there is a leader"),
                "a cluster is forming that this disk has not agreed to found",
                "Nothing: it joins once there is a leader. If it never forms: a majority of its founders has to \
                 start.",
            ),
            Self::FoundersNotBack { mine, waiting_for } => waits(
                format!(
                    "the data is of cluster {mine}, which never had a leader and needs more of its founders for \
                 that: {}",
                    join(waiting_for)
                ),
                "this node's data never had a leader, and too few of its founders are back to elect one",
                "Start those nodes, or terminate them if they are gone for good: then another cluster is founded.",
            )
            .advising("start those nodes, or terminate them if they are gone for good"),
            Self::FoundersAgreeing { cluster, waiting_for } => waits(
                format!("not everyone has agreed to found cluster {cluster} yet: {}", join(waiting_for)),
                "this role may not tag the group, and another founder has not agreed yet",
                "Nothing while instances boot. Allow `autoscaling:CreateOrUpdateTags`, then no founder waits for \
                 another.",
            ),
            Self::OthersFounding { cluster, why } => waits(
                format!(
                    "the group's tag names the founding of cluster {cluster}, in which this disk has no part: {why}"
                ),
                "the group's tag names a founding that this disk has no part in, and somebody may hold it",
                "Start those nodes. If they are gone for good and the cluster was never used, delete the group's \
                 tag `etcd-bootstrap/founding` or set `--initial-cluster-policy=force`.",
            )
            .advising(format!(
                "start those nodes; if they are gone for good and cluster {cluster} was never used, delete the \
                 group's tag '{FOUNDING_TAG}' or run with --initial-cluster-policy=force"
            )),
            Self::FoundingTagUnreadable { tag } => stops(
                format!("the group's tag '{FOUNDING_TAG}' cannot be read: '{tag}'"),
                "the group's tag `etcd-bootstrap/founding` is none that this program wrote",
                "If no cluster was ever used, delete it.",
            )
            .advising(format!("only this program writes '{FOUNDING_TAG}': if no cluster was ever used, delete it")),
            Self::NoQuorum { cluster, answering, why, lack } => waits(
                format!(
                    "cluster {cluster} has no quorum that confirms its member list; answering: {} ({})",
                    answering.join(", "),
                    why.join("; ")
                ),
                "a cluster answers, and not enough of it to confirm its members",
                "The log says which: the members' client port does not answer this node (security group, \
                 `--trusted-ca-file`, `--cert-file`, `--key-file`); or they elect a leader, wait; or too few of \
                 them run, start the stopped ones. If a majority's instances or disks are gone for good: \
                 `recover --from=this-node` on the survivor whose data is newest. Nothing is created while \
                 survivors exist. Not `etcd --force-new-cluster`: it keeps the cluster's id, and splits a cluster \
                 whose members come back.",
            )
            .advising(match lack {
                Lack::ClientPort => {
                    "the etcds of a majority run: if it stays so, make their client port answer this node (security \
                 group; --trusted-ca-file, --cert-file, --key-file)"
                }
                Lack::Leader => "the etcds of a majority run: wait for their election",
                Lack::Etcds => "start the stopped members again: with them it is whole",
                Lack::Instances => {
                    "start whatever member can still be started, any that makes a quorum saves every write; if there are \
                 too few, pick the survivor whose data is newest, stop every etcd, and run there: etcd-bootstrap \
                 recover --from=this-node"
                }
            }),
            Self::OtherJoining { member } => waits(
                format!("member {member} has been added and has not started yet"),
                "another member was added and has not started",
                "Wait. If its node is gone for good and is not pruned within minutes: `etcdctl member remove ID`.",
            )
            .advising("if that node is gone for good: etcdctl member remove ID"),
            Self::ForeignInTheWay { member } => waits(
                format!(
                    "etcd refuses to add this node; member {member} is silent and belongs to no instance of this group"
                ),
                "etcd refuses to add this node, and a silent member belongs to no instance of the group: etcd \
                 wants all voters to answer",
                "If it is gone for good: `etcdctl member remove ID`, or `--prune-foreign` on this node.",
            )
            .advising("if it is gone for good: etcdctl member remove ID, or run this node with --prune-foreign"),
            Self::LearnerNotPromoted { member } => waits(
                format!("learner {member} is not promoted yet"),
                "a learner is not a voter yet",
                "Wait; look at `etcd-bootstrap-ready.service` on its node. If the node is gone for good: \
                 `etcdctl member remove ID`.",
            )
            .advising("its etcd-bootstrap-ready.service promotes it; look at its log"),
            Self::RemovalCostsQuorum { member, reachable, needed } => waits(
                format!("removing {member} would leave {reachable} reachable voters where {needed} are needed"),
                "a member is dead, but without it the rest would have no reachable quorum",
                "Start the stopped members first.",
            ),
            Self::OutdatedMember { at, former } => waits(
                format!(
                    "the member at {at} still lists {former} at this node's address, which was removed: etcd would ask \
                     it, and start as that one"
                ),
                "a member has not heard that this node's former member was removed: etcd would take its word",
                "Wait; if it goes on, that member is cut off from the leader: look at its links.",
            ),
            Self::AdditionRisksQuorum { reachable, needed } => waits(
                format!(
                    "a further voter would need {needed} reachable voters until it starts, and there are {reachable}"
                ),
                "a further voter would cost the quorum until it starts",
                "Start the stopped members first, or `--join-as=learner`.",
            ),
            Self::VersionUnsettled { cluster, lowest } => waits(
                format!(
                    "the cluster's version is {cluster} and its lowest member's {lowest}: it is about to rise, or a \
                 downgrade is under way"
                ),
                "all members have a newer etcd than the cluster's own version says",
                "Nothing after an upgrade: it rises within seconds. In a downgrade nobody can join: finish it on \
                 the members that there are, or `etcdctl downgrade cancel`.",
            )
            .advising(
                "nobody can join in a downgrade: finish it on the members that there are, or etcdctl downgrade \
                 cancel",
            ),
            Self::OwnerUnknown { member, why } => waits(
                format!("this node's address belongs to member {member}: {why}"),
                "this node's address is listed for a member that is not proven dead",
                "Wait for the proof. If that node is gone for good: `etcdctl member remove ID`.",
            )
            .advising("if that node is gone for good: etcdctl member remove ID"),
            Self::NoMemberAnswers { asked } => waits(
                format!("none of {asked} instances answers as an etcd with a quorum"),
                "a consumer found no member with a quorum",
                "Look at the members; then the security group and, with TLS, the CA file.",
            ),
            Self::TooFewEndpoints { living, voters } => waits(
                format!(
                    "EC2 calls all but {living} of the cluster's {voters} voters gone, which would leave no quorum"
                ),
                "EC2 calls so many of the voters' instances gone that the rest would be no quorum; a consumer \
                 keeps its last file",
                "Nothing, if the cluster is being taken down. Otherwise look at the members: EC2's reply was \
                 wrong, or the cluster is lost.",
            ),
            Self::AwsRests { left } => Told {
                exit: Exit::Unavailable,
                ..waits(
                    format!("no endpoint that is known answers, and AWS, which throttled, is left alone for another {}", seconds(*left)),
                    "a consumer was throttled by AWS, and asks it less and less often: a fleet of them must not keep the \
                     members from being served",
                    "Wait. Where a whole fleet starts at once, give it `--endpoints`.",
                )
            },
            // Refusing
            Self::CertificateUnfit { why } => stops(
                why,
                "the other nodes would refuse this node's certificate",
                "Give it one of their CA, in its dates, for its own name or address, for server and client use.",
            ),
            Self::WarmPool { state } => waits(
                format!("this instance is for the warm pool ({state}) and joins nothing"),
                "the instance is for the warm pool",
                "Nothing: it joins when it is taken into service.",
            ),
            Self::Leaving { state } => waits(
                format!("this instance is {state} in its group and joins nothing"),
                "the group is taking this instance out, or has it in standby",
                "Nothing, or end the standby.",
            ),
            Self::TwoClusters { one, other } => stops(
                format!("two formed clusters answer: {one} and {other}"),
                "two clusters with a leader answer in this group",
                "Find out which has the data, and stop the other's members.",
            )
            .advising("find out which cluster holds the data and stop the other's members"),
            Self::AddressTaken { member } => stops(
                format!("member {member} of another live instance has this address"),
                "another live instance's member has this node's address",
                "Two instances claim one address: remove one.",
            )
            .advising("two live instances claim one address: remove one of them"),
            Self::Denied { why } => stops(
                why,
                "etcd's authentication hides the members",
                "A user with the role root: by name and password, `--user`, `--password-file`, or as the common name of \
                 the client certificate, `--cert-file`, `--key-file`.",
            )
            .advising(
                "etcd's authentication hides the members: give the agent a user with the role root, by --user and \
                 --password-file, or as the common name of its client certificate (--cert-file, --key-file)",
            ),
            Self::NotTheTaggedCluster { tag, seen } => stops(
                format!("the group's tag names cluster {tag}, but cluster {seen} answers"),
                "another cluster answers than the group's tag names",
                "If it was restored on purpose, and not by `recover`, which sees to it, write its id to the tag \
                 `etcd-bootstrap/cluster-id`. An id counts in any of etcd's spellings, hexadecimal or decimal. \
                 Otherwise a stranger answers in this group.",
            )
            .advising(format!(
                "if the cluster was restored on purpose, write its id to the group's tag '{CLUSTER_TAG}'"
            )),
            Self::NoOwnAddress => stops(
                "the metadata gives this instance no address of the form asked for",
                "the metadata has no address of the form asked for",
                "`--private-addresses`, or DNS names switched on in the subnet.",
            ),
            Self::VersionSkipsAMinor { newer, older } => stops(
                format!("{newer} is more than one minor version above {older}: together one of them panics, for good"),
                "this node's etcd is more than one minor version above another's (or the other way round, among \
                 founders): together one of them would panic for good",
                "Go up one minor version at a time: [upgrading etcd](#upgrading-etcd). If this node's etcd is \
                 another one than the log says: `--etcd-version`.",
            )
            .advising(
                "go up one minor version at a time, on every node, before the next one (etcd.io, upgrading); if \
                 the version of this node's etcd is another one, say it with --etcd-version",
            )
            .patient(SETTLING),
            Self::VersionTooOld { mine, cluster } => stops(
                format!("this node's etcd {mine} is older than the cluster, whose version is {cluster}"),
                "this node's etcd is older than the cluster, and would never start in it",
                "A newer etcd on this node: is its AMI an old one? If this node's etcd is another one than the \
                 log says: `--etcd-version`.",
            )
            .advising(
                "start this node with a newer etcd; if the version of its etcd is another one, say it with \
                 --etcd-version",
            ),
            Self::RecordUnusable { why } => stops(
                format!("what this node agrees to cannot be kept: {why}"),
                "what this node agrees to cannot be kept in the data directory",
                "Create etcd's data directory for etcd's user (mode 0700), or make it writable for the unit \
                 (`ReadWritePaths=`).",
            )
            .advising(
                "create etcd's data directory for etcd's user (mode 0700), or make it writable for this unit \
                 (ReadWritePaths=)",
            ),
        }
    }
}
