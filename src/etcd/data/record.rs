//! The records of a segment: frames, checksums, torn ends.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crc32c::crc32c_append;
use prost::Message;

use super::proto;
use std::{fs, io};

/// Longer records than this are taken for damage, as etcd 3.4 does (maxWALEntrySizeLimit), where all that is read comes
/// before the first client's write. Later versions allow as much as the file holds.
const RECORD_LIMIT: u64 = 10 * 1024 * 1024;

/// The length field before each record.
const FRAME_HEAD: u64 = 8;

/// What a disk writes whole or not at all (minSectorSize).
const SECTOR: u64 = 512;

/// What kind of record it is (the constants at the head of wal.go).
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Metadata,
    Entry,
    State,
    Checksum,
    Snapshot,
}

impl Kind {
    fn from_number(number: i64) -> Option<Self> {
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

/// One record whose checksum is right.
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) checksum: u32,
    pub(super) data: Vec<u8>,
}

/// Reads the records of one segment, holding one at a time.
pub(super) struct Records {
    pub(super) reader: BufReader<File>,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// Where the next record begins.
    pub(super) offset: u64,
    /// Over the data of all records so far, those of earlier segments too.
    pub(super) checksum: u32,
    /// Only the end of the last segment can be torn.
    pub(super) is_last: bool,
    /// Longer records are taken for damage.
    pub(super) limit: u64,
}

/// Why a record could not be read.
pub(super) enum Trouble {
    /// What the system says of the file.
    Unread(String),
    /// It is not as etcd wrote it.
    Damaged(String),
}

impl From<Trouble> for String {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unread(why) | Trouble::Damaged(why) => why,
        }
    }
}

impl Records {
    pub(super) fn open(path: &Path, is_last: bool, checksum: u32) -> Result<Self, String> {
        let cannot = |e: io::Error| format!("cannot read '{}': {e}", path.display());
        let size = fs::metadata(path).map_err(cannot)?;
        if !size.is_file() {
            // Opening a pipe would wait for ever.
            return Err(format!("'{}' is not a file", path.display()));
        }
        let file = File::open(path).map_err(cannot)?;
        let reader = BufReader::new(file);
        Ok(Self { reader, path: path.to_owned(), size: size.len(), offset: 0, checksum, is_last, limit: RECORD_LIMIT })
    }

    /// None at the end of what was written, torn or not.
    pub(super) fn read_next(&mut self) -> Result<Option<Record>, Trouble> {
        let mut head = [0; FRAME_HEAD as usize];
        let read = self.read_up_to(&mut head)?;
        let (length, padding) = parse_frame_head(u64::from_le_bytes(head));
        if read == 0 || (read == head.len() && u64::from_le_bytes(head) == 0) {
            return Ok(None);
        }
        // The length is never torn (encoder.go, encodeFrameSize), so a senseless one is damage, though
        // etcd from 3.5 on cuts the log off there as if it were torn.
        if read == head.len() && length > self.limit {
            return Err(Trouble::Damaged(self.describe("a record is longer than any of etcd's")));
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
            Err(why) => Err(Trouble::Damaged(self.describe(why))),
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
                // Castagnoli's, as hash/crc32 of Go.
                self.checksum = crc32c_append(self.checksum, &record.data);
                if self.checksum != record.checksum {
                    return Err("the checksum of a record is wrong");
                }
            }
        }
        Ok(record)
    }

    /// How much could be read before the end of the file.
    fn read_up_to(&mut self, bytes: &mut [u8]) -> Result<usize, Trouble> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Trouble::Unread(format!("cannot read '{}': {e}", self.path.display()))),
            }
        }
        Ok(done)
    }

    fn torn_if_last(&self, why: &str) -> Result<Option<Record>, Trouble> {
        if self.is_last { Ok(None) } else { Err(Trouble::Damaged(self.describe(why))) }
    }

    pub(super) fn describe(&self, why: &str) -> String {
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
    let proto::Record { kind, crc, data } = proto::Record::decode(bytes).ok()?;
    Some(Record { kind: Kind::from_number(kind)?, checksum: crc, data })
}
