//! Which instances are the group, as a person says it.

use std::fmt;
use std::str::FromStr;

/// Which instances are the group of this node, or the one that a consumer follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichGroup {
    /// An Auto Scaling group, by its exact name; None: the one that this instance is in.
    Scaling(Option<String>),
    /// The instances of one VPC that have a tag, where no Auto Scaling group launches them.
    Tagged {
        /// The tag.
        tag: InstanceTag,
        /// How many of them are to be members, which nobody else knows; 0 for a consumer, which does not need it.
        size: usize,
    },
}

impl WhichGroup {
    /// The name of the group; None where it is that which this instance is in.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Scaling(name) => name.clone(),
            Self::Tagged { tag, .. } => Some(tag.to_string()),
        }
    }
}

/// A tag of an instance, as `KEY=VALUE`. Only the key holds no `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceTag {
    /// Never empty.
    pub key: String,
    /// Never empty.
    pub value: String,
}

impl FromStr for InstanceTag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            Some(_) | None => Err("a tag has a key and a value: KEY=VALUE".to_owned()),
        }
    }
}

impl fmt::Display for InstanceTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}
