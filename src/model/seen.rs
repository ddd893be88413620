//! Something outside as it was seen, or why it was not.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that was looked at, or why it could not be: never an empty list in its place (F03, F34).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen<T> {
    /// It was seen.
    Yes(T),
    /// It could not be looked at, and why.
    No(Blind),
}

impl<T> Seen<T> {
    /// What was seen; None where it could not be looked at.
    pub fn ok(&self) -> Option<&T> {
        match self {
            Self::Yes(value) => Some(value),
            Self::No(_) => None,
        }
    }

    /// Why it could not be looked at; None where it was seen.
    pub fn blind(&self) -> Option<&Blind> {
        match self {
            Self::Yes(_) => None,
            Self::No(blind) => Some(blind),
        }
    }
}

/// Why something outside could not be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    /// What makes a difference.
    pub kind: BlindKind,
    /// The operation, its target and the chain of causes, ready to print.
    pub why: String,
}

impl Blind {
    /// Nobody wanted to know.
    pub fn not_asked() -> Self {
        Self { kind: BlindKind::NotAsked, why: "not asked".to_owned() }
    }
}

/// The kinds of failure that make a difference to what happens next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlindKind {
    /// No answer, or none in time.
    #[default]
    Unreachable,
    /// The right to ask is missing.
    Denied,
    /// AWS was asked too often.
    Throttled,
    /// What was asked for is not there.
    Absent,
    /// There are several of it.
    Ambiguous,
    /// The answer was not understood.
    Malformed,
    /// Nobody wanted to know.
    NotAsked,
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// How often something outside was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// In all.
    pub made: u64,
    /// Those to which the answer was that there are too many.
    pub throttled: u64,
}
