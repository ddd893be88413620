//! The founder's record: one file in the directory that etcd's log will be in, so that it is lost with it.
//!
//! Owns where it lies, and a new nonce. What it means is for `decide.rs` to say.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::write;
use crate::model::{ClusterId, Record};

/// Beside etcd's own `snap` and `wal`, which alone it looks at (server/storage/datadir/datadir.go, v3.7.1).
pub const FILE: &str = "etcd-bootstrap.json";

/// As etcd makes its directories (client/pkg/fileutil/fileutil.go `PrivateDirMode`, v3.7.1).
const DIRECTORY_MODE: u32 = 0o700;

/// The record of this disk; None where it has none.
///
/// # Errors
/// A sentence that names the file.
pub fn read(data_dir: &Path) -> Result<Option<Record>, String> {
    read_in(&member(data_dir))
}

/// The record of this disk, made where there is none.
///
/// # Errors
/// A sentence that names the file or directory that cannot be read or made.
pub fn prepare(data_dir: &Path) -> Result<Record, String> {
    if let Some(record) = read(data_dir)? {
        return Ok(record);
    }
    let record = new(data_dir)?;
    let member = member(data_dir);
    let cannot = |e: io::Error| format!("make the directory '{}': {e}", member.display());
    make_directories(&member).map_err(cannot)?;
    save(data_dir, &record).map_err(|e| format!("write '{}': {e}", member.join(FILE).display()))?;
    Ok(record)
}

/// What would be the record of a disk that has none: with a nonce that no other disk has. Writes nothing.
///
/// # Errors
/// A sentence that names the file or directory that cannot be read.
pub fn new(data_dir: &Path) -> Result<Record, String> {
    Ok(Record { nonce: nonce(), given_up: given_up_before(data_dir)?, agreed: None })
}

/// Replaces the record.
///
/// # Errors
/// The system's.
pub fn save(data_dir: &Path, record: &Record) -> io::Result<()> {
    let text = serde_json::to_string_pretty(record).map_err(io::Error::other)?;
    write::replace(&member(data_dir).join(FILE), &text, 0o644)
}

/// Eight random hexadecimal digits.
pub fn nonce() -> String {
    format!("{:08x}", fastrand::u32(..))
}

fn member(data_dir: &Path) -> PathBuf {
    data_dir.join("member")
}

fn read_in(member: &Path) -> Result<Option<Record>, String> {
    let file = member.join(FILE);
    match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| format!("read '{}': {e}", file.display())),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(format!("read '{}': {e}", file.display())),
    }
}

/// What this disk gave up when its data was set aside, as the directories `member.<time>` still say.
fn given_up_before(data_dir: &Path) -> Result<Vec<ClusterId>, String> {
    let cannot = |e: io::Error| format!("read the directory '{}': {e}", data_dir.display());
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(cannot(e)),
    };
    let mut given_up = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        if entry.file_name().to_string_lossy().starts_with("member.") {
            given_up.extend(read_in(&entry.path())?.into_iter().flat_map(|record| record.given_up));
        }
    }
    Ok(given_up.into_iter().collect())
}

/// Makes what is missing of a path for etcd's user: whoever owns what is there.
fn make_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    make_directories(parent)?;
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        // Another agent on this node, by hand as a rule, was faster.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let (owner, made) = (fs::metadata(parent)?, fs::metadata(path)?);
    if (owner.uid(), owner.gid()) != (made.uid(), made.gid()) {
        chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b02_f84_the_record_is_lost_with_the_log_and_kept_with_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("etcd");
        let first = prepare(&data).expect("it can be made");
        assert_eq!(prepare(&data), Ok(first.clone()), "it stays");
        let mode = fs::metadata(data.join("member")).expect("it was made").mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::remove_dir_all(data.join("member")).expect("it is there");
        let second = prepare(&data).expect("it can be made");
        assert_ne!(first.nonce, second.nonce);
    }

    #[test]
    fn f87_what_was_given_up_is_known_after_the_data_was_set_aside() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut record = prepare(dir.path()).expect("it can be made");
        record.given_up.push(ClusterId(0xc1));
        save(dir.path(), &record).expect("it can be written");
        fs::rename(dir.path().join("member"), dir.path().join("member.20261125T000000Z")).expect("it is there");
        assert_eq!(prepare(dir.path()).map(|r| r.given_up), Ok(vec![ClusterId(0xc1)]));
    }

    #[test]
    fn a_damaged_record_is_no_new_one() {
        let dir = tempfile::tempdir().expect("a directory");
        prepare(dir.path()).expect("it can be made");
        fs::write(dir.path().join("member").join(FILE), "{").expect("it can be written");
        assert!(prepare(dir.path()).is_err());
    }
}
