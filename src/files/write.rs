//! How files reach the disk: replaced whole or not at all, and found out beforehand whether that can work.
//!
//! Must not decide anything, log, or write in place; knows nothing of what is in the files.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// More than any environment file, and more than the slack of a file system that is full in all but name.
const PROBE_BYTES: usize = 16 * 1024;

/// Other users must be able to reach the file in a directory that we had to create.
const DIRECTORY_MODE: u32 = 0o755;

/// The permission bits of a mode; the rest of it is the kind of the file.
pub(super) const PERMISSION_BITS: u32 = 0o7777;

/// What [`replace_if_changed`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The file is new or has other contents or another mode than before.
    Replaced,
    /// The file was already as asked; nothing was written, not even its times.
    Same,
}

/// Replaces a file atomically: whoever reads it finds the old contents or the new, never a part (F77).
///
/// Missing parent directories are created with mode 0755. The new file has exactly `mode`, whatever
/// the umask, and the owner of this process. A symbolic link at `path` is replaced, not followed.
///
/// # Errors
/// Whatever the file system says. The old file is then still whole and no temporary one is left; only
/// if the very last step fails, the fsync of the directory, are the new contents in place already.
pub fn replace(path: &Path, contents: &str, mode: u32) -> io::Result<()> {
    let directory = parent_of(path);
    create_missing(directory)?;
    let temp = temp_beside(path)?;
    let replaced = write_new(&temp, contents.as_bytes(), mode).and_then(|()| fs::rename(&temp, path));
    if replaced.is_err() {
        // The first error is the one to tell; a temporary file that never came to be is no second one.
        let _ = fs::remove_file(&temp);
    }
    replaced?;
    sync_directory(directory)
}

/// Like [`replace`], but touches nothing where the file has these contents and this mode already.
///
/// # Errors
/// As [`replace`], and where an existing file cannot be read.
pub fn replace_if_changed(path: &Path, contents: &str, mode: u32) -> io::Result<Changed> {
    if is_already(path, contents, mode)? {
        return Ok(Changed::Same);
    }
    replace(path, contents, mode)?;
    Ok(Changed::Replaced)
}

/// Finds out whether [`replace`] can work, by doing it with another name: read-only and full disks
/// show themselves before anything is sent to etcd. The file at `path` is not touched.
///
/// # Errors
/// What [`replace`] would have met: no permission, read-only, no space, or a directory at `path`.
pub fn check_writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    create_missing(parent_of(path))?;
    let temp = temp_beside(path)?;
    let written = write_new(&temp, &[b'#'; PROBE_BYTES], 0o600);
    let removed = fs::remove_file(&temp);
    written.and(removed)
}

/// A file without a name, which ends with its handle.
///
/// # Errors
/// Whatever the file system says.
pub fn nameless(directory: &Path) -> io::Result<File> {
    let path = temp_beside(&directory.join("nameless"))?;
    let file = create(&path, 0o600)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// A file too large to be held in memory, on its way. It appears whole and under a name that was free, or not at all.
#[derive(Debug)]
pub struct Arriving {
    path: PathBuf,
    temp: PathBuf,
    /// Locked for as long as it is written.
    file: File,
    /// How many bytes have yet to come.
    left: u64,
}

impl Arriving {
    /// Begins a file of so many bytes that only its owner can read. `by` tells those apart who may write to this directory: what one of
    /// them left behind when it was killed goes when it begins its next.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn begin(path: PathBuf, by: &str, bytes: u64) -> io::Result<Self> {
        let directory = parent_of(&path);
        create_missing(directory)?;
        remove_abandoned(directory, by)?;
        let temp = directory.join(format!(".{by}.{:016x}{PART}", fastrand::u64(..)));
        let file = create(&temp, 0o600)?;
        // Where a file system knows no locks, what is left behind stays.
        let _ = file.try_lock();
        Ok(Self { path, temp, file, left: bytes })
    }

    /// Adds to it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn add(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.left = self.left.saturating_sub(chunk.len() as u64);
        self.file.write_all(chunk)
    }

    /// Lets it appear.
    ///
    /// # Errors
    /// That too little came; whatever the file system says; `AlreadyExists` where the name was taken meanwhile.
    pub fn finish(self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("it ended early"));
        }
        self.file.sync_all()?;
        // A rename would replace what is there.
        fs::hard_link(&self.temp, &self.path)?;
        sync_directory(parent_of(&self.path))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temp);
    }
}

/// What a name ends in while its file is on its way.
const PART: &str = ".part";

/// Removes what was begun here and is written by nobody any more: its lock ended with the process.
fn remove_abandoned(directory: &Path, by: &str) -> io::Result<()> {
    let prefix = format!(".{by}.");
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_part = name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(PART));
        if is_part && OpenOptions::new().write(true).open(entry.path())?.try_lock().is_ok() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_already(path: &Path, contents: &str, mode: u32) -> io::Result<bool> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let same_shape = metadata.permissions().mode() & PERMISSION_BITS == mode && metadata.len() == contents.len() as u64;
    Ok(same_shape && fs::read(path)? == contents.as_bytes())
}

fn write_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut file = create(path, mode)?;
    // The umask may have taken bits away at the opening.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(contents)?;
    file.sync_all()
}

/// With its mode from the first moment on: between an opening and a change of the mode others could open it too.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

fn temp_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().and_then(OsStr::to_str).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("'{}' does not end in a file name", path.display()))
    })?;
    // Hidden, so that a directory of *.conf or *.env files never takes it for one of its own.
    Ok(parent_of(path).join(format!(".{name}.{:016x}", fastrand::u64(..))))
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

fn create_missing(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = parent_of(directory);
    if parent != directory {
        create_missing(parent)?;
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Ok(()) => fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))?,
        // Somebody else was faster, for instance systemd with RuntimeDirectory=.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(io::ErrorKind::NotADirectory.into()),
        Err(e) => return Err(e),
    }
    sync_directory(parent)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn names_in(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("the test made it");
        let mut names: Vec<String> = entries
            .map(|e| e.expect("listing a temporary directory").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).expect("the file is there").permissions().mode() & PERMISSION_BITS
    }

    #[test]
    fn f77_replace_creates_directories_and_sets_the_mode() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join("run/etcd/env");
        replace(&path, "A=1\n", 0o644).expect("writing below a temporary directory");
        assert_eq!(fs::read_to_string(&path).expect("just written"), "A=1\n");
        assert_eq!((mode_of(&path), mode_of(&scratch.path().join("run"))), (0o644, 0o755));
        replace(&path, "A=2\n", 0o600).expect("writing below a temporary directory");
        assert_eq!(fs::read_to_string(&path).expect("just written"), "A=2\n");
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(names_in(&scratch.path().join("run/etcd")), ["env"]);
    }

    #[test]
    fn c17_a_new_file_is_unreadable_for_others_from_its_creation_on() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join("key");
        create(&path, 0o600).expect("writing below a temporary directory");
        assert_eq!(mode_of(&path), 0o600);
        assert!(create(&path, 0o600).is_err(), "it is nobody else's, opened before");
    }

    #[test]
    fn f77_a_failed_replace_leaves_the_old_file_and_no_other() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join("env");
        fs::create_dir(&path).expect("an obstacle");
        assert!(replace(&path, "A=1\n", 0o644).is_err());
        assert_eq!(names_in(scratch.path()), ["env"]);
        assert!(check_writable(&path).is_err());
    }

    #[test]
    fn a_link_is_replaced_and_its_target_stays() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let (target, link) = (scratch.path().join("target"), scratch.path().join("link"));
        fs::write(&target, "old").expect("writing a file");
        std::os::unix::fs::symlink(&target, &link).expect("making a link");
        replace(&link, "new", 0o644).expect("replacing a link");
        assert_eq!(fs::read_to_string(&target).expect("still there"), "old");
        assert_eq!(fs::read_to_string(&link).expect("just written"), "new");
    }

    #[test]
    fn an_unchanged_file_keeps_its_inode() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join("env");
        let write = |contents, mode| replace_if_changed(&path, contents, mode).expect("writing");
        assert_eq!(write("A=1\n", 0o644), Changed::Replaced);
        let inode = fs::metadata(&path).expect("just written").ino();
        assert_eq!(write("A=1\n", 0o644), Changed::Same);
        assert_eq!(fs::metadata(&path).expect("just written").ino(), inode);
        assert_eq!(write("A=1\n", 0o600), Changed::Replaced);
        assert_eq!(write("A=2\n", 0o600), Changed::Replaced);
    }

    #[test]
    fn what_arrives_appears_whole_and_replaces_nothing() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join("new/db");
        let directory = scratch.path().join("new");
        let begin = || Arriving::begin(path.clone(), "me", 5).expect("writing below a temporary directory");
        let mut dropped = begin();
        dropped.add(b"half").expect("writing");
        let other = begin();
        assert_eq!(names_in(&directory).len(), 2, "somebody writes each");
        drop((dropped, other));
        assert_eq!(names_in(&directory), Vec::<String>::new());
        // As a kill leaves it; and another node's, which may be at it.
        for left in [".me.0.part", ".you.0.part"] {
            fs::write(directory.join(left), "rest").expect("writing a file");
        }
        let mut whole = begin();
        whole.add(b"wh").and_then(|()| whole.add(b"ole")).and_then(|()| whole.finish()).expect("writing");
        assert_eq!((fs::read(&path).expect("it is there"), mode_of(&path)), (b"whole".to_vec(), 0o600));
        assert!(begin().finish().is_err(), "nothing came");
        let mut again = begin();
        let again = again.add(b"other").and_then(|()| again.finish()).expect_err("the name is taken");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("it is there"), b"whole");
        assert_eq!(names_in(&directory), [".you.0.part", "db"]);
    }

    #[test]
    fn the_preflight_leaves_nothing_behind() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        check_writable(&scratch.path().join("new/env")).expect("a writable directory");
        assert_eq!(names_in(&scratch.path().join("new")), Vec::<String>::new());
        assert!(check_writable(Path::new("/proc/env")).is_err());
        assert!(check_writable(Path::new("/dev/null/env")).is_err());
    }
}
