//! Where the snapshot is that a recovery begins with, and its way onto this disk.

use std::path::{Component, Path, PathBuf};

use crate::clock::now;
use crate::cloud::{Bucket, Cloud, Download};
use crate::config::{Config, From};
use crate::errors::{Failed, chain};
use crate::files::write::Arriving;
use crate::model::{Blind, BlindKind, Class, GivenUp, Group, Reason, Snapshot, SnapshotName};
use crate::store::Store;

/// How many are shown.
const SHOWN: usize = 10;

/// A snapshot's file, and which others there are.
pub struct Found {
    /// Where it is on this node.
    pub file: PathBuf,
    /// The newest of the same cluster, the newest first; empty where a certain one was asked for.
    pub newest: Vec<Snapshot>,
}

/// Finds what is asked for, and brings it here where it is in a bucket. That changes nothing but a directory of its own,
/// and is not done twice.
///
/// # Errors
/// The reason, for a person.
pub async fn find(config: &Config, cloud: &mut Cloud, from: &From) -> Result<Option<Found>, Reason> {
    match from {
        From::ThisNode => Ok(None),
        From::File(file) => Ok(Some(Found { file: file.clone(), newest: Vec::new() })),
        From::Object { bucket: name, key } => {
            let bucket =
                cloud.bucket(name, config.snapshots.region.as_deref()).await.map_err(Reason::SnapshotsBlind)?;
            let file = fetch(&bucket, name, key, &config.data_dir).await.map_err(Reason::SnapshotsBlind)?;
            Ok(Some(Found { file, newest: Vec::new() }))
        }
        From::Latest => {
            let group = cloud.fetch_group().await.map_err(Reason::GroupBlind)?;
            latest(config, cloud, &group).await.map(Some).map_err(Reason::SnapshotsBlind)
        }
    }
}

/// The newest of the cluster that the group's tag names, and of no other: what is older than that is for a person to name.
async fn latest(config: &Config, cloud: &mut Cloud, group: &Group) -> Result<Found, Blind> {
    let none = |why: String| Blind { kind: BlindKind::Absent, why };
    let place = config.snapshots.to.as_ref().ok_or_else(|| none("there is no --snapshot-to".to_owned()))?;
    let store = Store::open(place, &config.snapshots, cloud).await?;
    let named = group.cluster_tag.as_ref().and_then(|tag| match tag.parse() {
        Ok(GivenUp::Cluster(cluster)) => Some(cluster),
        Ok(GivenUp::Nothing) | Err(_) => None,
    });
    let cluster = named.ok_or_else(|| none("the group's tag names no cluster: say which by --from=".to_owned()))?;
    let of_now = newest_first(store.list(cluster, &Class::ALL).await?);
    let Some(first) = of_now.first() else {
        let mut others = Vec::new();
        for before in &group.replaced {
            let first = newest_first(store.list(*before, &Class::ALL).await?).into_iter().next();
            let told = first.map(|first| format!("; of cluster {before}, before it: --from={}", place.at(&first.name)));
            others.extend(told);
        }
        return Err(none(format!("there is no snapshot of cluster {cluster} in {place}{}", others.concat())));
    };
    let file = match &store {
        Store::Directory(root) => root.join(first.name.to_string()),
        Store::Bucket { bucket, name, prefix } => {
            fetch(bucket, name, &format!("{prefix}{}", first.name), &config.data_dir).await?
        }
    };
    Ok(Found { file, newest: of_now.into_iter().take(SHOWN).collect() })
}

/// A name from the future is that of a node whose clock was wrong: what it holds may be of any time.
fn newest_first(mut snapshots: Vec<Snapshot>) -> Vec<Snapshot> {
    let now = now();
    snapshots.sort_by_key(|snapshot| (snapshot.name.at > now, std::cmp::Reverse(snapshot.name.at)));
    snapshots
}

async fn fetch(bucket: &Bucket, name: &str, key: &str, data_dir: &Path) -> Result<PathBuf, Blind> {
    let absent = |why: &str| Blind { kind: BlindKind::Absent, why: format!("fetch s3://{name}/{key}: {why}") };
    if !Path::new(key).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(absent("no file can have such a name, fetch it by hand"));
    }
    // Made here, it would not be etcd's.
    if !data_dir.is_dir() {
        return Err(absent(&format!("there is no data directory {}", data_dir.display())));
    }
    let download = bucket.get(key).await?;
    // Ours never change; anybody else's may, under the same key.
    let is_ours = SnapshotName::at_end_of(Path::new(key)).is_some();
    let version = if is_ours { String::new() } else { format!(".{}", download.tag) };
    let file = data_dir.join("fetched").join(name).join(format!("{key}{version}"));
    if std::fs::metadata(&file).is_ok_and(|there| there.len() == download.bytes) {
        return Ok(file);
    }
    download_to(download, &file).await?;
    Ok(file)
}

async fn download_to(mut download: Download, file: &Path) -> Result<(), Blind> {
    let failed = |e: std::io::Error| {
        let failed = Failed::new("write", file.display(), e.to_string());
        Blind { kind: BlindKind::Unreachable, why: chain(&failed) }
    };
    let mut arriving = Arriving::begin(file.to_owned(), "fetched", download.bytes).map_err(failed)?;
    while let Some(chunk) = download.chunk().await? {
        arriving.add(&chunk).map_err(failed)?;
    }
    arriving.finish().map_err(failed)
}
