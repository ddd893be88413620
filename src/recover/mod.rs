//! A cluster of one member, made of what is left of an old cluster: the steps on this disk.
//!
//! Whether it may be done is for `decide` to say. Restores with etcd's own tool, and looks at what that has made. Until
//! [`Restoration::move_in`] nothing but a directory of its own is written, and nothing is ever deleted (S4).

mod fetch;
mod source;
mod tool;

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use self::fetch::{Found, find};
pub use self::source::Source;
pub use self::tool::Tool;
use crate::config::Config;
use crate::errors::Failed;
use crate::etcd::data;
use crate::model::{ClusterId, Identity, InstanceId, MemberUrl, OwnData, agreement};

/// What is to be made, and where.
#[derive(Debug, Clone)]
pub struct Restoration {
    /// The member's name.
    pub name: InstanceId,
    /// Its peer URL.
    pub peer_url: MemberUrl,
    /// etcd's `--initial-cluster-token`.
    pub token: String,
    /// The new cluster, whose id follows from the URL and the token.
    pub cluster: ClusterId,
    /// How much the revision is raised; 0: not at all.
    pub bump: u64,
    /// Beside the data that it replaces, so that a rename moves it there.
    workspace: PathBuf,
    data_dir: PathBuf,
    /// None: in the data directory.
    wal_dir: Option<PathBuf>,
}

impl Restoration {
    /// Of this source, begun now.
    ///
    /// # Errors
    /// What this node lacks.
    pub fn new(config: &Config, me: &Identity, arn: &str, source: &Source, now: SystemTime) -> Result<Self, String> {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let token = token(arn, &source.digest, second);
        let peer_url =
            config.policy.peer_url(&me.addresses).ok_or("this instance has no address of the form asked for")?;
        Ok(Self {
            name: me.instance.clone(),
            cluster: agreement::cluster_of(&token, std::iter::once(&peer_url)),
            peer_url,
            token,
            bump: config.restore.bump,
            workspace: config.data_dir.join(format!("recover.{second}")),
            data_dir: config.data_dir.clone(),
            // Where the data directory has it by itself.
            wal_dir: config.wal_dir.clone().filter(|wal| *wal != data::inner_log(&config.data_dir)),
        })
    }

    /// Where the tool writes; it may be removed once all is done.
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    fn restored(&self) -> PathBuf {
        self.workspace.join("restored")
    }

    /// Where the log is made that has a directory of its own: beside that.
    fn restored_wal(&self) -> Option<PathBuf> {
        let wal = self.wal_dir.as_ref()?;
        let mut name = wal.file_name()?.to_owned();
        name.push(".");
        name.push(self.workspace.file_name()?);
        Some(wal.with_file_name(name))
    }

    /// Has the tool make the member in the workspace, and looks at it.
    ///
    /// # Errors
    /// What failed, or what the tool has made instead.
    pub async fn restore(&self, source: &Source, tool: &Tool) -> Result<(), Failed> {
        let failed = |e: io::Error| Failed::new("make the directory", self.workspace.display(), e);
        DirBuilder::new().mode(0o700).create(&self.workspace).map_err(failed)?;
        tool.run(&self.arguments(source)).await?;
        self.check(source).map_err(|why| Failed::new("use what was restored in", self.workspace.display(), why))?;
        let sync = || {
            sync_tree(&self.restored())?;
            self.restored_wal().map_or(Ok(()), |wal| sync_tree(&wal))
        };
        sync().map_err(|e| Failed::new("write what was restored in", self.workspace.display(), e))
    }

    /// What follows the tool's `snapshot restore`.
    pub fn arguments(&self, source: &Source) -> Vec<String> {
        let mut arguments = vec![
            source.file.display().to_string(),
            format!("--name={}", self.name),
            format!("--initial-cluster={}={}", self.name, self.peer_url),
            format!("--initial-cluster-token={}", self.token),
            format!("--initial-advertise-peer-urls={}", self.peer_url),
            format!("--data-dir={}", self.restored().display()),
        ];
        arguments.extend(self.restored_wal().map(|wal| format!("--wal-dir={}", wal.display())));
        if self.bump > 0 {
            arguments.extend([format!("--bump-revision={}", self.bump), "--mark-compacted".to_owned()]);
        }
        if !source.is_whole {
            arguments.push("--skip-hash-check".to_owned());
        }
        arguments
    }

    /// A tool that says it is done may have done nothing, or something else.
    fn check(&self, source: &Source) -> Result<(), String> {
        match data::read_own_data(&self.restored(), self.restored_wal().as_deref()) {
            OwnData::Log { cluster_id, had_leader: true, .. } if cluster_id == self.cluster => {}
            other @ (OwnData::Log { .. } | OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. }) => {
                return Err(format!("it is not a log of cluster {}: {other:?}", self.cluster));
            }
        }
        let contents = data::read_contents(&data::database(&self.restored())).map_err(|e| crate::errors::chain(&e))?;
        // Without a key there is nothing to raise.
        let wanted = if source.contents.revision > 0 { source.contents.revision + self.bump } else { 0 };
        if contents.revision < wanted {
            return Err(format!("its revision is {}, not {wanted}", contents.revision));
        }
        Ok(())
    }

    /// Puts the member into its place, which has to be free. The database goes first: half of it reads as `NoLog`.
    ///
    /// # Errors
    /// What could not be renamed.
    pub fn move_in(&self) -> Result<(), Failed> {
        rename(&self.restored().join("member"), &self.data_dir.join("member"))?;
        match (self.restored_wal(), &self.wal_dir) {
            (Some(from), Some(to)) => rename(&from, to),
            _ => Ok(()),
        }
    }
}

/// No two recoveries have the same (S9): with the token of the group alone, a second one on a node would give the ids of the
/// first, and members of the first be taken for members of the second.
fn token(arn: &str, digest: &[u8], second: u64) -> String {
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}/recovered/{digest}/{second}", agreement::plain(arn))
}

/// What this node lacks that no look outside would show: the right owner, and a log that can be renamed.
pub fn unready(config: &Config) -> Option<String> {
    let (data_dir, owner) = (&config.data_dir, |path: &Path| fs::metadata(path).map(|file| file.uid()));
    // A process's own directory has its effective user (proc(5)).
    match (owner(data_dir), owner(Path::new("/proc/self"))) {
        (Ok(theirs), Ok(mine)) if theirs != mine => {
            return Some(format!(
                "the data directory {} is user {theirs}'s, and this is run by {mine}: etcd could not read what it makes",
                data_dir.display()
            ));
        }
        (Err(e), _) if e.kind() != ErrorKind::NotFound => {
            return Some(format!("look at the data directory {}: {e}", data_dir.display()));
        }
        _ => {}
    }
    let member = data_dir.join("member");
    if let Some(wal) =
        config.wal_dir.as_ref().filter(|wal| wal.starts_with(&member) && **wal != data::inner_log(&config.data_dir))
    {
        return Some(format!("the log's directory {} is renamed together with the data around it", wal.display()));
    }
    let device = |path: &Path| fs::metadata(path).map(|file| file.dev()).ok();
    let is_mounted =
        |path: &Path| device(path).zip(path.parent().and_then(device)).is_some_and(|(own, above)| own != above);
    let mounted = [Some(&member), config.wal_dir.as_ref()].into_iter().flatten().find(|path| is_mounted(path))?;
    Some(format!("{} is a mount point, which cannot be renamed", mounted.display()))
}

fn rename(from: &Path, to: &Path) -> Result<(), Failed> {
    let renamed = || {
        if fs::symlink_metadata(to).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        fs::rename(from, to)?;
        to.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    renamed().map_err(|e| Failed::new(format!("rename {} to", from.display()), to.display(), e))
}

/// So that a rename never shows what is not on the disk.
fn sync_tree(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
    }
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r01_r02_no_two_recoveries_make_the_same_cluster() {
        let url: MemberUrl = "http://10.0.0.1:2380".parse().expect("a URL");
        let cluster = |digest: u8, second| {
            agreement::cluster_of(&token("arn:aws:autoscaling:a", &[digest; 32], second), std::iter::once(&url))
        };
        assert_eq!(cluster(1, 100), cluster(1, 100));
        assert_ne!(cluster(1, 100), cluster(1, 101));
        assert_ne!(cluster(1, 100), cluster(2, 100));
    }
}
