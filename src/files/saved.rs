//! What a run leaves behind besides etcd's file: the observation behind its last decision, who the node is, which member
//! of its own it has taken out of the cluster, and what it knows of the last snapshot.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::write;
use crate::model::{ConsumerRecord, Identity, LeftMember, Observation, Policy, SnapshotRecord};

/// A saved decision: all that is needed to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Grows when an older program would misread it.
    #[serde(default)]
    pub format: Format,
    /// What was wanted.
    pub policy: Policy,
    /// What was seen.
    pub observation: Observation,
}

/// The form of a saved observation: 1. A file without one was written before there was any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct Format;

impl From<Format> for u32 {
    fn from(_: Format) -> Self {
        1
    }
}

impl TryFrom<u32> for Format {
    type Error = String;
    fn try_from(format: u32) -> Result<Self, String> {
        if format == 1 { Ok(Self) } else { Err(format!("its format is {format}, and this program reads 1")) }
    }
}

/// Saves an observation.
///
/// # Errors
/// The system's.
pub fn write_record(file: &Path, record: &Record) -> io::Result<()> {
    write_json(file, record)
}

/// Reads a saved observation.
///
/// # Errors
/// The system's, or why it is none.
pub fn read_record(file: &Path) -> io::Result<Record> {
    serde_json::from_slice(&std::fs::read(file)?).map_err(io::Error::other)
}

/// Where the identity is kept.
pub fn identity_file(state_dir: &Path) -> PathBuf {
    state_dir.join("identity.json")
}

/// Keeps the identity across reboots.
///
/// # Errors
/// The system's.
pub fn write_identity(state_dir: &Path, me: &Identity) -> io::Result<()> {
    let text = serde_json::to_string_pretty(me).map_err(io::Error::other)?;
    write::replace_if_changed(&identity_file(state_dir), &text, 0o644).map(|_| ())
}

/// The identity as last kept; None where there is none that can be read.
pub fn read_identity(state_dir: &Path) -> Option<Identity> {
    read_json(&identity_file(state_dir))
}

/// Where the mark of a member that has left is kept.
pub fn left_file(state_dir: &Path) -> PathBuf {
    state_dir.join("left.json")
}

/// Leaves the mark of a member that this node has taken out of its cluster.
///
/// # Errors
/// The system's.
pub fn write_left(state_dir: &Path, left: &LeftMember) -> io::Result<()> {
    write_json(&left_file(state_dir), left)
}

/// The mark as last left; None where there is none that can be read: then a person has to say `--rejoin`.
pub fn read_left(state_dir: &Path) -> Option<LeftMember> {
    read_json(&left_file(state_dir))
}

/// Where it is kept what is known of the last snapshot.
pub fn snapshot_file(state_dir: &Path) -> PathBuf {
    state_dir.join("snapshot.json")
}

/// Keeps what is known of the last snapshot.
///
/// # Errors
/// The system's.
pub fn write_snapshot(state_dir: &Path, record: &SnapshotRecord) -> io::Result<()> {
    write_json(&snapshot_file(state_dir), record)
}

/// What is known of the last snapshot; None where no run on a timer has left anything that can be read.
pub fn read_snapshot(state_dir: &Path) -> Option<SnapshotRecord> {
    read_json(&snapshot_file(state_dir))
}

/// Keeps what a consumer remembers.
///
/// # Errors
/// The system's.
pub fn write_consumer(file: &Path, record: &ConsumerRecord) -> io::Result<()> {
    let text = serde_json::to_string_pretty(record).map_err(io::Error::other)?;
    write::replace_if_changed(file, &text, 0o644).map(|_| ())
}

/// What a consumer remembers of this cluster; None where there is nothing that can be read, or it is of another one.
pub fn read_consumer(file: &Path, of: &str) -> Option<ConsumerRecord> {
    read_json(file).filter(|record: &ConsumerRecord| record.of == of)
}

fn write_json(file: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    write::replace(file, &text, 0o644)
}

fn read_json<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}
