//! Owns the reading of etcd's data directory while no etcd runs, and the setting aside of one.
//!
//! Must not write into it, delete anything, or guess: what cannot be read is [`OwnData::Unreadable`],
//! never [`OwnData::Empty`]. What follows from the data is for `decide.rs` to say.
//!
//! The write-ahead log is read as etcd itself reads it (server/storage/wal/decoder.go and wal.go, v3.7.1;
//! wal/, v3.3.27 and v3.5.21: the frames, record types and checksums are the same in all of them), from
//! its first record on and only up to the first proof that the member has known a leader. How far it has come is read
//! from its last segment alone.

use std::fs::{self, DirEntry, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::model::{ClusterId, FounderEntry, MemberId, OwnData};

/// Longer records are taken for damage, as etcd 3.4 does (maxWALEntrySizeLimit). Later versions allow as
/// much as the file holds, but all that must be read here comes before the first client's write.
const RECORD_LIMIT: u64 = 10 * 1024 * 1024;

/// The length field before each record.
const FRAME_HEAD: u64 = 8;

/// What a disk writes whole or not at all (minSectorSize).
const SECTOR: u64 = 512;

/// raft's Bootstrap writes the founders at this term; the first leader that is elected has a later one.
const BOOTSTRAP_TERM: u64 = 1;

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

/// The highest index that this member knew to be committed; None where that cannot be read.
///
/// Never more than was committed: reading ends at the first record that is not whole. Each segment begins with the
/// state at its cut (wal.go, `cut`; the same from v3.4 on), so the last one tells, and etcd reads its 64 MB next anyway.
pub fn read_commit(data_dir: &Path, wal_dir: Option<&Path>) -> Option<u64> {
    let inner = data_dir.join("member").join("wal");
    let segments = read_segments(wal_dir.unwrap_or(&inner)).ok()?;
    let mut records = Records::open(&segments.last()?.path, true, 0).ok()?;
    let mut commit = None;
    while let Ok(Some(record)) = records.read_next() {
        if matches!(record.kind, Kind::State) {
            // raftpb.HardState: 3 commit (raft/raftpb/raft.proto).
            let [index] = parse_numbers(&record.data, [3])?;
            commit = Some(index);
        }
    }
    commit
}

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

fn is_present(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn read_directories(data_dir: &Path, wal_dir: Option<&Path>) -> Result<OwnData, String> {
    read_entries(data_dir)?;
    let inner = data_dir.join("member").join("wal");
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
    if !holds_files(&data_dir.join("member"), crate::record::FILE)? {
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
    let holds = |directory: &Path| holds_files(directory, crate::record::FILE);
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
fn read_entries(directory: &Path) -> Result<Option<Vec<DirEntry>>, String> {
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

/// One file of the log.
struct Segment {
    path: PathBuf,
    sequence: u64,
}

/// The segments in order; none where the directory is absent or empty.
fn read_segments(wal: &Path) -> Result<Vec<Segment>, String> {
    let entries = read_entries(wal)?.unwrap_or_default();
    let mut segments: Vec<Segment> = entries
        .iter()
        .filter_map(|entry| {
            let sequence = parse_sequence(entry.file_name().to_str()?)?;
            Some(Segment { path: entry.path(), sequence })
        })
        .collect();
    if segments.is_empty() && !entries.is_empty() {
        return Err(format!("'{}' has files in it but no segment of a write-ahead log", wal.display()));
    }
    segments.sort_by_key(|segment| segment.sequence);
    Ok(segments)
}

/// The first number of `%016x-%016x.wal` (walName); None for any other name.
fn parse_sequence(name: &str) -> Option<u64> {
    let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
    let is_number = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_number(sequence) || !is_number(index) {
        return None;
    }
    u64::from_str_radix(sequence, 16).ok()
}

fn read_log(segments: &[Segment]) -> Result<OwnData, String> {
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
                let [_, committed] = parse_numbers(&record.data, [1, 3]).ok_or("a state is malformed")?;
                self.has_state = true;
                self.committed = committed;
                self.had_leader |= committed > self.bootstrap_entries;
            }
            Kind::Snapshot => {
                let [index] = parse_numbers(&record.data, [1]).ok_or("a snapshot is malformed")?;
                self.had_leader |= index > 0;
            }
            Kind::Checksum => {}
        }
        Ok(())
    }

    /// raftpb.Entry: 1 Type, 2 Term, 3 Index, 4 Data (raft/raftpb/raft.proto).
    fn note_entry(&mut self, bytes: &[u8]) -> Option<()> {
        const CONF_CHANGE: u64 = 1;
        let [kind, term] = parse_numbers(bytes, [1, 2])?;
        if term > BOOTSTRAP_TERM {
            self.had_leader = true;
            return Some(());
        }
        self.bootstrap_entries += 1;
        if kind == CONF_CHANGE {
            self.founders.extend(parse_founder(parse_bytes(bytes, 4)?)?);
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

/// What kind of record it is (the constants at the head of wal.go).
#[derive(Debug, Clone, Copy)]
enum Kind {
    Metadata,
    Entry,
    State,
    Checksum,
    Snapshot,
}

impl Kind {
    fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Metadata),
            2 => Some(Self::Entry),
            3 => Some(Self::State),
            4 => Some(Self::Checksum),
            5 => Some(Self::Snapshot),
            _ => None,
        }
    }
}

/// walpb.Record: 1 type, 2 crc, 3 data (server/storage/wal/walpb/record.proto).
struct Record {
    kind: Kind,
    checksum: u32,
    data: Vec<u8>,
}

/// Reads the records of one segment, holding one at a time.
struct Records {
    reader: BufReader<File>,
    path: PathBuf,
    size: u64,
    /// Where the next record begins.
    offset: u64,
    /// Over the data of all records so far, those of earlier segments too.
    checksum: u32,
    /// Only the end of the last segment can be torn.
    is_last: bool,
}

impl Records {
    fn open(path: &Path, is_last: bool, checksum: u32) -> Result<Self, String> {
        let cannot = |e: io::Error| format!("cannot read '{}': {e}", path.display());
        let size = fs::metadata(path).map_err(cannot)?;
        if !size.is_file() {
            // Opening a pipe would wait for ever.
            return Err(format!("'{}' is not a file", path.display()));
        }
        let file = File::open(path).map_err(cannot)?;
        let reader = BufReader::new(file);
        Ok(Self { reader, path: path.to_owned(), size: size.len(), offset: 0, checksum, is_last })
    }

    /// None at the end of what was written, torn or not.
    fn read_next(&mut self) -> Result<Option<Record>, String> {
        let mut head = [0; FRAME_HEAD as usize];
        let read = self.read_up_to(&mut head)?;
        let (length, padding) = parse_frame_head(u64::from_le_bytes(head));
        if read == 0 || (read == head.len() && u64::from_le_bytes(head) == 0) {
            return Ok(None);
        }
        // The length is never torn (encoder.go, encodeFrameSize), so a senseless one is damage, though
        // etcd from 3.5 on cuts the log off there as if it were torn.
        if read == head.len() && length > RECORD_LIMIT {
            return Err(self.describe("a record is longer than any of etcd's"));
        }
        let left = self.size.saturating_sub(self.offset + FRAME_HEAD);
        if read < head.len() || length + padding > left {
            return self.torn_if_last("the last record is cut off");
        }
        let mut bytes = vec![0; (length + padding) as usize];
        if self.read_up_to(&mut bytes)? < bytes.len() {
            return self.torn_if_last("the last record is cut off");
        }
        let record = parse_record(&bytes[..length as usize]);
        match record.ok_or("a record is malformed").and_then(|record| self.check(record)) {
            Ok(record) => {
                self.offset += FRAME_HEAD + bytes.len() as u64;
                Ok(Some(record))
            }
            Err(why) if has_empty_sector(&bytes, self.offset + FRAME_HEAD) => self.torn_if_last(why),
            Err(why) => Err(self.describe(why)),
        }
    }

    /// A record of type checksum carries on from the segment before; zero has nothing to be compared with.
    fn check(&mut self, record: Record) -> Result<Record, &'static str> {
        match record.kind {
            Kind::Checksum => {
                if self.checksum != 0 && self.checksum != record.checksum {
                    return Err("its checksum does not go on from the segment before");
                }
                self.checksum = record.checksum;
            }
            Kind::Metadata | Kind::Entry | Kind::State | Kind::Snapshot => {
                self.checksum = crc32c(self.checksum, &record.data);
                if self.checksum != record.checksum {
                    return Err("the checksum of a record is wrong");
                }
            }
        }
        Ok(record)
    }

    /// How much could be read before the end of the file.
    fn read_up_to(&mut self, bytes: &mut [u8]) -> Result<usize, String> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("cannot read '{}': {e}", self.path.display())),
            }
        }
        Ok(done)
    }

    fn torn_if_last(&self, why: &str) -> Result<Option<Record>, String> {
        if self.is_last { Ok(None) } else { Err(self.describe(why)) }
    }

    fn describe(&self, why: &str) -> String {
        format!("'{}' near byte {}: {why}", self.path.display(), self.offset)
    }
}

/// Length of the record and of the padding after it (decodeFrameSize).
fn parse_frame_head(head: u64) -> (u64, u64) {
    let is_padded = head >> 63 == 1;
    let padding = if is_padded { (head >> 56) & 0b111 } else { 0 };
    (head & ((1 << 56) - 1), padding)
}

/// A record with a sector of zeros was being written when the machine went down (isTornEntry).
fn has_empty_sector(bytes: &[u8], offset: u64) -> bool {
    let first = ((SECTOR - offset % SECTOR) as usize).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let is_empty = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|byte| *byte == 0);
    is_empty(head) || rest.chunks(SECTOR as usize).any(is_empty)
}

fn parse_record(bytes: &[u8]) -> Option<Record> {
    let [kind, checksum] = parse_numbers(bytes, [1, 2])?;
    let data = parse_bytes(bytes, 3)?.to_vec();
    Some(Record { kind: Kind::from_number(kind)?, checksum: u32::try_from(checksum).ok()?, data })
}

/// etcdserverpb.Metadata: 1 NodeID, 2 ClusterID (api/etcdserverpb/etcdserver.proto). None also for an id of 0.
fn parse_metadata(bytes: &[u8]) -> Option<(ClusterId, MemberId)> {
    let [member, cluster] = parse_numbers(bytes, [1, 2])?;
    (member != 0 && cluster != 0).then_some((ClusterId(cluster), MemberId(member)))
}

/// raftpb.ConfChange: 2 type, 3 node_id, 4 context. Some(None) where it adds no voter, None where malformed.
fn parse_founder(bytes: &[u8]) -> Option<Option<Founder>> {
    const ADD_NODE: u64 = 0;
    /// membership.Member as JSON (server/etcdserver/api/membership/member.go); a founder has a name.
    #[derive(Deserialize)]
    struct Context {
        name: String,
        #[serde(rename = "peerURLs")]
        peer_urls: Vec<String>,
    }
    let [kind, member] = parse_numbers(bytes, [2, 3])?;
    if kind != ADD_NODE {
        return Some(None);
    }
    let context: Option<Context> = serde_json::from_slice(parse_bytes(bytes, 4)?).ok();
    let entry = context.map(|context| FounderEntry { name: context.name, peer_urls: context.peer_urls });
    Some(Some(Founder { member_id: MemberId(member), entry }))
}

/// A field of a protobuf message; fixed-size ones are skipped, etcd has none in what is read here.
enum Field<'a> {
    Number(u64, u64),
    Bytes(u64, &'a [u8]),
    Skipped,
}

/// The numbers in these fields, 0 where absent as in protobuf; None where the bytes are no message.
fn parse_numbers<const N: usize>(mut bytes: &[u8], wanted: [u64; N]) -> Option<[u64; N]> {
    let mut found = [0; N];
    while !bytes.is_empty() {
        if let Field::Number(number, value) = take_field(&mut bytes)?
            && let Some(at) = wanted.iter().position(|wanted| *wanted == number)
        {
            found[at] = value;
        }
    }
    Some(found)
}

/// The bytes of one field, empty where absent; None where the bytes are no message.
fn parse_bytes(mut bytes: &[u8], wanted: u64) -> Option<&[u8]> {
    let mut found: &[u8] = &[];
    while !bytes.is_empty() {
        if let Field::Bytes(number, value) = take_field(&mut bytes)?
            && number == wanted
        {
            found = value;
        }
    }
    Some(found)
}

fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let key = take_varint(bytes)?;
    let number = key >> 3;
    match key & 0b111 {
        0 => Some(Field::Number(number, take_varint(bytes)?)),
        1 => bytes.split_off(..8).map(|_| Field::Skipped),
        2 => {
            let length = usize::try_from(take_varint(bytes)?).ok()?;
            bytes.split_off(..length).map(|value| Field::Bytes(number, value))
        }
        5 => bytes.split_off(..4).map(|_| Field::Skipped),
        _ => None,
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// CRC-32C (Castagnoli) of the bytes, going on from the checksum of earlier ones, as hash/crc32 of Go.
fn crc32c(earlier: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!earlier, |crc, byte| CRC32C[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

const CRC32C: [u32; 256] = {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    const CLUSTER: u64 = 0xcdf8_18f1_94e3_a8c1;
    const ME: u64 = 0x8e9e_05c5_2164_694d;
    const OTHER: u64 = 0x1122_3344_5566_7788;

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn number(field: u64, value: u64) -> Vec<u8> {
        [varint(field << 3), varint(value)].concat()
    }

    fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
        [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }

    /// Writes a log the way etcd does (server/storage/wal/encoder.go, v3.7.1).
    struct Writer {
        checksum: u32,
        bytes: Vec<u8>,
    }

    impl Writer {
        /// With checksum and metadata.
        fn begin(checksum: u32) -> Self {
            let mut writer = Self { checksum, bytes: Vec::new() };
            writer.frame([number(1, 4), number(2, u64::from(checksum))].concat());
            writer.record(1, &[number(1, ME), number(2, CLUSTER)].concat())
        }

        fn frame(&mut self, mut record: Vec<u8>) {
            let padding = (8 - record.len() % 8) % 8;
            let flag = if padding == 0 { 0 } else { (0x80 | padding as u64) << 56 };
            self.bytes.extend((record.len() as u64 | flag).to_le_bytes());
            record.resize(record.len() + padding, 0);
            self.bytes.extend(record);
        }

        fn record(mut self, kind: u64, data: &[u8]) -> Self {
            self.checksum = crc32c(self.checksum, data);
            self.frame([number(1, kind), number(2, u64::from(self.checksum)), bytes(3, data)].concat());
            self
        }

        fn entry(self, kind: u64, term: u64, data: &[u8]) -> Self {
            self.record(2, &[number(1, kind), number(2, term), number(3, 1), bytes(4, data)].concat())
        }

        fn founder(self, member: u64, context: &str) -> Self {
            let change = [number(1, 0), number(2, 0), number(3, member), bytes(4, context.as_bytes())].concat();
            self.entry(1, 1, &change)
        }

        fn state(self, term: u64, commit: u64) -> Self {
            self.record(3, &[number(1, term), number(2, 0), number(3, commit)].concat())
        }

        fn snapshot(self, index: u64) -> Self {
            self.record(5, &[number(1, index), number(2, 1)].concat())
        }
    }

    fn context(name: &str) -> String {
        format!(r#"{{"id":{ME},"peerURLs":["http://{name}:2380"],"name":"{name}"}}"#)
    }

    fn founding() -> Writer {
        let start = Writer::begin(0).snapshot(0);
        start.founder(ME, &context("a")).founder(OTHER, &context("b")).state(1, 2)
    }

    fn founders(names: &[&str]) -> Vec<FounderEntry> {
        let entry =
            |name: &&str| FounderEntry { name: (*name).to_owned(), peer_urls: vec![format!("http://{name}:2380")] };
        names.iter().map(entry).collect()
    }

    fn log(had_leader: bool, founders: Vec<FounderEntry>) -> OwnData {
        OwnData::Log { cluster_id: ClusterId(CLUSTER), member_id: MemberId(ME), had_leader, founders }
    }

    fn name_of(sequence: u64) -> String {
        format!("{sequence:016x}-{:016x}.wal", sequence * 100)
    }

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    fn make(path: &Path, contents: &[u8]) {
        fs::create_dir_all(path.parent().expect("it is below a temporary directory")).expect("making directories");
        fs::write(path, contents).expect("writing a file");
    }

    fn read_segments_of(segments: &[(u64, &[u8])]) -> OwnData {
        let scratch = scratch();
        for (sequence, contents) in segments {
            make(&scratch.path().join("member/wal").join(name_of(*sequence)), contents);
        }
        read_own_data(scratch.path(), None)
    }

    fn read_bytes(contents: &[u8]) -> OwnData {
        read_segments_of(&[(0, contents)])
    }

    fn why(data: OwnData) -> String {
        match data {
            OwnData::Unreadable { why } => why,
            OwnData::Empty | OwnData::NoLog | OwnData::Log { .. } => {
                panic!("should be unreadable: {data:?}")
            }
        }
    }

    #[test]
    fn checksum_is_castagnoli_and_rolls() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xe306_9283);
        assert_eq!(crc32c(7, b""), 7);
    }

    #[test]
    fn nothing_of_etcds_is_empty() {
        let scratch = scratch();
        let data_dir = scratch.path().join("etcd");
        let read = || read_own_data(&data_dir, None);
        assert_eq!(read(), OwnData::Empty);
        fs::create_dir_all(data_dir.join("lost+found")).expect("making directories");
        assert_eq!(read(), OwnData::Empty);
        fs::create_dir_all(data_dir.join("member/wal")).expect("making directories");
        fs::create_dir_all(data_dir.join("member/snap")).expect("making directories");
        assert_eq!(read(), OwnData::Empty);
        assert_eq!(read_own_data(&data_dir, Some(&data_dir.join("wal"))), OwnData::Empty);
    }

    #[test]
    fn a_backend_alone_is_no_log() {
        let scratch = scratch();
        make(&scratch.path().join("member/snap/db"), b"bolt");
        assert_eq!(read_own_data(scratch.path(), None), OwnData::NoLog);
        // A log whose making was cut short: etcd removes it and begins again.
        make(&scratch.path().join("member/wal.tmp").join(name_of(0)), b"");
        assert_eq!(read_own_data(scratch.path(), None), OwnData::NoLog);
        let wal = scratch.path().join("dedicated");
        assert_eq!(read_own_data(scratch.path(), Some(&wal)), OwnData::NoLog);
        fs::create_dir(&wal).expect("making a directory");
        assert_eq!(read_own_data(scratch.path(), Some(&wal)), OwnData::NoLog);
    }

    #[test]
    fn b08_f97_data_in_another_directory_is_unreadable() {
        for place in ["default/member/wal", "default.etcd/member/snap"] {
            let scratch = scratch();
            let data_dir = scratch.path().join("etcd");
            make(&data_dir.join(place).join(name_of(0)), &founding().bytes);
            assert!(why(read_own_data(&data_dir, None)).contains("another etcd data directory"), "{place}");
            // A node with data of its own starts, whatever lies beside it.
            make(&data_dir.join("member/wal").join(name_of(0)), &founding().bytes);
            assert_eq!(read_own_data(&data_dir, None), log(false, founders(&["a", "b"])), "{place}");
            // The one above.
            assert!(why(read_own_data(&data_dir.join("new"), None)).contains("another etcd data directory"));
        }
    }

    #[test]
    fn what_was_set_aside_is_no_other_data_directory() {
        let scratch = scratch();
        let data_dir = scratch.path().join("etcd");
        make(&data_dir.join("member.20261121T084400Z/wal").join(name_of(0)), b"");
        make(&data_dir.join("wal.20261121T084400Z").join(name_of(0)), b"");
        make(&data_dir.join("other/member"), b"a file of this name");
        make(&scratch.path().join("beside/member/wal").join(name_of(0)), b"");
        assert_eq!(read_own_data(&data_dir, None), OwnData::Empty);
    }

    #[test]
    fn a_log_directory_that_lost_its_segments_is_unreadable() {
        let scratch = scratch();
        make(&scratch.path().join("member/snap/db"), b"bolt");
        fs::create_dir(scratch.path().join("member/wal")).expect("making a directory");
        assert!(why(read_own_data(scratch.path(), None)).contains("lost all segments"));
        make(&scratch.path().join("member/wal/0.tmp"), b"");
        assert!(why(read_own_data(scratch.path(), None)).contains("no segment"));
        make(&scratch.path().join("member/wal").join(format!("{}.broken", name_of(0))), b"");
        assert!(why(read_own_data(scratch.path(), None)).contains("no segment"));
    }

    #[test]
    fn a_log_that_etcd_will_not_look_for_is_unreadable() {
        let scratch = scratch();
        make(&scratch.path().join("member/wal").join(name_of(0)), &founding().bytes);
        let dedicated = scratch.path().join("dedicated");
        assert!(why(read_own_data(scratch.path(), Some(&dedicated))).contains("where etcd is told to look"));
        make(&dedicated.join(name_of(0)), &founding().bytes);
        assert_eq!(read_own_data(scratch.path(), Some(&dedicated)), log(false, founders(&["a", "b"])));
    }

    #[test]
    fn what_is_no_directory_is_unreadable() {
        let scratch = scratch();
        let file = scratch.path().join("file");
        make(&file, b"");
        assert!(why(read_own_data(&file, None)).contains("cannot read directory"));
        assert!(why(read_own_data(&file.join("below"), None)).contains("cannot read directory"));
        let link = scratch.path().join("link");
        symlink(scratch.path().join("unmounted"), &link).expect("making a link");
        assert!(why(read_own_data(&link, None)).contains("link to nowhere"));
        make(&scratch.path().join("a/member"), b"");
        assert!(why(read_own_data(&scratch.path().join("a"), None)).contains("cannot read directory"));
        fs::create_dir_all(scratch.path().join("b/member/wal").join(name_of(0))).expect("making directories");
        assert!(why(read_own_data(&scratch.path().join("b"), None)).contains("is not a file"));
    }

    #[test]
    fn a_founder_alone_never_had_a_leader() {
        assert_eq!(read_bytes(&founding().bytes), log(false, founders(&["a", "b"])));
        // With pre-vote off, as 3.4 has it, each election that fails is a later term.
        assert_eq!(read_bytes(&founding().state(9, 2).bytes), log(false, founders(&["a", "b"])));
        // Preallocated space follows.
        let mut preallocated = founding().bytes;
        preallocated.resize(preallocated.len() + 100_000, 0);
        assert_eq!(read_bytes(&preallocated), log(false, founders(&["a", "b"])));
    }

    #[test]
    fn each_proof_of_a_leader_counts() {
        let both = founders(&["a", "b"]);
        assert_eq!(read_bytes(&founding().entry(0, 2, b"").bytes), log(true, both.clone()));
        assert_eq!(read_bytes(&founding().state(1, 3).bytes), log(true, both.clone()));
        assert_eq!(read_bytes(&founding().snapshot(2).bytes), log(true, both));
        assert_eq!(read_segments_of(&[(1, &Writer::begin(99).bytes)]), log(true, vec![]));
    }

    #[test]
    fn nothing_after_the_proof_is_read() {
        let mut contents = founding().entry(0, 2, b"").bytes;
        contents.extend([0xff; 64]);
        assert_eq!(read_bytes(&contents), log(true, founders(&["a", "b"])));
    }

    #[test]
    fn a_joined_member_lists_no_founders() {
        let start = || Writer::begin(0).snapshot(0);
        assert_eq!(read_bytes(&start().bytes), log(false, vec![]));
        assert_eq!(read_bytes(&start().state(5, 0).bytes), log(false, vec![]));
        let sent = || start().founder(OTHER, &context("b"));
        assert_eq!(read_bytes(&sent().entry(0, 2, b"").bytes), log(true, vec![]));
        assert_eq!(read_bytes(&sent().state(2, 1).bytes), log(true, vec![]));
    }

    #[test]
    fn founders_that_are_not_whole_are_not_told() {
        let half = Writer::begin(0).snapshot(0).founder(ME, &context("a"));
        assert_eq!(read_bytes(&half.bytes), log(false, vec![]));
        let strange = || Writer::begin(0).founder(ME, "{}").state(1, 1);
        assert!(why(read_bytes(&strange().bytes)).contains("not understood"));
        assert_eq!(read_bytes(&strange().entry(0, 2, b"").bytes), log(true, vec![]));
    }

    #[test]
    fn a_second_segment_goes_on_from_the_first() {
        let first = founding();
        let second = Writer::begin(first.checksum).state(70_000, 2);
        assert_eq!(read_segments_of(&[(1, &second.bytes), (0, &first.bytes)]), log(false, founders(&["a", "b"])));
        let third = Writer::begin(second.checksum).entry(0, 70_001, b"");
        let all = [(0, &first.bytes[..]), (1, &second.bytes[..]), (2, &third.bytes[..])];
        assert_eq!(read_segments_of(&all), log(true, founders(&["a", "b"])));
        let stranger = Writer::begin(first.checksum ^ 1);
        assert!(why(read_segments_of(&[(0, &first.bytes), (1, &stranger.bytes)])).contains("does not go on"));
        let short = &first.bytes[..first.bytes.len() - 3];
        assert!(why(read_segments_of(&[(0, short), (1, &second.bytes)])).contains("cut off"));
    }

    #[test]
    fn damage_that_etcd_would_refuse_is_unreadable() {
        let mut flipped = founding().bytes;
        let last = flipped.len() - 20;
        flipped[last] ^= 1;
        assert!(why(read_bytes(&flipped)).contains("near byte"));
        assert!(why(read_bytes(b"")).contains("does not begin"));
        assert!(why(read_bytes(&[0; 4096])).contains("does not begin"));
        assert!(why(read_bytes(&[0xff; 4096])).contains("longer than any"));
        assert!(why(read_bytes(b"not a log at all, but text")).contains("longer than any"));
        let unknown = founding().record(6, b"");
        assert!(why(read_bytes(&unknown.bytes)).contains("malformed"));
        let nameless = Writer { checksum: 0, bytes: Vec::new() };
        assert!(why(read_bytes(&nameless.record(1, b"").bytes)).contains("does not begin"));
    }

    #[test]
    fn an_empty_sector_in_the_last_record_is_a_torn_end() {
        let whole = founding().entry(0, 1, &[b'x'; 2000]);
        let mut torn = whole.bytes;
        let end = torn.len() / 512 * 512;
        torn[end - 512..end].fill(0);
        assert_eq!(read_bytes(&torn), log(false, founders(&["a", "b"])));
    }

    #[test]
    fn a_length_beyond_reason_reserves_no_memory() {
        let scratch = scratch();
        let path = scratch.path().join("member/wal").join(name_of(0));
        let mut contents = founding().bytes;
        contents.extend((1u64 << 40).to_le_bytes());
        make(&path, &contents);
        let file = File::options().write(true).open(&path).expect("just written");
        file.set_len(1 << 41).expect("a file may have holes");
        assert!(why(read_own_data(scratch.path(), None)).contains("longer than any"));
    }

    #[test]
    fn cut_anywhere_it_is_whole_or_unreadable() {
        let contents = founding().entry(0, 2, b"").bytes;
        let head = Writer::begin(0).bytes.len();
        for length in 0..contents.len() {
            match read_bytes(&contents[..length]) {
                OwnData::Unreadable { .. } => assert!(length < head, "{length}"),
                OwnData::Log { cluster_id, member_id, .. } => {
                    assert_eq!((cluster_id.0, member_id.0), (CLUSTER, ME));
                    assert!(length >= head, "{length}");
                }
                other @ (OwnData::Empty | OwnData::NoLog) => panic!("{length}: {other:?}"),
            }
        }
    }

    #[test]
    fn with_any_bit_flipped_the_ids_are_right_or_unreadable() {
        let contents = founding().entry(0, 2, b"").bytes;
        for bit in 0..contents.len() * 8 {
            let mut flipped = contents.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match read_bytes(&flipped) {
                OwnData::Unreadable { .. } => {}
                OwnData::Log { cluster_id, member_id, .. } => {
                    assert_eq!((cluster_id.0, member_id.0), (CLUSTER, ME), "bit {bit}");
                }
                other @ (OwnData::Empty | OwnData::NoLog) => panic!("bit {bit}: {other:?}"),
            }
        }
    }

    #[test]
    fn noise_behind_a_good_head_never_panics() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let mut contents = founding().bytes;
            let from = random.usize(..contents.len());
            for _ in 0..random.usize(1..40) {
                let at = random.usize(from..contents.len());
                contents[at] = random.u8(..);
            }
            let data = read_bytes(&contents);
            assert!(matches!(data, OwnData::Log { .. } | OwnData::Unreadable { .. }), "{data:?}");
        }
    }

    #[test]
    fn set_aside_renames_and_never_overwrites() {
        let scratch = scratch();
        let (data_dir, wal) = (scratch.path().join("etcd"), scratch.path().join("wal"));
        // 2026-11-21T08:44:00Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_250_640);
        let refused = set_aside(&data_dir, Some(&wal), now).expect_err("there is nothing");
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        make(&data_dir.join("member/snap/db"), b"1");
        make(&wal.join(name_of(0)), b"1");
        let aside = set_aside(&data_dir, Some(&wal), now).expect("renaming");
        assert_eq!(aside, data_dir.join("member.20261121T084400Z"));
        assert!(aside.join("snap/db").is_file());
        assert!(scratch.path().join("wal.20261121T084400Z").join(name_of(0)).is_file());
        assert_eq!(read_own_data(&data_dir, Some(&wal)), OwnData::Empty);
        // An empty directory in the way is one that a rename would replace.
        fs::create_dir(data_dir.join("member.20261121T084400Z-1")).expect("making a directory");
        make(&data_dir.join("member/snap/db"), b"2");
        let second = set_aside(&data_dir, None, now).expect("renaming");
        assert_eq!(second, data_dir.join("member.20261121T084400Z-2"));
        assert!(aside.join("snap/db").is_file());
    }

    #[test]
    fn set_aside_takes_a_log_alone_or_inside() {
        let scratch = scratch();
        let wal = scratch.path().join("wal");
        make(&wal.join(name_of(0)), b"1");
        let aside = set_aside(scratch.path(), Some(&wal), SystemTime::UNIX_EPOCH).expect("renaming");
        assert_eq!(aside, scratch.path().join("wal.19700101T000000Z"));
        let inner = scratch.path().join("member/wal");
        make(&inner.join(name_of(0)), b"1");
        let aside = set_aside(scratch.path(), Some(&inner), SystemTime::UNIX_EPOCH).expect("renaming");
        assert!(aside.join("wal.19700101T000000Z").join(name_of(0)).is_file());
    }
}
