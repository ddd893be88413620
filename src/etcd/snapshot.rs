//! A member's database, as etcd streams it: first the whole of it, then, by itself, its SHA-256
//! (server/etcdserver/api/v3rpc/maintenance.go, v3.7.1; the same from 3.4 on).

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Client, SnapshotResponse, SnapshotStreaming};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tokio::sync::mpsc;

use super::client::{absence, connect, text};
use super::user::Access;
use crate::model::{Absence, MemberUrl};

/// How long nothing may come from etcd, or go to where it is kept.
pub const STALL: Duration = Duration::from_secs(30);

const HASH: u64 = SHA256_OUTPUT_LEN as u64;

/// Whether so many bytes can be a snapshot: a database is of whole sectors, so that a hash behind it is seen by the size
/// (`HasChecksum` of etcdutl/snapshot/v3_snapshot.go, v3.7.1).
pub fn has_hash(bytes: u64) -> bool {
    bytes > HASH && bytes % SECTOR == HASH
}

/// Of a disk, as bbolt has it at least.
pub const SECTOR: u64 = 512;

/// A snapshot that a member has begun to send.
pub struct Stream {
    stream: SnapshotStreaming,
    first: SnapshotResponse,
    /// The size of the database.
    database: u64,
}

impl Stream {
    /// Asks a member for one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(access: &Access, url: &MemberUrl) -> Result<Self, Absence> {
        let begin = async {
            let mut client = connect(access, url, STALL).await?;
            // A stream is refused by its first message.
            let first = async |mut client: Client| {
                let mut stream = client.snapshot().await?;
                let first = stream.message().await?;
                Ok((stream, first))
            };
            access.call(&mut client, first).await.map_err(|e| absence(&e))
        };
        let (stream, first) = tokio::time::timeout(STALL, begin).await.unwrap_or(Err(Absence::NoAnswer(STALL)))?;
        let first = first.ok_or_else(|| Absence::NotUnderstood("an empty snapshot".to_owned()))?;
        let database = first.blob().len() as u64 + first.remaining_bytes();
        if !has_hash(database + HASH) {
            return Err(Absence::NotUnderstood(format!("a snapshot of {database} bytes, which no database has")));
        }
        Ok(Self { stream, first, database })
    }

    /// Its size, with the hash behind the database.
    pub fn bytes(&self) -> u64 {
        self.database + HASH
    }

    /// Sends all of it on, the hash last, and only where it is that of what was sent: who waits for so many bytes never has
    /// a whole one that is wrong. Ends early, and well, where nobody takes it any more.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn send(mut self, chunks: mpsc::Sender<Bytes>) -> Result<(), Broken> {
        let mut hash = Context::new(&SHA256);
        let mut left = self.database;
        let mut message = self.first;
        loop {
            let blob = Bytes::copy_from_slice(message.blob());
            let longer = || Broken::Source("it is longer than it says".to_owned());
            left = left.checked_sub(blob.len() as u64).ok_or_else(longer)?;
            hash.update(&blob);
            if pass_on(&chunks, blob).await? == Taken::NoMore {
                return Ok(());
            }
            if left == 0 {
                break;
            }
            message = next(&mut self.stream).await?;
        }
        let said = next(&mut self.stream).await?;
        if said.blob() != hash.finish().as_ref() {
            return Err(Broken::Source("it is damaged: it has another hash than etcd says".to_owned()));
        }
        pass_on(&chunks, Bytes::copy_from_slice(said.blob())).await.map(drop)
    }
}

/// Why a snapshot was not sent on to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// It broke off at etcd, differs from what it says, or does not move.
    Source(String),
    /// Nobody took anything of it for as long as [`STALL`].
    NotTaken,
}

async fn next(stream: &mut SnapshotStreaming) -> Result<SnapshotResponse, Broken> {
    let message = tokio::time::timeout(STALL, stream.message()).await;
    let message = message.map_err(|_| Broken::Source(format!("etcd sent nothing for {} s", STALL.as_secs())))?;
    message.map_err(|e| Broken::Source(text(&e)))?.ok_or_else(|| Broken::Source("it broke off".to_owned()))
}

#[derive(PartialEq, Eq)]
enum Taken {
    Yes,
    /// Who takes it has its own reason, and tells it.
    NoMore,
}

async fn pass_on(chunks: &mpsc::Sender<Bytes>, blob: Bytes) -> Result<Taken, Broken> {
    let sent = tokio::time::timeout(STALL, chunks.send(blob)).await.map_err(|_| Broken::NotTaken)?;
    Ok(sent.map_or(Taken::NoMore, |()| Taken::Yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r11_what_is_cut_off_at_a_message_is_seen_by_its_size() {
        assert!(has_hash(20 * 1024 + 32));
        // Messages are of 32 KiB.
        for bytes in [0, 32, 512, 32 * 1024, 64 * 1024, 20 * 1024 + 31] {
            assert!(!has_hash(bytes), "{bytes}");
        }
    }
}
