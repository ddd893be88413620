//! Setting a data directory aside.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use time::OffsetDateTime;
use time::macros::format_description;

use super::is_present;

/// Renames `member` to `member.<time in UTC>` and, where there is one, `wal_dir` in the same way, so that
/// etcd starts afresh. Deletes nothing. Returns the new path of `member`, or of the log where that is all.
///
/// The log goes first: if only half of this is done, the rest reads as `NoLog` and is set aside next time.
///
/// # Errors
/// `NotFound` where there is nothing to set aside; `ResourceBusy` where a directory is a mount point;
/// otherwise whatever the file system says.
pub fn set_aside(data_dir: &Path, wal_dir: Option<&Path>, now: SystemTime) -> io::Result<PathBuf> {
    let stamp = render_stamp(now)?;
    let mut moved = None;
    if let Some(wal) = wal_dir {
        moved = rename_aside(wal, &stamp)?;
    }
    moved = rename_aside(&data_dir.join("member"), &stamp)?.or(moved);
    moved.ok_or_else(|| {
        io::Error::new(ErrorKind::NotFound, format!("'{}' holds nothing to set aside", data_dir.display()))
    })
}

fn render_stamp(now: SystemTime) -> io::Result<String> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    OffsetDateTime::from(now).format(format).map_err(io::Error::other)
}

/// None where there is nothing under this name.
fn rename_aside(directory: &Path, stamp: &str) -> io::Result<Option<PathBuf>> {
    if !is_present(directory)? {
        return Ok(None);
    }
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("'{}' has no name", directory.display())));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    for attempt in 0u32.. {
        let suffix = if attempt == 0 { format!(".{stamp}") } else { format!(".{stamp}-{attempt}") };
        let mut aside = name.to_owned();
        aside.push(suffix);
        let aside = parent.join(aside);
        // A rename would silently replace an empty directory.
        if !is_present(&aside)? {
            fs::rename(directory, &aside)?;
            File::open(parent)?.sync_all()?;
            return Ok(Some(aside));
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}
