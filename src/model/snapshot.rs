//! Where a snapshot of the cluster is kept, and what a node remembers of the last one.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::address::{ClusterId, MemberId};
use super::rfc3339;

/// A snapshot's name below the directory or the prefix that all are kept in: `recent/CLUSTER/20261124T120000Z.db`.
///
/// The class comes first, for S3's lifecycle rules filter by what a key begins with ("Lifecycle configuration elements",
/// S3 user guide, read 2026-11-27). The cluster comes next, so that two that share a bucket are never mixed (F10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SnapshotName {
    /// How long it is kept.
    pub class: Class,
    /// The cluster that it is of.
    pub cluster: ClusterId,
    /// The beginning of its slot; by hand: when it was taken. In whole seconds.
    pub at: SystemTime,
    /// Who took it by hand, so that two of the same second are two; None on a timer.
    pub by: Option<MemberId>,
}

/// How long a snapshot is kept, which is for the store to see to: nothing is deleted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// For days.
    Recent,
    /// The first of a day (UTC), for a year: when snapshots end and nobody notices, those of now expire.
    Daily,
    /// Taken by hand, for ever.
    Manual,
}

impl Class {
    /// All.
    pub const ALL: [Self; 3] = [Self::Recent, Self::Daily, Self::Manual];

    /// As names begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Daily => "daily",
            Self::Manual => "manual",
        }
    }
}

impl SnapshotName {
    /// What all names of a class and a cluster begin with, as a directory.
    pub fn directory(class: Class, cluster: ClusterId) -> String {
        format!("{}/{cluster}/", class.as_str())
    }

    /// The name that a path ends with, wherever it begins; None where it ends otherwise.
    pub fn at_end_of(path: &Path) -> Option<Self> {
        let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap_or_default()).collect();
        parts.get(parts.len().checked_sub(3)?..)?.join("/").parse().ok()
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As RFC 3339, without the marks that file systems or URLs do not like.
        let at = humantime::format_rfc3339_seconds(self.at).to_string().replace(['-', ':'], "");
        let by = self.by.map(|by| format!("-{by}")).unwrap_or_default();
        write!(f, "{}{at}{by}.db", Self::directory(self.class, self.cluster))
    }
}

impl FromStr for SnapshotName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let none = || format!("'{text}' is no snapshot's name");
        let [class, cluster, file] = parts.as_slice() else { return Err(none()) };
        let class = Class::ALL.into_iter().find(|c| c.as_str() == *class).ok_or_else(none)?;
        let stem = file.strip_suffix(".db").ok_or_else(none)?;
        let (at, by) = stem.split_once('-').map_or((stem, None), |(at, by)| (at, Some(by)));
        let name = Self {
            class,
            cluster: ClusterId::try_from((*cluster).to_owned()).map_err(|_| none())?,
            at: time(at).ok_or_else(none)?,
            by: by.map(|by| MemberId::try_from(by.to_owned())).transpose().map_err(|_| none())?,
        };
        // What is written otherwise is somebody else's.
        if name.to_string() == text { Ok(name) } else { Err(none()) }
    }
}

/// The time in `20261124T120000Z`.
fn time(text: &str) -> Option<SystemTime> {
    let cut = |from: usize, to: usize| text.get(from..to);
    let [year, month, day] = [cut(0, 4)?, cut(4, 6)?, cut(6, 8)?];
    let [hour, minute, second] = [cut(9, 11)?, cut(11, 13)?, cut(13, 15)?];
    humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

impl From<SnapshotName> for String {
    fn from(name: SnapshotName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for SnapshotName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A snapshot that is there, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// Its size, with the hash at its end.
    pub bytes: u64,
}

/// What the last run of `snapshot` on a timer found, for those who do not ask the store themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// When that was.
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    /// Since when this node has looked for snapshots of this cluster there.
    #[serde(with = "rfc3339")]
    pub since: SystemTime,
    /// The cluster; None where etcd has never answered.
    pub cluster: Option<ClusterId>,
    /// Where they are kept, as the option has it.
    pub to: String,
    /// One is taken in each slot of this length.
    #[serde(with = "seconds")]
    pub every: Duration,
    /// The newest of the cluster that was seen; None where none was.
    pub newest: Option<Snapshot>,
    /// What was in the way; None where nothing was.
    pub trouble: Option<String>,
}

mod seconds {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(time.as_secs())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let at = humantime::parse_rfc3339("2026-11-24T12:00:00Z").expect("a time");
        let name = SnapshotName { class: Class::Recent, cluster: ClusterId(0xab), at, by: None };
        assert_eq!(name.to_string(), "recent/ab/20261124T120000Z.db");
        let by_hand = SnapshotName { class: Class::Manual, by: Some(MemberId(0xcd)), ..name.clone() };
        assert_eq!(by_hand.to_string(), "manual/ab/20261124T120000Z-cd.db");
        for name in [name, by_hand] {
            assert_eq!(SnapshotName::at_end_of(&Path::new("/mnt/etcd").join(name.to_string())), Some(name.clone()));
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn what_somebody_else_has_put_there_is_no_snapshot() {
        for text in [
            "",
            "recent/ab/.cd.part",
            "recent/ab/20261124T120000Z.db.bak",
            "recent/ab/20261124T120000.db",
            "recent/ab/2026-11-24T12:00:00Z.db",
            "recent/ab/20261324T120000Z.db",
            "recent/0xab/20261124T120000Z.db",
            "hourly/ab/20261124T120000Z.db",
            "x/recent/ab/20261124T120000Z.db",
            "recent/ab/ä0261124T120000Z.db",
        ] {
            assert!(text.parse::<SnapshotName>().is_err(), "{text}");
        }
    }
}
