//! The options of snapshots, and of the way back.

use std::time::Duration;

use clap::Args;

use crate::config::{From, Place, Restore, Snapshots};

/// A slot has to hold several runs of the timer, in both of its halves.
const OFTENEST: Duration = Duration::from_secs(1200);

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct SnapshotOptions {
    /// Where `snapshot` puts snapshots and `recover` looks for them: `s3://BUCKET/PREFIX`, or a directory that is there
    /// [default: nowhere]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_SNAPSHOT_TO", value_name = "PLACE")]
    pub snapshot_to: Option<String>,

    /// How often a snapshot is taken, 20 minutes at least: one in each slot of this length, by whichever member comes
    /// first
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_SNAPSHOT_EVERY", value_name = "DURATION", default_value = "1h")]
    pub snapshot_every: String,

    /// The region of the buckets [default: this instance's]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_SNAPSHOT_REGION", value_name = "REGION")]
    pub snapshot_region: Option<String>,

    /// etcd's own tool that `recover` restores with, and its arguments, with blanks between them [default: etcdutl, else
    /// etcdctl]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_RESTORE_TOOL", value_name = "COMMAND")]
    pub restore_tool: Option<String>,

    /// How much `recover` raises the revision, so that no client has seen a later one; 0 leaves it
    ///
    /// Watches of before are cut off then, and their clients read everything anew.
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_BUMP_REVISION", value_name = "N", default_value = "1000000000")]
    pub bump_revision: u64,
}

impl SnapshotOptions {
    /// What is meant by them.
    ///
    /// # Errors
    /// Which of them is none. The commands that etcd's start waits for go on without: it must not hang on a snapshot.
    pub fn snapshots(&self) -> Result<Snapshots, String> {
        let named = |option: &str, why: String| format!("--{option}: {why}");
        Ok(Snapshots {
            to: self.snapshot_to.as_deref().map(place).transpose().map_err(|e| named("snapshot-to", e))?,
            every: every(&self.snapshot_every).map_err(|e| named("snapshot-every", e))?,
            region: self.snapshot_region.clone(),
        })
    }

    pub(super) fn restore(&self) -> Restore {
        Restore { tool: self.restore_tool.clone(), bump: self.bump_revision }
    }
}

fn every(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    let why = || format!("{} at least", humantime::format_duration(OFTENEST));
    if every >= OFTENEST { Ok(every) } else { Err(why()) }
}

fn place(text: &str) -> Result<Place, String> {
    match in_bucket(text)? {
        Some((name, prefix)) => {
            let prefix = prefix.trim_matches('/');
            // A URL has no such parts.
            if prefix.split('/').any(|part| part == "." || part == "..") {
                return Err("a prefix has no . or .. in it".to_owned());
            }
            let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            Ok(Place::Bucket { name, prefix })
        }
        None => std::path::absolute(text).map(Place::Directory).map_err(|e| e.to_string()),
    }
}

/// What `recover` is to begin with.
pub(super) fn from(text: &str) -> Result<From, String> {
    match (text, in_bucket(text)?) {
        ("latest", _) => Ok(From::Latest),
        ("this-node", _) => Ok(From::ThisNode),
        (_, Some((bucket, key))) if !key.is_empty() => Ok(From::Object { bucket, key: key.to_owned() }),
        (_, Some(_)) => Err("it names a bucket and no snapshot in it".to_owned()),
        (file, None) => std::path::absolute(file).map(From::File).map_err(|e| e.to_string()),
    }
}

/// The bucket, and what follows; None where it is a path.
fn in_bucket(text: &str) -> Result<Option<(String, &str)>, String> {
    let Some(rest) = text.strip_prefix("s3://") else {
        return if text.contains("://") { Err("neither s3:// nor a path".to_owned()) } else { Ok(None) };
    };
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() { Err("it names no bucket".to_owned()) } else { Ok(Some((bucket.to_owned(), key))) }
}
