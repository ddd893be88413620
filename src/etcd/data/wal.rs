//! The write-ahead log: its segments, and what they tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use serde::Deserialize;

use super::proto::{ConfChange, Entry, HardState, Metadata, Request, Snapshot};
use super::read_entries;
use super::record::{Kind, Record, Records, Trouble};
use crate::model::{ClusterId, FounderEntry, MemberId, OwnData};

/// raft's Bootstrap writes the founders at this term; the first leader that is elected has a later one.
const BOOTSTRAP_TERM: u64 = 1;

/// raftpb.EntryType (raft/raftpb/raft.proto, v3.6.0).
const NORMAL: u64 = 0;
const CONF_CHANGE: u64 = 1;

/// One file of the log.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    sequence: u64,
    /// The first entry in it may have this index, or a later one.
    pub(super) index: u64,
}

/// The segments in order; none where the directory is absent or empty.
pub(super) fn read_segments(wal: &Path) -> Result<Vec<Segment>, String> {
    let entries = read_entries(wal)?.unwrap_or_default();
    let mut segments: Vec<Segment> = entries
        .iter()
        .filter_map(|entry| {
            let (sequence, index) = parse_name(entry.file_name().to_str()?)?;
            Some(Segment { path: entry.path(), sequence, index })
        })
        .collect();
    if segments.is_empty() && !entries.is_empty() {
        return Err(format!("'{}' has files in it but no segment of a write-ahead log", wal.display()));
    }
    segments.sort_by_key(|segment| segment.sequence);
    Ok(segments)
}

/// The numbers of `%016x-%016x.wal` (walName); None for any other name.
fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
    let number = |text: &str| {
        let is_number = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_number.then(|| u64::from_str_radix(text, 16).ok())?
    };
    Some((number(sequence)?, number(index)?))
}

/// What of a log is not as etcd wrote it, up to its end; None where all is, and where the system does not let it be read.
///
/// etcd reads all of it when it starts, and ends where a checksum is wrong (`ValidSnapshotEntries`, wal.go, v3.7.1).
pub(super) fn find_damage(segments: &[Segment]) -> Option<String> {
    let mut checksum = 0;
    for (at, segment) in segments.iter().enumerate() {
        let mut records = Records::open(&segment.path, at + 1 == segments.len(), checksum).ok()?;
        // A request of a client may be as long as somebody allows (`--max-request-bytes`).
        records.limit = records.size;
        loop {
            match records.read_next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Trouble::Damaged(why)) => return Some(why),
                Err(Trouble::Unread(_)) => return None,
            }
        }
        checksum = records.checksum;
    }
    None
}

/// How many writes the log holds between these two indexes, the first left out. What a later leader has overwritten
/// counts as what was written over it.
pub(super) fn count_writes(segments: &[Segment], beyond: u64, commit: u64) -> Result<u64, String> {
    let first = segments.iter().rposition(|segment| segment.index <= beyond.saturating_add(1)).unwrap_or_default();
    let mut writes: BTreeMap<u64, bool> = BTreeMap::new();
    for (at, segment) in segments.iter().enumerate().skip(first) {
        let mut records = Records::open(&segment.path, at + 1 == segments.len(), 0)?;
        while let Some(record) = records.read_next()? {
            if !matches!(record.kind, Kind::Entry) {
                continue;
            }
            let entry = Entry::decode(record.data.as_slice()).map_err(|_| records.describe("an entry is malformed"))?;
            if entry.index > beyond && entry.index <= commit {
                writes.insert(entry.index, is_write(&entry));
            }
        }
    }
    // What a leader has sent as a snapshot is in no entry.
    let missing = commit.saturating_sub(beyond).saturating_sub(writes.len() as u64);
    Ok(missing + writes.values().filter(|is_write| **is_write).count() as u64)
}

/// Whether an entry changes what clients see. What etcd writes for itself, such as a member's publication, does not.
fn is_write(entry: &Entry) -> bool {
    let request = Request::decode(entry.data.as_slice()).unwrap_or_default();
    let changes = [request.put, request.delete_range, request.txn, request.lease_grant, request.lease_revoke];
    entry.kind == NORMAL && changes.iter().any(Option::is_some)
}

pub(super) fn read_log(segments: &[Segment]) -> Result<OwnData, String> {
    let mut facts = Facts::default();
    let mut checksum = 0;
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        let mut records = Records::open(&segment.path, is_last, checksum)?;
        let (cluster_id, member_id) = read_head(&mut records)?;
        facts.note_ids(cluster_id, member_id).map_err(|why| records.describe(why))?;
        // etcd purges a segment only once a snapshot covers it.
        facts.had_leader |= at == 0 && segment.sequence > 0;
        while !facts.had_leader
            && let Some(record) = records.read_next()?
        {
            facts.note(&record).map_err(|why| records.describe(why))?;
        }
        if facts.had_leader {
            break;
        }
        checksum = records.checksum;
    }
    let first = segments.first().map(|segment| segment.path.display().to_string()).unwrap_or_default();
    facts.into_own_data().map_err(|why| format!("write-ahead log from '{first}' on: {why}"))
}

/// Each segment begins with the checksum so far and the metadata, written before the file got its name.
fn read_head(records: &mut Records) -> Result<(ClusterId, MemberId), String> {
    let begins_well = records.read_next()?.is_some_and(|record| matches!(record.kind, Kind::Checksum));
    if !begins_well {
        return Err(records.describe("does not begin with a whole checksum record"));
    }
    let metadata = records.read_next()?.filter(|record| matches!(record.kind, Kind::Metadata));
    let Some(metadata) = metadata else {
        return Err(records.describe("has no whole metadata record, so member and cluster are unknown"));
    };
    parse_metadata(&metadata.data).ok_or_else(|| records.describe("the metadata record names no member and cluster"))
}

/// What the log has told so far.
#[derive(Default)]
struct Facts {
    ids: Option<(ClusterId, MemberId)>,
    had_leader: bool,
    /// Entries that raft's own bootstrap may have written.
    bootstrap_entries: u64,
    founders: Vec<Founder>,
    /// Written after the entries of the bootstrap: with it their list is whole.
    has_state: bool,
    committed: u64,
}

struct Founder {
    member_id: MemberId,
    /// None where etcd's description of the member is not understood.
    entry: Option<FounderEntry>,
}

impl Facts {
    fn note_ids(&mut self, cluster_id: ClusterId, member_id: MemberId) -> Result<(), &'static str> {
        let ids = (cluster_id, member_id);
        if *self.ids.get_or_insert(ids) == ids {
            return Ok(());
        }
        Err("the metadata differs from that of earlier records")
    }

    fn note(&mut self, record: &Record) -> Result<(), &'static str> {
        match record.kind {
            Kind::Metadata => {
                let (cluster_id, member_id) =
                    parse_metadata(&record.data).ok_or("the metadata record names no member and cluster")?;
                self.note_ids(cluster_id, member_id)?;
            }
            Kind::Entry => self.note_entry(&record.data).ok_or("an entry is malformed")?,
            Kind::State => {
                let state = HardState::decode(record.data.as_slice()).map_err(|_| "a state is malformed")?;
                self.has_state = true;
                self.committed = state.commit;
                self.had_leader |= state.commit > self.bootstrap_entries;
            }
            Kind::Snapshot => {
                let snapshot = Snapshot::decode(record.data.as_slice()).map_err(|_| "a snapshot is malformed")?;
                self.had_leader |= snapshot.index > 0;
            }
            Kind::Checksum => {}
        }
        Ok(())
    }

    fn note_entry(&mut self, bytes: &[u8]) -> Option<()> {
        let entry = Entry::decode(bytes).ok()?;
        if entry.term > BOOTSTRAP_TERM {
            self.had_leader = true;
            return Some(());
        }
        self.bootstrap_entries += 1;
        if entry.kind == CONF_CHANGE {
            self.founders.extend(parse_founder(&entry.data)?);
        }
        Some(())
    }

    fn into_own_data(self) -> Result<OwnData, &'static str> {
        let (cluster_id, member_id) = self.ids.ok_or("no metadata")?;
        let is_founder = self.founders.iter().any(|founder| founder.member_id == member_id);
        // What a joined member has committed came from a leader, even if only the founders' entries did.
        let had_leader = self.had_leader || (!is_founder && self.committed > 0);
        let founders: Option<Vec<FounderEntry>> = if is_founder && self.has_state {
            self.founders.into_iter().map(|founder| founder.entry).collect()
        } else {
            Some(Vec::new())
        };
        match founders {
            Some(founders) => Ok(OwnData::Log { cluster_id, member_id, had_leader, founders }),
            None if had_leader => Ok(OwnData::Log { cluster_id, member_id, had_leader, founders: Vec::new() }),
            None => Err("the initial cluster is written in a way that is not understood"),
        }
    }
}

/// None also for an id of 0.
fn parse_metadata(bytes: &[u8]) -> Option<(ClusterId, MemberId)> {
    let Metadata { node_id, cluster_id } = Metadata::decode(bytes).ok()?;
    (node_id != 0 && cluster_id != 0).then_some((ClusterId(cluster_id), MemberId(node_id)))
}

/// Some(None) where the change adds no voter, None where it is malformed.
fn parse_founder(bytes: &[u8]) -> Option<Option<Founder>> {
    const ADD_NODE: u64 = 0;
    /// membership.Member as JSON (server/etcdserver/api/membership/member.go); a founder has a name.
    #[derive(Deserialize)]
    struct Context {
        name: String,
        #[serde(rename = "peerURLs")]
        peer_urls: Vec<String>,
    }
    let change = ConfChange::decode(bytes).ok()?;
    if change.kind != ADD_NODE {
        return Some(None);
    }
    let context: Option<Context> = serde_json::from_slice(&change.context).ok();
    let entry = context.map(|context| FounderEntry { name: context.name, peer_urls: context.peer_urls });
    Some(Some(Founder { member_id: MemberId(change.node_id), entry }))
}
