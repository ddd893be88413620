//! How fast a disk is for etcd, and what kind of disk it is.

use std::fmt;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::write::{PERMISSION_BITS, nameless};
use crate::model::{Blind, BlindKind, Disk, DiskKind, Seen};

/// An entry of etcd's log, as the benchmark of its authors writes it (IBM, "Using Fio to tell whether your storage is fast
/// enough for etcd", to which etcd.io's "Hardware recommendations" lead, read 2026-11-28).
const ENTRY: [u8; 2300] = [b'#'; 2300];

const ENTRIES: usize = 100;

/// The kinds by the number of their file system (statfs(2)): tmpfs and ramfs; NFS, CIFS, SMB2 and Ceph.
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
const NETWORK: [u32; 4] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400];

/// Tries the disk of a directory, in a file of its own that nobody else sees. It takes a hundred times what a write takes.
pub fn try_disk(directory: &Path) -> Seen<Disk> {
    let why = |what: &dyn fmt::Display| format!("{}: {what}", directory.display());
    if !directory.exists() {
        let missing = "not there yet; if it is to be a volume of its own, that is not mounted";
        return Seen::No(Blind { kind: BlindKind::Absent, why: why(&missing) });
    }
    measure(directory).map_or_else(|e| Seen::No(Blind { kind: kind_of(&e), why: why(&e) }), Seen::Yes)
}

fn kind_of(error: &io::Error) -> BlindKind {
    if error.kind() == io::ErrorKind::PermissionDenied { BlindKind::Denied } else { BlindKind::Unreachable }
}

fn measure(directory: &Path) -> io::Result<Disk> {
    let mode = fs::metadata(directory)?.permissions().mode() & PERMISSION_BITS;
    let system = rustix::fs::statvfs(directory)?;
    // The type of the number is another one on other machines; it has no more than 32 bits on any.
    let number = rustix::fs::statfs(directory)?.f_type as u32;
    let kind = match number {
        number if MEMORY.contains(&number) => DiskKind::Memory,
        number if NETWORK.contains(&number) => DiskKind::Network,
        _ => DiskKind::Local,
    };
    let (path, free) = (directory.display().to_string(), system.f_bavail.saturating_mul(system.f_frsize));
    Ok(Disk { path, mode, sync_p99: sync_p99(directory)?, free, kind })
}

/// etcd writes over zeros that are there already, so that no length has to be written with an entry.
fn sync_p99(directory: &Path) -> io::Result<Duration> {
    let mut file = nameless(directory)?;
    file.write_all(&vec![0; ENTRY.len() * ENTRIES])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut took = Vec::with_capacity(ENTRIES);
    for _ in 0..ENTRIES {
        let began = Instant::now();
        file.write_all(&ENTRY)?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    took.sort();
    // All but the slowest of a hundred.
    Ok(took.iter().rev().nth(1).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_tried_and_nothing_stays() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o750)).expect("it is ours");
        let Seen::Yes(disk) = try_disk(scratch.path()) else { panic!("it can be written to") };
        assert_eq!((disk.mode, disk.path.as_str()), (0o750, scratch.path().to_str().expect("text")));
        assert!(disk.free > 0 && disk.sync_p99 > Duration::ZERO, "{disk:?}");
        assert_eq!(fs::read_dir(scratch.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn memory_is_known_and_what_is_not_there_too() {
        let disk = try_disk(Path::new("/dev/shm"));
        assert_eq!(disk.ok().map(|disk| disk.kind), Some(DiskKind::Memory), "{disk:?}");
        assert_eq!(try_disk(Path::new("/nowhere/etcd")).blind().map(|blind| blind.kind), Some(BlindKind::Absent));
        let refused = try_disk(Path::new("/proc/sys")).blind().map(|blind| blind.kind);
        assert!(matches!(refused, Some(BlindKind::Denied | BlindKind::Unreachable)), "{refused:?}");
    }
}
