use std::fs::File;
use std::time::SystemTime;

use super::*;
use crate::model::{ClusterId, FounderEntry, MemberId};
use crc32c::crc32c_append as crc32c;
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
    let entry = |name: &&str| FounderEntry { name: (*name).to_owned(), peer_urls: vec![format!("http://{name}:2380")] };
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

/// Behind the first leader, where nothing else looks.
#[test]
fn f114_damage_is_found_wherever_it_is_and_a_torn_end_is_none() {
    let whole = || Writer::begin(0).entry(0, 2, b"first").entry(0, 2, b"second").entry(0, 2, b"third");
    let first = whole();
    let next = Writer::begin(first.checksum).entry(0, 3, b"fourth").bytes;
    let damage = |segments: &[&[u8]]| {
        let scratch = scratch();
        for (sequence, contents) in (0..).zip(segments) {
            make(&scratch.path().join("member/wal").join(name_of(sequence)), contents);
        }
        assert!(matches!(read_own_data(scratch.path(), None), OwnData::Log { had_leader: true, .. }));
        read_damage(scratch.path(), None)
    };
    assert_eq!(damage(&[&first.bytes, &next]), None);
    let at = first.bytes.windows(5).position(|part| part == b"third").expect("it is written");
    let mut flipped = first.bytes.clone();
    flipped[at] ^= 1;
    for segments in [&[&flipped[..], &next][..], &[&flipped[..]]] {
        assert!(damage(segments).is_some_and(|why| why.contains("checksum")), "{segments:?}");
    }
    // Power was lost in the middle of a write: etcd cuts that off by itself, but at the end of its last segment alone.
    let torn = &first.bytes[..first.bytes.len() - 4];
    assert_eq!(damage(&[torn]), None);
    assert!(damage(&[torn, &next]).is_some());
    // Another segment goes on from another log.
    assert!(damage(&[&first.bytes, &Writer::begin(7).bytes]).is_some());
    // As long as --max-request-bytes allows.
    let long = whole().entry(0, 2, &vec![b'x'; 11 * 1024 * 1024]).bytes;
    assert_eq!(damage(&[&long]), None);
}
