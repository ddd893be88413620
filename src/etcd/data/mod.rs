//! etcd's data directory: reading it while no etcd runs, or beside one that does, and setting it aside.
//!
//! Must not write into it, delete anything, or guess: what cannot be read is [`OwnData::Unreadable`],
//! never [`OwnData::Empty`]. What follows from the data is for `decide` to say.
//!
//! The write-ahead log is read as etcd itself reads it (server/storage/wal/decoder.go and wal.go, v3.7.1;
//! wal/, v3.3.27 and v3.5.21: the frames, record types and checksums are the same in all of them), from
//! its first record on and only up to the first proof that the member has known a leader. How far it has come is read
//! from its last segment alone.

mod aside;
mod backend;
mod proto;
mod record;
mod wal;

pub use aside::set_aside;
pub use backend::read_contents;

use std::fs::DirEntry;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use prost::Message;
use std::{fs, io};

use self::proto::HardState;
use self::record::{Kind, Records};
use self::wal::{Segment, count_writes, find_damage, read_log, read_segments};
use crate::errors::Failed;
use crate::model::{Contents, OwnData};

/// Reads whose data the directory holds: the cluster, the member, and whether it has ever known a leader.
///
/// `wal_dir` is etcd's `--wal-dir`; None means `member/wal` in the data directory. A torn end is normal
/// after a crash and etcd repairs it; damage where etcd would refuse to start is `Unreadable`. A failed
/// first start of etcd leaves a backend without a log, so `NoLog` need not mean that data was lost.
///
/// `founders` is empty unless this member is one of them and has written the list whole.
pub fn read_own_data(data_dir: &Path, wal_dir: Option<&Path>) -> OwnData {
    read_directories(data_dir, wal_dir).unwrap_or_else(|why| OwnData::Unreadable { why })
}

/// Whether a log of etcd's is there that can be read.
pub fn has_log(data_dir: &Path, wal_dir: Option<&Path>) -> bool {
    matches!(read_own_data(data_dir, wal_dir), OwnData::Log { .. })
}

/// The highest index that this member knew to be committed; None where that cannot be read.
///
/// Never more than was committed: reading ends at the first record that is not whole. Each segment begins with the
/// state at its cut (wal.go, `cut`; the same from v3.4 on), so the last one tells, and etcd reads its 64 MB next anyway.
pub fn read_commit(data_dir: &Path, wal_dir: Option<&Path>) -> Option<u64> {
    let segments = own_segments(data_dir, wal_dir).ok()?;
    let mut records = Records::open(&segments.last()?.path, true, 0).ok()?;
    let mut commit = None;
    while let Ok(Some(record)) = records.read_next() {
        if matches!(record.kind, Kind::State) {
            commit = Some(HardState::decode(record.data.as_slice()).ok()?.commit);
        }
    }
    commit
}

/// What of the own log is damaged, so that etcd does not start on it; None where all is as etcd wrote it. Not beside an etcd
/// that runs: it is writing.
pub fn read_damage(data_dir: &Path, wal_dir: Option<&Path>) -> Option<String> {
    find_damage(&own_segments(data_dir, wal_dir).ok()?)
}

/// What the own database holds, and how many writes of the own log are not in it yet: etcd puts a tenth of a second of them
/// into it at a time (`defaultBatchInterval`, server/storage/backend/backend.go, v3.7.1), and a kill comes in between.
///
/// # Errors
/// Which file cannot be read, or is damaged.
pub fn read_own_contents(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Contents, Failed> {
    let contents = read_contents(&database(data_dir))?;
    let behind = match read_commit(data_dir, wal_dir) {
        Some(commit) => own_segments(data_dir, wal_dir).and_then(|s| count_writes(&s, contents.index, commit)),
        None => Err("it cannot be told up to where it is committed".to_owned()),
    };
    let behind = behind.map_err(|why| Failed::new("read the log of", data_dir.display(), why))?;
    Ok(Contents { behind, ..contents })
}

fn own_segments(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Vec<Segment>, String> {
    read_segments(wal_dir.unwrap_or(&inner_log(data_dir)))
}

/// etcd's log in a data directory, where it has no directory of its own.
pub fn inner_log(data_dir: &Path) -> PathBuf {
    data_dir.join("member").join("wal")
}

/// etcd's database in a data directory.
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join("member").join("snap").join("db")
}

pub(super) fn is_present(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn read_directories(data_dir: &Path, wal_dir: Option<&Path>) -> Result<OwnData, String> {
    read_entries(data_dir)?;
    let inner = inner_log(data_dir);
    let wal = wal_dir.unwrap_or(&inner);
    let segments = read_segments(wal)?;
    if !segments.is_empty() {
        return read_log(&segments);
    }
    if wal != inner && !read_segments(&inner)?.is_empty() {
        return Err(format!(
            "the write-ahead log is in '{}' and not in '{}', where etcd is told to look for it",
            inner.display(),
            wal.display()
        ));
    }
    // A disk of this kind only looks empty: etcd has run here with another data directory (F97).
    if let Some(other) = find_other(data_dir)? {
        return Err(format!(
            "another etcd data directory lies here: '{}', and this node looks at '{}'",
            other.display(),
            data_dir.display()
        ));
    }
    if !holds_files(&data_dir.join("member"), crate::files::record::FILE)? {
        return Ok(OwnData::Empty);
    }
    // etcd makes this directory by renaming one that has its first segment already; only a --wal-dir may
    // have been made beforehand by somebody else.
    if read_entries(&inner)?.is_some() && wal == inner {
        return Err(format!("'{}' has lost all segments of the write-ahead log", inner.display()));
    }
    Ok(OwnData::NoLog)
}

/// A directory with data of etcd one level below this one, as the `default` of Debian's package and the `NAME.etcd` of
/// etcd itself, or the one above. What was set aside is none: it has no `member` of its own.
fn find_other(data_dir: &Path) -> Result<Option<PathBuf>, String> {
    let entries = read_entries(data_dir)?.unwrap_or_default();
    // fsck's directory is root's alone, and on every fresh volume.
    let below = entries.iter().filter(|entry| entry.file_name() != "lost+found").map(DirEntry::path);
    let holds = |directory: &Path| holds_files(directory, crate::files::record::FILE);
    let above = data_dir.parent().map(Path::to_owned);
    for directory in below.filter(|path| path.is_dir()).chain(above) {
        let member = directory.join("member");
        // Other programs may call something `member` too, but have nothing of these names in it.
        if !member.is_file() && (holds(&member.join("wal"))? || holds(&member.join("snap"))?) {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

/// None where there is no such directory.
pub(super) fn read_entries(directory: &Path) -> Result<Option<Vec<DirEntry>>, String> {
    let cannot = |e: io::Error| format!("cannot read directory '{}': {e}", directory.display());
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().map(Some).map_err(cannot),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            if is_present(directory).map_err(cannot)? {
                return Err(format!("'{}' is a link to nowhere", directory.display()));
            }
            Ok(None)
        }
        Err(e) => Err(cannot(e)),
    }
}

/// Whether there is anything but directories and the founder's record below this one; links are not followed.
fn holds_files(top: &Path, record: &str) -> Result<bool, String> {
    let mut left = vec![top.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in read_entries(&directory)?.unwrap_or_default() {
            let path = entry.path();
            let kind = entry.file_type().map_err(|e| format!("cannot look at '{}': {e}", path.display()))?;
            // The record, or one that is just being written (see `write::replace`).
            let name = entry.file_name();
            let written =
                name.to_str().is_some_and(|name| name.strip_prefix('.').is_some_and(|n| n.starts_with(record)));
            if directory == top && (name == record || written) {
                continue;
            }
            if !kind.is_dir() {
                return Ok(true);
            }
            left.push(path);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
