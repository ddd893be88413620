//! Where snapshots are kept: a directory that several nodes may share, or a bucket of S3.
//!
//! Each appears whole or not at all, and is never changed, replaced or deleted (S4).

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

pub use crate::cloud::Stored;
use crate::cloud::{Bucket, Cloud};
use crate::config::{Place, Snapshots};
use crate::errors::{Failed, chain};
use crate::etcd::snapshot::{STALL, has_hash};
use crate::files::write::Arriving;
use crate::model::{Blind, BlindKind, Class, ClusterId, Snapshot, SnapshotName};

/// Where snapshots are kept.
pub enum Store {
    /// The directory, which is there.
    Directory(PathBuf),
    /// In S3.
    Bucket {
        /// The bucket.
        bucket: Bucket,
        /// Its name.
        name: String,
        /// What all keys begin with.
        prefix: String,
    },
}

impl Store {
    /// Finds it; nothing is asked of a bucket yet.
    ///
    /// # Errors
    /// That the directory is not there, or this node's region is not known.
    pub async fn open(place: &Place, snapshots: &Snapshots, cloud: &mut Cloud) -> Result<Self, Blind> {
        match place {
            Place::Directory(path) => {
                let root = path.clone();
                // Made here, one that is not mounted would be on this node's own disk.
                if !disk("look at", path, move || Ok(root.is_dir())).await? {
                    let why = format!("there is no directory {}: is it mounted?", path.display());
                    return Err(Blind { kind: BlindKind::Absent, why });
                }
                Ok(Self::Directory(path.clone()))
            }
            Place::Bucket { name, prefix } => {
                let bucket = cloud.bucket(name, snapshots.region.as_deref()).await?;
                Ok(Self::Bucket { bucket, name: name.clone(), prefix: prefix.clone() })
            }
        }
    }

    /// The snapshots of a cluster in these classes.
    ///
    /// # Errors
    /// What was in the way; never an empty list in its place (F35).
    pub async fn list(&self, cluster: ClusterId, classes: &[Class]) -> Result<Vec<Snapshot>, Blind> {
        let mut all = Vec::new();
        for class in classes {
            let directory = SnapshotName::directory(*class, cluster);
            all.extend(match self {
                Self::Directory(root) => {
                    let below = root.clone();
                    disk("list", root, move || list_directory(&below, &directory)).await?
                }
                Self::Bucket { bucket, prefix, .. } => {
                    let objects = bucket.list(&format!("{prefix}{directory}")).await?.into_iter();
                    objects.filter_map(|object| named(object.key.strip_prefix(prefix)?, object.bytes)).collect()
                }
            });
        }
        Ok(all)
    }

    /// Writes one of so many bytes, as they come. Where fewer come there is none; where there is one already it stays.
    /// Who sends sees when nothing is taken any more.
    ///
    /// # Errors
    /// What was in the way. It may be there then: S3 may have taken it and its answer be lost.
    pub async fn put(
        &self,
        name: &SnapshotName,
        bytes: u64,
        chunks: mpsc::Receiver<Bytes>,
        by: &str,
    ) -> Result<Stored, Blind> {
        let root = match self {
            Self::Bucket { bucket, prefix, .. } => {
                return Ok(bucket.put(&format!("{prefix}{name}"), bytes, chunks).await?);
            }
            Self::Directory(root) => root,
        };
        let (path, by) = (root.join(name.to_string()), by.to_owned());
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || write(path, &by, bytes, chunks)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => Ok(Stored::Written),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Stored::Exists),
            Err(e) => Err(failed("write", &target, &e)),
        }
    }
}

fn write(path: PathBuf, by: &str, bytes: u64, mut chunks: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut file = Arriving::begin(path, by, bytes)?;
    while let Some(chunk) = chunks.blocking_recv() {
        file.add(&chunk)?;
    }
    file.finish()
}

fn list_directory(root: &Path, directory: &str) -> io::Result<Vec<Snapshot>> {
    let entries = match std::fs::read_dir(root.join(directory)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut snapshots = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = format!("{directory}{}", entry.file_name().to_string_lossy());
        match entry.metadata() {
            Ok(file) => snapshots.extend(named(&name, file.len())),
            // Another node has given its snapshot the name of a whole one meanwhile, or a rule has deleted one.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(snapshots)
}

/// What is called otherwise is none of ours; and of another size it is not whole. S3 keeps no such, but some that speak its
/// protocol do (seen with versitygw 1.8.0).
fn named(name: &str, bytes: u64) -> Option<Snapshot> {
    let name = name.parse().ok()?;
    has_hash(bytes).then_some(Snapshot { name, bytes })
}

/// Does something on a disk that may be somebody else's, and hang.
async fn disk<T: Send + 'static>(
    operation: &str,
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Blind> {
    let done = tokio::time::timeout(STALL, tokio::task::spawn_blocking(work)).await;
    let hangs = |_| io::Error::other(format!("nothing for {} s", STALL.as_secs()));
    done.map_err(hangs).and_then(|done| done.map_err(io::Error::other)?).map_err(|e| failed(operation, path, &e))
}

fn failed(operation: &str, path: &Path, e: &io::Error) -> Blind {
    let denied = matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem);
    let kind = if denied { BlindKind::Denied } else { BlindKind::Unreachable };
    let failed = Failed::new(operation, path.display(), e.to_string());
    Blind { kind, why: chain(&failed) }
}
