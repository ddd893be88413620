//! What a first boot, or the next replacement, would fail on: what `doctor` says of what it saw.
//!
//! A check that needs what another one could not see says `unknown`, so that one cause is one failure. None asks for a
//! formed cluster: it is run before there is one.

mod group;
mod node;
mod others;
mod units;

use crate::model::{Blind, BlindKind, Check, Checkup, Finding, Observation, Policy, Severity};

/// All checks, in their order. Each says at least one sentence.
pub fn examine(o: &Observation, p: &Policy, seen: &Checkup) -> Vec<Finding> {
    Check::ALL
        .iter()
        .flat_map(|check| {
            let says = match check {
                Check::Imds => group::metadata(o),
                Check::Aws => group::way_to_aws(o, seen),
                Check::IamRead => group::right_to_read(o, seen),
                Check::IamTag => group::right_to_tag(o),
                Check::Hooks => group::hooks(p, seen),
                Check::Group => group::settings(o, seen),
                Check::Ports => others::ports(o, p),
                Check::Clock => node::clock(o),
                Check::Disk => node::disk(seen),
                Check::Certs => node::certificates(o, p, seen),
                Check::Units => units::units(seen),
                Check::Etcd => others::cluster(o, p),
                Check::Run => others::run(o, seen),
            };
            says.into_iter().map(|Says(severity, says, fix)| Finding { id: *check, severity, says, fix })
        })
        .collect()
}

/// A finding that does not know its check.
struct Says(Severity, String, Option<String>);

fn ok(says: impl Into<String>) -> Says {
    Says(Severity::Ok, says.into(), None)
}

fn unknown(says: impl Into<String>) -> Says {
    Says(Severity::Unknown, says.into(), None)
}

fn warning(says: impl Into<String>, fix: impl Into<String>) -> Says {
    Says(Severity::Warning, says.into(), Some(fix.into()))
}

fn failure(says: impl Into<String>, fix: impl Into<String>) -> Says {
    Says(Severity::Failure, says.into(), Some(fix.into()))
}

/// What there is to say, or else that all is well.
fn or_ok(ills: Vec<Says>, says: impl FnOnce() -> String) -> Vec<Says> {
    if ills.is_empty() { vec![ok(says())] } else { ills }
}

/// What another check tells of.
fn not_seen(blind: &Blind) -> Says {
    unknown(match blind.kind {
        BlindKind::NotAsked => "not asked: no Auto Scaling group launches these instances".to_owned(),
        BlindKind::Unreachable
        | BlindKind::Denied
        | BlindKind::Throttled
        | BlindKind::Absent
        | BlindKind::Ambiguous
        | BlindKind::Malformed => "not known: see above".to_owned(),
    })
}
