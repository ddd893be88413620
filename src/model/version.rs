//! An etcd's version.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An etcd's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EtcdVersion {
    /// 3 as a rule.
    pub major: u32,
    /// By which etcds understand each other.
    pub minor: u32,
    /// By which they differ in defects.
    pub patch: u32,
}

impl EtcdVersion {
    /// Joins the parts.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// The version without its patch, by which etcds understand each other.
    pub fn line(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl From<EtcdVersion> for String {
    fn from(version: EtcdVersion) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for EtcdVersion {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for EtcdVersion {
    type Err = String;

    /// Takes what etcd says of itself, `3.6.0-rc.1` too, and what its images are tagged with: `v3.6.16`.
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next().unwrap_or_default();
        let numbers: Result<Vec<u32>, _> = plain.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([major, minor, patch]) => Ok(Self::new(*major, *minor, *patch)),
            Ok(_) | Err(_) => Err(format!("'{text}' is no version such as 3.6.16")),
        }
    }
}
