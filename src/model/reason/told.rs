//! What is told of a reason: the sentence, what a person can do, how long waiting can help, how the program ends, and the
//! row of the troubleshooting table.

use std::time::Duration;

use crate::exit::Exit;
use crate::model::{Blind, BlindKind};

/// Rights and memberships of a fresh instance take a while to reach every server of AWS (F68), founders may be replaced by
/// fitting ones, and a cluster takes some seconds to follow its members up. After that a person must look.
pub(super) const SETTLING: Duration = Duration::from_secs(60);

/// All that is told of a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What was seen.
    pub sentence: String,
    /// What a person can do; None where the sentence says it all or nothing has to be done.
    pub advice: Option<String>,
    /// How long waiting can help; None as long as the deadline allows.
    pub patience: Option<Duration>,
    /// How the program ends when it gives up for this reason.
    pub exit: Exit,
    /// The row of the troubleshooting table: meaning, and what to do. None where nobody has to look it up.
    pub row: Option<(&'static str, &'static str)>,
}

pub(super) fn goes_on(sentence: impl Into<String>) -> Told {
    Told { sentence: sentence.into(), advice: None, patience: None, exit: Exit::TryAgain, row: None }
}

pub(super) fn waits(sentence: impl Into<String>, meaning: &'static str, remedy: &'static str) -> Told {
    Told { row: Some((meaning, remedy)), ..goes_on(sentence) }
}

pub(super) fn stops(sentence: impl Into<String>, meaning: &'static str, remedy: &'static str) -> Told {
    Told { exit: Exit::NeedsOperator, ..waits(sentence, meaning, remedy) }
}

/// Something that could not be looked at, or done: what may pass is waited for.
pub(super) fn unseen(blind: &Blind, sentence: impl Into<String>, meaning: &'static str, remedy: &'static str) -> Told {
    match blind.kind {
        BlindKind::Denied | BlindKind::Absent | BlindKind::Ambiguous => {
            stops(sentence, meaning, remedy).patient(SETTLING)
        }
        BlindKind::Unreachable | BlindKind::Throttled | BlindKind::Malformed | BlindKind::NotAsked => {
            Told { exit: Exit::Unavailable, ..waits(sentence, meaning, remedy) }
        }
    }
}

impl Told {
    pub(super) fn advising(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    pub(super) fn patient(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }
}
