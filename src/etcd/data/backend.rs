//! etcd's database, read while no etcd has it open: what it holds, and up to where.
//!
//! bbolt's file is a tree of pages (page.go, bucket.go and db.go of go.etcd.io/bbolt, v1.4.3; the format is that of boltdb
//! since 2014). Read is what little a person has to know before a cluster is made of it, page by page: the file may be
//! of some GB. Nothing is believed of it: an offset that leads out of its page is an error.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use prost::Message;

use super::proto::AlarmMember;
use crate::errors::Failed;
use crate::etcd::peer::ListedMember;
use crate::model::{Alarm, Contents, Member, MemberId};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// id, flags, count, overflow.
const PAGE_HEADER: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;

/// Of a branch's element and of a leaf's.
const ELEMENT: usize = 16;

/// A leaf's element that is a bucket: its root page and a sequence, and a page in it where the root is 0.
const IS_BUCKET: u32 = 0x01;
const BUCKET_HEADER: usize = 16;

/// No tree of etcd's is as deep: a file in which pages lead to each other ends here.
const MAX_DEPTH: usize = 32;

/// How often a page may be read: once for each bucket that is looked into, at the most.
const READS: u64 = 8;

/// A page and its overflow hold one key and value at the least, and a request of etcd's is 10 MiB at the most.
const MAX_PAGE: usize = 64 * 1024 * 1024;

/// Reads what a database holds.
///
/// # Errors
/// Which file it is, and what cannot be read or is no database of etcd's.
pub fn read_contents(path: &Path) -> Result<Contents, Failed> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| Failed::new("read the database", path.display(), e);
    let file = File::open(path).map_err(|e| failed(e.into()))?;
    let bytes = file.metadata().map_err(|e| failed(e.into()))?.len();
    let read = || {
        let database = Database::open(&file)?;
        let meta = database.bucket("meta")?.ok_or("it has no bucket 'meta'")?;
        let big_endian = |value: Option<Vec<u8>>| Some(u64::from_be_bytes(value?.try_into().ok()?));
        let newest = database.bucket("key")?.ok_or("it has no bucket 'key'")?.last()?;
        Ok::<_, String>(Contents {
            bytes,
            // A key is a revision: main, '_', sub (`RevToBytes`, server/storage/mvcc/revision.go, v3.7.1).
            revision: big_endian(newest.and_then(|(key, _)| key.get(..8).map(<[u8]>::to_vec))).unwrap_or_default(),
            index: big_endian(meta.get(b"consistent_index")?).unwrap_or_default(),
            storage_version: meta.get(b"storageVersion")?.map(|text| String::from_utf8_lossy(&text).into_owned()),
            members: database
                .entries("members")?
                .iter()
                .map(|(_, text)| parse_member(text))
                .collect::<Result<_, _>>()?,
            alarms: database.entries("alarm")?.iter().filter_map(|(key, _)| parse_alarm(key)).collect(),
            auth: database.bucket("auth")?.map(|auth| auth.get(b"authEnabled")).transpose()?.flatten() == Some(vec![1]),
            behind: 0,
        })
    };
    read().map_err(|why| failed(why.into()))
}

/// In the words of the peer port. A member that is not understood must not be missing in the list: it may live.
fn parse_member(text: &[u8]) -> Result<Member, String> {
    let listed: ListedMember = serde_json::from_slice(text).map_err(|e| format!("a member in it: {e}"))?;
    listed.member().map_err(|e| format!("a member in it: {e}"))
}

fn parse_alarm(key: &[u8]) -> Option<Alarm> {
    let AlarmMember { member, kind } = AlarmMember::decode(key).ok()?;
    let kind = match kind {
        1 => "NOSPACE".to_owned(),
        2 => "CORRUPT".to_owned(),
        other => other.to_string(),
    };
    Some(Alarm { member: MemberId(member), kind })
}

/// A bbolt file.
struct Database<'a> {
    file: &'a File,
    page_size: usize,
    root: u64,
    /// How many pages may still be read.
    left: Cell<u64>,
}

/// A bucket: a tree of pages, or a page within its parent's.
struct Bucket<'a> {
    database: &'a Database<'a>,
    page: Page,
}

/// A page with its overflow.
struct Page(Vec<u8>);

type Entry = (Vec<u8>, Vec<u8>);

/// Is shown a key, a value, and whether that is a bucket; says whether that is enough.
type Show<'a> = dyn FnMut(&[u8], &[u8], bool) -> bool + 'a;

impl<'a> Database<'a> {
    /// Of the two meta pages the newer one that is whole counts: one is written while the other stands.
    fn open(file: &'a File) -> Result<Self, String> {
        let first = read_at(file, 0, 4096)?;
        let size = parse_meta(first.get(PAGE_HEADER..).unwrap_or_default()).map(|meta| meta.page_size);
        // The first may be torn: then the second is at one of the sizes that systems have.
        let sizes = size.map_or_else(|| vec![4096, 8192, 16384, 32768, 65536], |size| vec![size]);
        let metas = sizes.into_iter().flat_map(|size| [0, size as u64]).filter_map(|at| {
            let page = read_at(file, at, 4096).ok()?;
            parse_meta(page.get(PAGE_HEADER..)?)
        });
        let meta = metas.max_by_key(|meta| meta.transaction).ok_or("it is no bbolt database")?;
        let size = file.metadata().map_err(|e| e.to_string())?.len();
        let pages = size / meta.page_size as u64;
        if pages <= meta.last_page {
            return Err(format!("it is cut off: {size} bytes, and page {} is the last", meta.last_page));
        }
        Ok(Self { file, page_size: meta.page_size, root: meta.root, left: Cell::new(READS * (pages + 1)) })
    }

    fn page(&self, id: u64) -> Result<Page, String> {
        self.left.set(self.left.get().checked_sub(1).ok_or("its pages lead to each other")?);
        let at = id.checked_mul(self.page_size as u64).ok_or("a page is out of reach")?;
        let head = read_at(self.file, at, PAGE_HEADER)?;
        let overflow = number_u32(&head, 12).unwrap_or_default() as usize;
        let size = overflow.saturating_add(1).saturating_mul(self.page_size);
        if size > MAX_PAGE {
            return Err(format!("page {id} is of {size} bytes"));
        }
        read_at(self.file, at, size).map(Page)
    }

    /// None where there is none of this name.
    fn bucket(&self, name: &str) -> Result<Option<Bucket<'_>>, String> {
        let root = Bucket { database: self, page: self.page(self.root)? };
        let Some((_, value)) = root.find(&|key, is_bucket| is_bucket && key == name.as_bytes())? else {
            return Ok(None);
        };
        let page = match number_u64(&value, 0).ok_or("a bucket has no root")? {
            0 => Page(value.get(BUCKET_HEADER..).unwrap_or_default().to_vec()),
            root => self.page(root)?,
        };
        Ok(Some(Bucket { database: self, page }))
    }

    /// All that a bucket holds; nothing where it is not there.
    fn entries(&self, name: &str) -> Result<Vec<Entry>, String> {
        let mut entries = Vec::new();
        if let Some(bucket) = self.bucket(name)? {
            bucket.walk(&bucket.page, 0, &mut |key, value, _| {
                entries.push((key.to_vec(), value.to_vec()));
                false
            })?;
        }
        Ok(entries)
    }
}

impl Bucket<'_> {
    fn get(&self, wanted: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(self.find(&|key, is_bucket| !is_bucket && key == wanted)?.map(|(_, value)| value))
    }

    fn find(&self, wanted: &dyn Fn(&[u8], bool) -> bool) -> Result<Option<Entry>, String> {
        let mut found = None;
        self.walk(&self.page, 0, &mut |key, value, is_bucket| {
            if wanted(key, is_bucket) {
                found = Some((key.to_vec(), value.to_vec()));
            }
            found.is_some()
        })?;
        Ok(found)
    }

    /// The entry with the greatest key.
    fn last(&self) -> Result<Option<Entry>, String> {
        let mut page = Page(self.page.0.clone());
        for _ in 0..MAX_DEPTH {
            let Some(at) = page.count()?.checked_sub(1) else { return Ok(None) };
            match page.kind()? {
                Kind::Leaf => {
                    let (key, value, _) = page.leaf(at)?;
                    return Ok(Some((key.to_vec(), value.to_vec())));
                }
                Kind::Branch => page = self.database.page(page.child(at)?)?,
            }
        }
        Err("its pages lead to each other".to_owned())
    }

    /// Shows each entry, until one is the last that was wanted: returns whether one was.
    fn walk(&self, page: &Page, depth: usize, show: &mut Show<'_>) -> Result<bool, String> {
        if depth > MAX_DEPTH {
            return Err("its pages lead to each other".to_owned());
        }
        for at in 0..page.count()? {
            let enough = match page.kind()? {
                Kind::Leaf => {
                    let (key, value, is_bucket) = page.leaf(at)?;
                    show(key, value, is_bucket)
                }
                Kind::Branch => self.walk(&self.database.page(page.child(at)?)?, depth + 1, show)?,
            };
            if enough {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

enum Kind {
    Branch,
    Leaf,
}

impl Page {
    fn kind(&self) -> Result<Kind, String> {
        match number_u16(&self.0, 8) {
            Some(BRANCH) => Ok(Kind::Branch),
            Some(LEAF) => Ok(Kind::Leaf),
            other => Err(format!("a page is neither branch nor leaf, but {other:?}")),
        }
    }

    fn count(&self) -> Result<usize, String> {
        number_u16(&self.0, 10).map(usize::from).ok_or_else(|| "a page has no header".to_owned())
    }

    fn child(&self, at: usize) -> Result<u64, String> {
        number_u64(&self.0, PAGE_HEADER + at * ELEMENT + 8).ok_or_else(|| "a branch is cut off".to_owned())
    }

    /// Key, value, and whether it is a bucket.
    fn leaf(&self, at: usize) -> Result<(&[u8], &[u8], bool), String> {
        let element = PAGE_HEADER + at * ELEMENT;
        let number = |offset| number_u32(&self.0, element + offset).map(|n| n as usize);
        let read = || {
            let (flags, position, key, value) = (number(0)?, number(4)?, number(8)?, number(12)?);
            let begin = element.checked_add(position)?;
            let middle = begin.checked_add(key)?;
            let (key, value) = (self.0.get(begin..middle)?, self.0.get(middle..middle.checked_add(value)?)?);
            Some((key, value, flags as u32 & IS_BUCKET != 0))
        };
        read().ok_or_else(|| "an entry leads out of its page".to_owned())
    }
}

struct Meta {
    page_size: usize,
    root: u64,
    /// The highest that is in use: bbolt's `pgid` is the next.
    last_page: u64,
    transaction: u64,
}

/// None for one that is not whole.
fn parse_meta(bytes: &[u8]) -> Option<Meta> {
    let is_meta = number_u32(bytes, 0)? == MAGIC && number_u32(bytes, 4)? == VERSION;
    let page_size = number_u32(bytes, 8)? as usize;
    let whole = is_meta && fnv1a(bytes.get(..56)?) == number_u64(bytes, 56)?;
    let sensible = page_size.is_power_of_two() && (512..=MAX_PAGE).contains(&page_size);
    let (root, next, transaction) = (number_u64(bytes, 16)?, number_u64(bytes, 40)?, number_u64(bytes, 48)?);
    (whole && sensible).then_some(Meta { page_size, root, last_page: next.saturating_sub(1), transaction })
}

/// FNV-1a of 64 bits, as hash/fnv of Go.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn read_at(file: &File, at: u64, size: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, at).map_err(|e| format!("{size} bytes at {at}: {e}"))?;
    Ok(bytes)
}

fn number_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
