//! The other nodes: the way to them, their cluster, and what would become of this node in it.

use std::collections::BTreeSet;

use super::{Says, failure, not_seen, ok, or_ok, unknown, warning};
use crate::decide::health::{Cause, Ill, Unsound, soundness};
use crate::decide::view::{client_views, etcds};
use crate::model::{
    Absence, Action, Blind, Checkup, Ec2State, EtcdVersion, InstanceId, Observation, PeerAnswer, Policy, Probe,
};

/// From which part of its quota on a database is called large, in percent: etcd's own alerts begin at 95.
const LARGE: u64 = 80;

/// Why the group's instances are not known; None where they are.
fn unseen(o: &Observation) -> Option<&Blind> {
    o.group.blind().or(o.ec2.blind())
}

/// Whether each running instance of the group can be reached. A port that refuses can: nobody listens there yet.
pub(super) fn ports(o: &Observation, p: &Policy) -> Vec<Says> {
    if let Some(blind) = unseen(o) {
        return vec![not_seen(blind)];
    }
    let running =
        |id: &&InstanceId| o.ec2.ok().and_then(|ec2| ec2.found.get(*id)).is_some_and(|i| i.state == Ec2State::Running);
    let probes = o.probes.iter().filter_map(|probe| Some((probe.instance.as_ref().filter(running)?, probe)));
    let probes: Vec<(&InstanceId, &Probe)> = probes.collect();
    let ills = probes.iter().flat_map(|(instance, probe)| at_ports(o, p, instance, probe)).collect();
    or_ok(ills, || match probes.len() {
        0 => "there is no other instance to ask".to_owned(),
        asked => format!("the ports of {asked} instances can be reached"),
    })
}

fn at_ports(o: &Observation, p: &Policy, instance: &InstanceId, probe: &Probe) -> Vec<Says> {
    let forming = match &probe.peer {
        PeerAnswer::Etcd(view) => view.cluster_version.is_none(),
        PeerAnswer::Agent(_) | PeerAnswer::Absent(_) => false,
    };
    let peer = match &probe.peer {
        PeerAnswer::Absent(absence) => at_port(o, instance, p.peer_port, absence),
        PeerAnswer::Etcd(_) | PeerAnswer::Agent(_) => None,
    };
    let client = match &probe.client {
        // The client port of a cluster that forms accepts, and says nothing.
        Some(Err(absence)) if !forming => at_port(o, instance, p.client_port, absence),
        Some(_) | None => None,
    };
    peer.into_iter().chain(client).collect()
}

fn at_port(o: &Observation, instance: &InstanceId, port: u16, absence: &Absence) -> Option<Says> {
    let mine = o.me.ok().is_some_and(|me| me.instance == *instance);
    let who = if mine { "this node".to_owned() } else { instance.to_string() };
    let says = format!("port {port} of {who}: {absence}");
    match absence {
        Absence::Refused | Absence::NotAsked => None,
        Absence::NoAnswer(_) => Some(failure(
            says,
            format!(
                "its security group has to let the nodes of the group in at {port}/tcp; or the instance hangs, or just boots"
            ),
        )),
        Absence::NoName(_) => Some(failure(says, "--private-addresses, or a name server that knows the VPC's names")),
        // Without a certificate that is fit nobody is to be spoken to.
        Absence::Tls(_) if o.certificate_trouble.is_some() => Some(unknown(says)),
        Absence::Tls(_) => Some(failure(
            says,
            "both need certificates of one authority for their own addresses; or one of the two is still in the clear",
        )),
        Absence::Denied(_) => Some(failure(says, "a certificate, or --user, with the right to ask")),
        Absence::NotUnderstood(_) if mine => Some(failure(says, format!("stop what listens at {port}/tcp there"))),
        Absence::NotUnderstood(_) => Some(warning(says, format!("what listens at {port}/tcp there?"))),
    }
}

/// The cluster as `status` judges it. There need not be one yet.
pub(super) fn cluster(o: &Observation, p: &Policy) -> Vec<Says> {
    if etcds(o).next().is_none() && client_views(o).next().is_none() {
        return vec![match unseen(o) {
            Some(blind) => not_seen(blind),
            None => ok("no etcd of the group answers yet"),
        }];
    }
    let sound = soundness(o, p);
    let summary = sound.as_ref().map_or_else(ToString::to_string, Clone::clone);
    let mut ills: Vec<Says> = match sound {
        Ok(_) => Vec::new(),
        Err(Unsound::Unknown(ill)) => vec![unknown(ill.why)],
        Err(Unsound::Ill(ills)) => {
            let by_tag = |ill: &Ill| matches!(ill.cause, Cause::Untagged | Cause::NotTheTaggedCluster);
            let fix = "see `etcd-bootstrap status`, and Troubleshooting in README.md";
            // Of the tag another check tells.
            ills.into_iter().filter(|ill| !by_tag(ill)).map(|ill| failure(ill.why, fix)).collect()
        }
    };
    let lines: BTreeSet<(u32, u32)> = etcds(o)
        .filter_map(|(_, view)| view.server_version.parse::<EtcdVersion>().ok())
        .map(|version| version.line())
        .collect();
    if lines.len() > 1 {
        let lines: Vec<String> = lines.iter().map(|(major, minor)| format!("{major}.{minor}")).collect();
        ills.push(warning(
            format!("members run etcd {}", lines.join(" and ")),
            "end the upgrade: see Upgrading etcd in README.md",
        ));
    }
    ills.extend(client_views(o).filter_map(|(url, view)| {
        let database = view.database?;
        let full = database.size.checked_mul(100)?.checked_div(database.quota?)?;
        let says = format!("the database at {url} takes {full} % of its quota");
        (full >= LARGE).then(|| warning(says, "compact and defragment, or raise --quota-backend-bytes of all etcds"))
    }));
    or_ok(ills, || summary)
}

/// The shipped decision, with the steps before it that take nobody else.
pub(super) fn run(o: &Observation, seen: &Checkup) -> Vec<Says> {
    if let Some(blind) = unseen(o) {
        return vec![not_seen(blind)];
    }
    let reason = &seen.decision.reason;
    let code = reason.code();
    let (would, stops) = match seen.decision.action {
        Action::Refuse => ("refuse", true),
        Action::Wait => ("wait", reason.needs_operator()),
        Action::Change(_) | Action::Start(_) | Action::Follow(_) | Action::Serve { .. } | Action::Rest => {
            ("go on", false)
        }
    };
    let says = format!("`run` would {would} ({code}): {reason}");
    let fix = || reason.advice().unwrap_or_else(|| format!("see {code} under Troubleshooting in README.md"));
    vec![if stops { failure(says, fix()) } else { ok(says) }]
}
