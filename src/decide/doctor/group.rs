//! The metadata, AWS, and what it says of the group.

use std::time::Duration;

use super::{Says, failure, not_seen, ok, or_ok, unknown, warning};
use crate::decide::health::tag_fault;
use crate::model::{
    Blind, BlindKind, CLUSTER_TAG, Checkup, Group, Hook, Observation, Policy, Seen, Settings, Transition, UNTAGGED,
};

/// A call with a name, a handshake and fresh credentials takes a few tenths of a second.
const SLOW: Duration = Duration::from_secs(2);

/// What a group of etcd is made of: more than seven make each write slower (etcd.io, "Frequently Asked Questions", "What
/// is maximum cluster size?", read 2026-11-28).
const MOST: usize = 7;

pub(super) fn metadata(o: &Observation) -> Vec<Says> {
    vec![match &o.me {
        Seen::Yes(me) => {
            let address = me.addresses.ip().map(|ip| format!(", {ip}")).unwrap_or_default();
            ok(format!(
                "this is {} in {}{address}",
                me.instance,
                if me.zone.is_empty() { &me.region } else { &me.zone }
            ))
        }
        Seen::No(blind) => failure(blind.to_string(), "every command but `status` needs the metadata of its instance"),
    }]
}

/// What AWS says of group and instances, where it does not say it.
fn blinds(o: &Observation) -> Vec<&Blind> {
    let mut blinds: Vec<&Blind> = [o.group.blind(), o.ec2.blind()].into_iter().flatten().collect();
    // A group that is not seen hides its instances for the same reason.
    blinds.dedup();
    blinds
}

pub(super) fn way_to_aws(o: &Observation, seen: &Checkup) -> Vec<Says> {
    if let Seen::No(blind) = &o.me {
        return vec![not_seen(blind)];
    }
    let lost = blinds(o).into_iter().filter_map(|blind| match blind.kind {
        BlindKind::Unreachable | BlindKind::Malformed => Some(failure(
            blind.to_string(),
            "the instance needs a name server and a way to port 443 of Auto Scaling and EC2: the Internet, VPC endpoints or \
             HTTPS_PROXY",
        )),
        BlindKind::Throttled => Some(warning(blind.to_string(), "something in this account asks AWS too often")),
        BlindKind::Denied | BlindKind::Absent | BlindKind::Ambiguous | BlindKind::NotAsked => None,
    });
    let slow = seen.first_call.filter(|took| *took > SLOW).map(|took| {
        warning(
            format!("the first call of AWS took {:.1} s", took.as_secs_f64()),
            "do all of the first three name servers in /etc/resolv.conf answer?",
        )
    });
    or_ok(lost.chain(slow).collect(), || "Auto Scaling and EC2 answer".to_owned())
}

pub(super) fn right_to_read(o: &Observation, seen: &Checkup) -> Vec<Says> {
    if let Seen::No(blind) = &o.me {
        return vec![not_seen(blind)];
    }
    let role = "give the instance profile's role the policy in README.md";
    let denied = |blind: &&Blind| blind.kind == BlindKind::Denied;
    let mut ills: Vec<Says> =
        blinds(o).into_iter().filter(denied).map(|blind| failure(blind.to_string(), role)).collect();
    if let Some(blind) = blinds(o).into_iter().find(|blind| blind.kind != BlindKind::Denied) {
        ills.push(not_seen(blind));
    } else if let Some(blind) = seen.hooks.blind().filter(denied).filter(|_| ills.is_empty()) {
        ills.push(warning(blind.to_string(), role));
    }
    or_ok(ills, || "the role may read the group and its instances".to_owned())
}

/// AWS tries no call of Auto Scaling without making it, and nothing is written here: what is there already has to do.
pub(super) fn right_to_tag(o: &Observation) -> Vec<Says> {
    let group = match &o.group {
        Seen::Yes(group) => group,
        Seen::No(blind) => return vec![not_seen(blind)],
    };
    let action = if group.plain.is_some() { "ec2:CreateTags" } else { "autoscaling:CreateOrUpdateTags" };
    vec![match (tag_fault(o), &group.cluster_tag, &group.founding_tag) {
        (Some(fault), _, _) => {
            failure(fault, format!("{UNTAGGED}: allow {action} in the instance's role, and restart etcd"))
        }
        (None, Some(cluster), _) => ok(format!("the group's tag '{CLUSTER_TAG}' names cluster {cluster}")),
        (None, None, Some(_)) => ok("a founder has tagged the group"),
        (None, None, None) => unknown(format!("whether the role has {action} is known once the cluster is founded")),
    }]
}

pub(super) fn hooks(p: &Policy, seen: &Checkup) -> Vec<Says> {
    let hooks = match &seen.hooks {
        Seen::Yes(hooks) => hooks,
        Seen::No(blind) => return vec![not_seen(blind)],
    };
    let termination = match seen.settings.ok() {
        // Which is the termination that nobody expects.
        Some(settings) if settings.zones.len() > 1 && !settings.suspended.contains("AZRebalance") => {
            "a termination, by AZRebalance too,"
        }
        Some(_) | None => "a termination",
    };
    let launch = hook(hooks, &p.launch_hook, &Transition::Launching, "a launch", "--launch-hook");
    let terminate = hook(hooks, &p.terminate_hook, &Transition::Terminating, termination, "--terminate-hook");
    let ills: Vec<Says> = launch.into_iter().chain(terminate).collect();
    if !ills.is_empty() {
        return ills;
    }
    vec![unknown("the group has both hooks; whether the role may complete them is known at the first launch")]
}

fn hook(hooks: &[Hook], name: &str, transition: &Transition, moment: &str, option: &str) -> Option<Says> {
    let others = hooks.iter().filter(|hook| hook.transition == *transition).map(|hook| hook.name.as_str());
    let others: Vec<&str> = others.collect();
    let put = "put the hook as README.md has it under Life cycle";
    match hooks.iter().find(|hook| hook.name == name) {
        Some(hook) if hook.transition == *transition => None,
        Some(_) => Some(failure(format!("the group does not wait for the hook {name} at {moment}"), put)),
        None if others.is_empty() => {
            Some(warning(format!("the group has no hook {name}: at {moment} it does not wait for etcd"), put))
        }
        None => Some(warning(
            format!("at {moment} the group waits for {}, which this program does not complete", others.join(", ")),
            format!("if it is to be this program's: {option}"),
        )),
    }
}

pub(super) fn settings(o: &Observation, seen: &Checkup) -> Vec<Says> {
    let group = match &o.group {
        Seen::Yes(group) => group,
        Seen::No(blind) if matches!(blind.kind, BlindKind::Absent | BlindKind::Ambiguous) => {
            return vec![failure(blind.to_string(), "give the group's exact name in --scaling-group-name")];
        }
        Seen::No(blind) => return vec![not_seen(blind)],
    };
    let mut ills: Vec<Says> = size(group.desired).into_iter().collect();
    if let Seen::Yes(settings) = &seen.settings {
        ills.extend(of_settings(group, settings));
    }
    or_ok(ills, || format!("{}: {} instances, {} desired", group.name, group.instances.len(), group.desired))
}

fn size(desired: usize) -> Option<Says> {
    let says = format!("the group's desired size is {desired}");
    match desired {
        0 => Some(failure(says, "a cluster has 1, 3, 5 or 7 members")),
        1 => Some(warning(format!("{says}: its data is lost with its instance"), "3 members can spare one")),
        size if size > MOST => Some(warning(format!("{says}: each write waits for more of them"), "take 5 or 7")),
        size if size % 2 == 0 => Some(warning(
            format!("{says}: as many may fail as of {}", size - 1),
            format!("take {} or {}", size - 1, size + 1),
        )),
        _ => None,
    }
}

fn of_settings(group: &Group, settings: &Settings) -> Vec<Says> {
    let ills = [
        health_checks(settings),
        suspended(settings),
        zones(group.desired, settings),
        room(group.desired, settings),
        order(settings),
    ];
    ills.into_iter().flatten().collect()
}

/// A load balancer, or VPC Lattice, calls all of them ill when the quorum is lost.
fn health_checks(Settings { health_checks, .. }: &Settings) -> Option<Says> {
    let others = health_checks.iter().map(String::as_str).filter(|by| !["EC2", "EBS"].contains(by));
    let others: Vec<&str> = others.collect();
    let says = format!(
        "the group asks {} whether an instance is healthy: without a quorum it would terminate all",
        others.join(", ")
    );
    let fix = "set HealthCheckType to EC2; a load balancer may still leave out who is not ready";
    (!others.is_empty()).then(|| failure(says, fix))
}

fn suspended(Settings { suspended, .. }: &Settings) -> Option<Says> {
    let needed = ["Launch", "Terminate", "HealthCheck", "ReplaceUnhealthy"];
    let stopped: Vec<&str> = needed.into_iter().filter(|process| suspended.contains(*process)).collect();
    let says = format!("suspended are {}: the group does not replace what is dead", stopped.join(", "));
    (!stopped.is_empty()).then(|| warning(says, "aws autoscaling resume-processes"))
}

fn zones(desired: usize, Settings { zones, .. }: &Settings) -> Option<Says> {
    let named: Vec<&str> = zones.iter().map(String::as_str).collect();
    let says = format!("the group is in {}: one zone that fails can take the quorum with it", named.join(", "));
    (desired >= 3 && zones.len() < 3).then(|| warning(says, "three zones"))
}

fn room(desired: usize, Settings { max, .. }: &Settings) -> Option<Says> {
    (*max <= desired).then(|| {
        warning(
            format!("MaxSize is {max}: an instance refresh cannot launch first"),
            format!("set it to {}", desired.saturating_add(1)),
        )
    })
}

fn order(Settings { min_healthy_percentage, .. }: &Settings) -> Option<Says> {
    min_healthy_percentage.is_none_or(|percent| percent < 100).then(|| {
        warning(
            "when the group replaces a healthy instance, the old one goes before the new one has come",
            "an instance maintenance policy of MinHealthyPercentage=100,MaxHealthyPercentage=110",
        )
    })
}
