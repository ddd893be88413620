//! When a certificate is due: it is not there, not good, or half of its life is over.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::certificate::Purpose;
use crate::tls::{self, Usage};

/// What a certificate has to be.
pub struct Check {
    pub purpose: Purpose,
    pub names: BTreeSet<String>,
    /// Of a new one.
    pub life: Duration,
    /// By each of these texts of authorities it has to be good.
    pub anchors: Vec<String>,
}

impl Check {
    /// Why a new one is due; None where this one is good for now. "Not good now" covers a clock that was wrong when it was
    /// made.
    pub fn due(&self, node: Option<&str>, now: SystemTime) -> Option<String> {
        let Some(node) = node else { return Some("there is none".to_owned()) };
        let now_good = self.anchors.iter().find_map(|anchor| self.wrong(node, anchor, now));
        now_good.or_else(|| {
            let half_over = self.wrong(node, self.anchors.first()?, now + self.life / 2).is_some();
            half_over.then(|| "less than half of its life is left".to_owned())
        })
    }

    fn wrong(&self, node: &str, anchor: &str, at: SystemTime) -> Option<String> {
        match self.purpose {
            Purpose::Client => tls::check(node, anchor, Usage::Client, at).err(),
            Purpose::Member => self.names.iter().find_map(|name| {
                let why = tls::check(node, anchor, Usage::Both(name), at).err()?;
                Some(format!("{why} ({name})"))
            }),
        }
    }
}

/// Whether a certificate of one of these authorities is valid then, whoever it is for.
pub fn is_valid_at(node: &str, authorities: &str, at: SystemTime) -> bool {
    tls::check(node, authorities, Usage::Client, at).is_ok()
}
