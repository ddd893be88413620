//! What a cluster is recovered from: a snapshot, somebody's database file, or this node's own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use crate::config::Config;
use crate::errors::Failed;
use crate::etcd::data;
use crate::etcd::snapshot::{SECTOR, has_hash};
use crate::model::{ClusterId, Contents, OwnData, SnapshotName};

/// The data that a new cluster begins with, looked at and found whole.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub file: PathBuf,
    /// What is in it.
    pub contents: Contents,
    /// The cluster that it is of; None where it does not say, as a file that is not called as snapshots are.
    pub cluster: Option<ClusterId>,
    /// Whether it is a snapshot, whose hash was right; a database as etcd runs on has none.
    pub is_whole: bool,
    /// The SHA-256 of the database.
    pub digest: Vec<u8>,
}

impl Source {
    /// A snapshot, or a database file of a member that does not run, read to its end.
    ///
    /// # Errors
    /// Which file it is, and that it cannot be read, is cut off, or has another hash than it says.
    pub fn file(file: PathBuf) -> Result<Self, Failed> {
        let (digest, is_whole) = read_through(&file).map_err(|e| Failed::new("read", file.display(), e))?;
        // A log that is damaged tells nothing: then the database is all there is.
        let beside = directory_of(&file).and_then(|data_dir| data::read_own_contents(data_dir, None).ok());
        let contents = beside.map_or_else(|| data::read_contents(&file), Ok)?;
        let cluster = SnapshotName::at_end_of(&file).map(|name| name.cluster);
        Ok(Self { file, contents, cluster, is_whole, digest })
    }

    /// This node's own data.
    ///
    /// # Errors
    /// As [`Source::file`], and where there is none.
    pub fn own(config: &Config) -> Result<Self, Failed> {
        let (data_dir, wal_dir) = (&config.data_dir, config.wal_dir.as_deref());
        let cluster = match data::read_own_data(data_dir, wal_dir) {
            OwnData::Log { cluster_id, .. } => cluster_id,
            OwnData::Unreadable { why } => return Err(Failed::new("read the data in", data_dir.display(), why)),
            OwnData::Empty | OwnData::NoLog => {
                let none = "there is no etcd data with a write-ahead log in it; what was set aside is in member.*, and its \
                            snap/db can be recovered from as a file";
                return Err(Failed::new("read the data in", data_dir.display(), none));
            }
        };
        let file = data::database(data_dir);
        let contents = data::read_own_contents(data_dir, wal_dir)?;
        let (digest, is_whole) = read_through(&file).map_err(|e| Failed::new("read", file.display(), e))?;
        Ok(Self { file, contents, cluster: Some(cluster), is_whole, digest })
    }
}

/// The data directory that a file is the database of, with its log beside it; None for any other file.
fn directory_of(file: &Path) -> Option<&Path> {
    let member = file.parent()?.parent()?;
    (file.ends_with("member/snap/db") && member.join("wal").is_dir()).then(|| member.parent())?
}

/// The digest of the database, and whether the file ends with it.
fn read_through(path: &Path) -> io::Result<(Vec<u8>, bool)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let hash_size = size % SECTOR;
    if size < SECTOR || (hash_size != 0 && !has_hash(size)) {
        return Err(io::Error::other("it is cut off: neither a database nor a snapshot has so many bytes"));
    }
    let mut hash = Context::new(&SHA256);
    let mut left = size - hash_size;
    let mut chunk = vec![0; 1024 * 1024];
    while left > 0 {
        let wanted = left.min(chunk.len() as u64) as usize;
        let part = chunk.get_mut(..wanted).unwrap_or_default();
        file.read_exact(part)?;
        hash.update(part);
        left -= wanted as u64;
    }
    let digest = hash.finish().as_ref().to_vec();
    let mut said = Vec::new();
    file.read_to_end(&mut said)?;
    if hash_size > 0 && said != digest {
        return Err(io::Error::other("it is damaged: its content has another hash than its end says"));
    }
    Ok((digest, hash_size > 0))
}
