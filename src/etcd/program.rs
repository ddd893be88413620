//! The etcd that this node will start, as a program on its disk: which version it is.
//!
//! Owns how it is asked. What follows from the answer is in `decide.rs`.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::config::OwnEtcd;
use crate::model::{Blind, BlindKind, EtcdVersion, Seen};

/// It takes some 50 ms. One on a disk that hangs is not worth more of a node's start than this.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Many times what etcd says of itself: what goes on beyond it is something else.
const MAX_ANSWER: u64 = 4096;

/// Asks a program for its version, in etcd's words: `etcd Version: 3.6.16` (embed/etcdmain, the same from 3.4 to 3.7).
///
/// # Errors
/// Why it is not known.
pub async fn fetch_version(etcd: &Path) -> Result<EtcdVersion, Blind> {
    let blind = |kind, why: String| Blind { kind, why: format!("ask {} for its version: {why}", etcd.display()) };
    let told = match tokio::time::timeout(TIMEOUT, ask(etcd)).await {
        Ok(Ok(told)) => told,
        Ok(Err(e)) => return Err(blind(BlindKind::Absent, e.to_string())),
        Err(_) => return Err(blind(BlindKind::Unreachable, format!("no answer within {} s", TIMEOUT.as_secs()))),
    };
    let version = told.lines().find_map(|line| line.strip_prefix("etcd Version: ")?.trim().parse().ok());
    version.ok_or_else(|| blind(BlindKind::Malformed, "it does not answer as an etcd".to_owned()))
}

/// The version that a node's etcd has, where it is told or asked for.
pub async fn version_of(etcd: &OwnEtcd) -> Seen<EtcdVersion> {
    match etcd {
        OwnEtcd::Told(version) => version.clone(),
        OwnEtcd::Program(path) => fetch_version(path).await.map_or_else(Seen::No, Seen::Yes),
    }
}

async fn ask(etcd: &Path) -> io::Result<String> {
    let mut command = Command::new(etcd);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Dropped at the timeout, and with a run that ends before.
    let mut child = command.kill_on_drop(true).spawn()?;
    let mut told = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut told).await?;
    }
    Ok(String::from_utf8_lossy(&told).into_owned())
}
