//! What `status` says of the own certificate.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{due, trust};
use crate::clock::now;
use crate::config::{Config, Issuing};

/// Nobody issues for longer.
const HORIZON: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// The own certificate as it is on the disk.
#[derive(Debug, Serialize)]
pub struct State {
    /// The end of its validity, RFC 3339; None where it is not valid now, or not there.
    pub until: Option<String>,
    /// The authority that signed it, by its option; None where it is none that is made of a key of KMS.
    pub signed_by: Option<String>,
    /// Whether the authorities are others than those that etcd has read at its start.
    pub restart_needed: bool,
}

/// The end of the own certificate's validity; None where it is not valid now, or not there.
fn end(config: &Config, issuing: &Issuing) -> Option<SystemTime> {
    let valid = validity(config, issuing);
    valid(now()).map(|_| last(now(), |at| valid(at).is_some()))
}

/// Looks at the files; asks nobody.
pub fn state(config: &Config, issuing: &Issuing) -> State {
    State {
        until: end(config, issuing).map(|end| humantime::format_rfc3339_seconds(end).to_string()),
        signed_by: validity(config, issuing)(now()),
        restart_needed: [issuing.members_pem(), issuing.clients_pem()]
            .iter()
            .any(|file| is_newer(file, &config.environment_file)),
    }
}

/// At a time: which authority makes the own certificate valid.
fn validity(config: &Config, issuing: &Issuing) -> impl Fn(SystemTime) -> Option<String> + use<> {
    let node = fs::read_to_string(issuing.node()).unwrap_or_default();
    let authorities = trust::read_record(config).map(|known| [known.members, known.clients].concat());
    let anchors = authorities.unwrap_or_default();
    let anchors: Vec<_> = anchors.into_iter().filter_map(|a| Some((a.anchor().ok()?, a.name))).collect();
    move |at| {
        let signed = anchors.iter().find(|(anchor, _)| due::is_valid_at(&node, anchor, at));
        signed.map(|(_, name)| name.clone())
    }
}

impl State {
    /// A line for people.
    pub fn text(&self) -> String {
        let by = self.signed_by.as_deref().unwrap_or("another authority");
        let validity = match &self.until {
            Some(until) => format!("valid until {until}, signed by {by}"),
            None => "none that is valid: etcd-bootstrap certificate".to_owned(),
        };
        let restart = if self.restart_needed { "; restart etcd: it has not read the authorities of now" } else { "" };
        format!("certificate: {validity}{restart}\n")
    }
}

/// The last second at which something holds that holds at `from`, and stops holding once.
fn last(from: SystemTime, holds: impl Fn(SystemTime) -> bool) -> SystemTime {
    let (mut yes, mut no) = (Duration::ZERO, HORIZON);
    while no - yes > Duration::from_secs(1) {
        let middle = yes + (no - yes) / 2;
        if holds(from + middle) { yes = middle } else { no = middle }
    }
    from + yes
}

fn is_newer(file: &Path, other: &Path) -> bool {
    let written = |file: &Path| fs::metadata(file).and_then(|file| file.modified()).ok();
    written(file) > written(other) && written(other).is_some()
}
