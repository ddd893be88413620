//! The words of options that are one of a few.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::config::{Emit, Output, ProxyStyle};
use crate::log::Format;
use crate::model::{Check, FoundingRule, InitialCluster, JoinAs, Leave, Prune};

macro_rules! words {
    ($($type:ident { $($variant:ident => $word:literal),+ $(,)? })+) => {$(
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(PossibleValue::new(match self {
                    $(Self::$variant => $word),+
                }))
            }
        }
    )+};
}

words! {
    Emit { All => "all", Initial => "initial" }
    Format { Glog => "glog", Json => "json", Journald => "journald" }
    FoundingRule { Majority => "majority", Unanimous => "unanimous" }
    InitialCluster { Auto => "auto", Never => "never", Force => "force" }
    Leave { Auto => "auto", Never => "never" }
    Prune { Auto => "auto", Never => "never" }
    JoinAs { Auto => "auto", Learner => "learner", Voter => "voter" }
    Output { Text => "text", Json => "json" }
    ProxyStyle { V2 => "v2", V3 => "v3" }
}

/// A check by its id.
pub(super) fn check(text: &str) -> Result<Check, String> {
    Check::ALL.iter().copied().find(|check| check.id() == text).ok_or_else(|| {
        let ids: Vec<&str> = Check::ALL.iter().map(|check| check.id()).collect();
        format!("the checks are {}", ids.join(", "))
    })
}
