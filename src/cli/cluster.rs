//! The options of the group, of who follows it, and of what becomes of members.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args};

use super::compat::go_bool;
use super::is_set;
use crate::config::ProxyStyle;
use crate::model::{
    FoundingRule, InitialCluster, InstanceTag, JoinAs, Leave, MemberUrl, Prune, WhichGroup, launch_hook, terminate_hook,
};

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct GroupOptions {
    /// The Auto Scaling group, by its exact name [default: this instance's own]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_SCALING_GROUP_NAME", value_name = "NAME")]
    pub scaling_group_name: Option<String>,

    /// The instances with this tag in this node's VPC, where no Auto Scaling group launches them
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_DISCOVER_TAG", value_name = "KEY=VALUE")]
    pub discover_tag: Option<InstanceTag>,

    /// How many members they are to be, with --discover-tag: an Auto Scaling group says it itself
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CLUSTER_SIZE", value_name = "N")]
    pub cluster_size: Option<NonZeroUsize>,

    /// The region of the group that is named, for `status` on a machine that is no instance: no metadata are asked then
    /// [default: AWS_REGION, where the group's name is given, else this instance's]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_REGION", value_name = "REGION")]
    pub region: Option<String>,

    /// Write a consumer's file: the endpoints of the cluster of --scaling-group-name; changes nothing in etcd
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PROXY_MODE", value_name = "BOOL", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub proxy_mode: bool,

    /// The consumer's variables: `v3` for ETCD_ENDPOINTS and ETCDCTL_ENDPOINTS, `v2` for the ETCD_PROXY of etcd 3.5
    /// and before
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PROXY_STYLE", value_enum, default_value = "v3")]
    pub proxy_style: ProxyStyle,

    /// Endpoints of the cluster that a consumer begins with, in place of AWS and --scaling-group-name: it then needs no
    /// right of AWS at all. Their scheme is that of the client port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_ENDPOINTS", value_name = "URL,...", value_delimiter = ',')]
    pub endpoints: Vec<MemberUrl>,
}

impl GroupOptions {
    /// The group that they mean.
    pub(super) fn which(&self) -> WhichGroup {
        match self.discover_tag.clone() {
            Some(tag) => WhichGroup::Tagged { tag, size: self.cluster_size.map_or(0, NonZeroUsize::get) },
            None => WhichGroup::Scaling(self.scaling_group_name.clone()),
        }
    }

    /// What they lack, or cannot have together; None where they fit.
    pub(super) fn contradiction(&self) -> Option<(ErrorKind, &'static str)> {
        let missing = |why| Some((ErrorKind::MissingRequiredArgument, why));
        let conflict = |why| Some((ErrorKind::ArgumentConflict, why));
        let (named, tagged) = (self.scaling_group_name.is_some(), self.discover_tag.is_some());
        if named && tagged {
            return conflict(
                "--discover-tag and --scaling-group-name each say which instances count: give one of them",
            );
        }
        if self.proxy_mode && !named && !tagged && self.endpoints.is_empty() {
            return missing(
                "--proxy-mode needs --scaling-group-name, --discover-tag or --endpoints: a consumer is in no member's group",
            );
        }
        if self.cluster_size.is_some() && !tagged {
            return conflict("--cluster-size goes with --discover-tag: an Auto Scaling group says it itself");
        }
        if tagged && self.cluster_size.is_none() && !self.proxy_mode {
            return missing("--discover-tag needs --cluster-size: how many members there are to be");
        }
        None
    }

    /// Where the group is, for who looks from outside; None where the metadata have to tell it. The variables are those of
    /// the SDKs: who has set one of them for the AWS CLI is understood.
    pub(super) fn region_from_outside(&self) -> Option<String> {
        let variables = || ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().filter(|name| is_set(name));
        let named = self.scaling_group_name.as_ref();
        // The tag of plain instances is among the variables of each of them.
        self.region.clone().or_else(|| named.and_then(|_| variables().find_map(|name| std::env::var(name).ok())))
    }
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct JoiningOptions {
    /// Who must agree before a cluster is created: all (`unanimous`), or after the grace a `majority` in a new group
    ///
    /// The silent ones must have been launched together with this node, and just now.
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_FOUNDING", value_enum, default_value = "majority")]
    pub founding: FoundingRule,

    /// How long silent founders are waited for
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_FOUNDING_GRACE", value_name = "DURATION", default_value = "60s",
        value_parser = humantime::parse_duration)]
    pub founding_grace: Duration,

    /// Whether a cluster may be created: `auto` unless the group's tag says there is one, `never`, or `force` in
    /// spite of the tag
    ///
    /// With `force` the tag gets the new cluster's id: take it out of the options again.
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_INITIAL_CLUSTER_POLICY", value_enum, default_value = "auto")]
    pub initial_cluster_policy: InitialCluster,

    /// Join as `learner` or `voter`; `auto`: as learner where the etcd version is safe for it
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_JOIN_AS", value_enum, default_value = "auto")]
    pub join_as: JoinAs,

    /// Set the data of a removed member aside and join as a new one
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_REJOIN", value_name = "BOOL", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub rejoin: bool,

    /// Also remove members that belong to no instance of the group, after a minute of silence
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRUNE_FOREIGN", value_name = "BOOL", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub prune_foreign: bool,

    /// Give up after this long, e.g. 90s or 5m; `infinity` never
    ///
    /// Stay above --founding-grace, or no majority ever founds, and below TimeoutStartSec= of etcd's drop-in (2
    /// hours).
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_DEADLINE", value_name = "DURATION", default_value = "5m",
        value_parser = deadline)]
    pub deadline: Deadline,
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct LifeOptions {
    /// The lifecycle hook of the launch that `ready` completes
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_LAUNCH_HOOK", value_name = "NAME",
        default_value_t = launch_hook())]
    pub launch_hook: String,

    /// The lifecycle hook of the termination that `watch` completes
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_TERMINATE_HOOK", value_name = "NAME",
        default_value_t = terminate_hook())]
    pub terminate_hook: String,

    /// Whether `watch` takes the member out of its cluster when its instance goes for good: `auto` or `never`
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_LEAVE", value_enum, default_value = "auto")]
    pub leave: Leave,

    /// Whether `watch` removes members that are proven dead: `auto` or `never`
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRUNE", value_enum, default_value = "auto")]
    pub prune: Prune,
}

/// How long the run may take; None for ever. clap takes an `Option` for an option that need not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Option<Duration>);

fn deadline(text: &str) -> Result<Deadline, String> {
    match text {
        "infinity" => Ok(Deadline(None)),
        text => humantime::parse_duration(text).map(|time| Deadline(Some(time))).map_err(|e| e.to_string()),
    }
}
