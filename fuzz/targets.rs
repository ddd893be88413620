//! What is read from outside, as functions of bytes: none may panic, hang or take much memory, whatever the bytes are,
//! and what was understood must mean the same when it is written and read again.
//!
//! cargo-fuzz runs them (`fuzz_targets/`), and `tests/fuzz.rs` over their corpora on every `cargo test`. The seeds come
//! from real etcds and real runs of the agent; only the identity document is the one of AWS's manual.
#![allow(dead_code, reason = "each fuzz target uses one")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use etcd_bootstrap::cli;
use etcd_bootstrap::cloud::{Texts, elements, parse_identity};
use etcd_bootstrap::decide::leave::by_hand;
use etcd_bootstrap::decide::ready::released;
use etcd_bootstrap::decide::{decide, remember, statement, watch};
use etcd_bootstrap::etcd::data::{read_contents, read_own_data};
use etcd_bootstrap::etcd::environment;
use etcd_bootstrap::etcd::peer::{Version, parse, parse_members};
use etcd_bootstrap::files::saved::{Format, Record};
use etcd_bootstrap::issue::Authorities;
use etcd_bootstrap::model::{Action, Identity, Member, MemberUrl, OwnData, Statement};
use etcd_bootstrap::report::report;
use etcd_bootstrap::tls::{self, Usage};

/// The first segment of etcd's write-ahead log. What is there is never taken for nothing.
pub fn wal(data: &[u8]) {
    static DATA_DIR: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let wal = dir.path().join("member/wal");
        std::fs::create_dir_all(&wal).expect("a directory in it");
        (dir, wal.join("0000000000000000-0000000000000000.wal"))
    });
    let (dir, segment) = &*DATA_DIR;
    std::fs::write(segment, data).expect("a file in it");
    match read_own_data(dir.path(), None) {
        OwnData::Log { founders, .. } => assert!(founders.len() <= data.len()),
        OwnData::Unreadable { why } => assert!(!why.is_empty()),
        seen @ (OwnData::Empty | OwnData::NoLog) => panic!("a log of {} bytes is taken for {seen:?}", data.len()),
    }
}

/// etcd's database, as a file that somebody brings.
pub fn database(data: &[u8]) {
    static FILE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("db");
        (dir, file)
    });
    std::fs::write(&FILE.1, data).expect("a file in it");
    if let Ok(contents) = read_contents(&FILE.1) {
        assert_eq!(contents.bytes, data.len() as u64);
    }
}

/// The metadata, one answer a line; the document last, it has several.
pub fn identity(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(5, '\n').map(str::to_owned);
    let texts = Texts {
        dns_name: lines.next(),
        ipv6: lines.next(),
        target_lifecycle_state: lines.next(),
        vpc_ranges: lines.next().iter().flat_map(|ranges| ranges.split_whitespace()).map(str::to_owned).collect(),
        document: lines.next().unwrap_or_default(),
    };
    let Ok(identity) = parse_identity(&texts) else { return };
    let saved = serde_json::to_vec(&identity).expect("an identity is plain data");
    assert_eq!(serde_json::from_slice::<Identity>(&saved).expect("it was written so"), identity);
}

/// A reply of another node's peer port: the header with the cluster's id in the first line, then the body.
pub fn peer(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let id = parts.next().and_then(|id| String::from_utf8(id.to_vec()).ok());
    let body = parts.next().unwrap_or_default();
    let _ = parse::<Version>(body);
    let _ = parse::<Statement>(body);
    let Ok((_, members)) = parse_members(id, body) else { return };
    for Member { peer_urls, client_urls, .. } in &members {
        for url in peer_urls.iter().chain(client_urls) {
            assert_eq!(url.to_string().parse::<MemberUrl>().as_ref(), Ok(url));
        }
    }
}

/// Variables and their values for the environment file, one a line, as `name value`.
pub fn file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // A line's end is what no value may hold; here ` ` and `\n` separate, so `\r`, NUL and the like get through.
    let pairs = text.split('\n').filter_map(|line| line.split_once(' '));
    let variables: BTreeMap<String, String> = pairs.map(|(k, v)| (k.to_owned(), v.replace('\u{1}', "\n"))).collect();
    check_rendered(&variables);
}

/// A command line, one argument a line.
pub fn options(data: &[u8]) {
    let arguments = data.split(|byte| *byte == b'\n').map(|argument| OsString::from_vec(argument.to_vec()));
    if let Ok(cli) = cli::parse([OsString::from("etcd-bootstrap")].into_iter().chain(arguments)) {
        let _ = (cli.options.config(), cli.options.warnings());
    }
}

/// A saved observation: it is decided, shown and rendered, and saved once more it is decided alike.
pub fn observation(data: &[u8]) {
    let Ok(Record { policy, observation, .. }) = serde_json::from_slice::<Record>(data) else { return };
    let decision = decide(&observation, &policy);
    let _ = (remember(&observation, &policy), statement(&observation, &policy));
    let _ = (watch(&observation, &policy), by_hand(&observation, &policy), released(&observation, &policy));
    let _ = report(&observation, &policy, &decision, None).text();
    if let Action::Start(start) = &decision.action {
        let cli = cli::parse(["etcd-bootstrap".into()]).expect("no arguments are none that is wrong");
        check_rendered(&environment::of_member(start, &cli.options.config()));
    }
    // A time before year 1 or after 9999 is no time that can be written.
    let Ok(saved) = serde_json::to_vec(&Record { format: Format, policy, observation }) else { return };
    let again: Record = serde_json::from_slice(&saved).expect("it was written so");
    assert_eq!(decide(&again.observation, &again.policy), decision);
}

/// The record of the authorities: each of them makes a certificate, or says why not.
pub fn authorities(data: &[u8]) {
    let Ok(known) = serde_json::from_slice::<Authorities>(data) else { return };
    for authority in known.members.iter().chain(&known.clients) {
        assert_eq!(authority.anchor().ok(), authority.anchor().ok(), "it is a function of the key");
    }
    let saved = serde_json::to_vec(&known).expect("authorities are plain data");
    assert_eq!(serde_json::from_slice::<Authorities>(&saved).expect("it was written so"), known);
}

/// A key with what a signer has answered, as it is checked before it becomes the node's; the authorities before it, after
/// an empty line it.
pub fn answer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (authorities, node) = text.split_once("\n\n").unwrap_or_default();
    // In the seeds' lives.
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let as_a_client = tls::check(node, authorities, Usage::Client, at);
    for host in ["127.0.0.1", "localhost"] {
        let as_both = tls::check(node, authorities, Usage::Both(host), at);
        assert!(as_both.is_err() || as_a_client.is_ok(), "who may do both may do one");
        assert!(as_both.is_err() || tls::of_texts(authorities, node, false).is_ok(), "what is good can be shown");
    }
}

/// What can be rendered is read as the same variables, one a line.
fn check_rendered(variables: &BTreeMap<String, String>) {
    let Ok(text) = environment::render(variables) else { return };
    let read = text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(&read.collect::<BTreeMap<_, _>>(), variables);
}

/// What S3 answers. What was cut off is no shorter list, and nothing is told that it does not say.
pub fn listing(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(told) = elements(text, &["Key", "Size", "NextContinuationToken", "Code", "Message"]) else { return };
    assert!(text.trim_end().ends_with('>'));
    // Each has its own pair of tags.
    assert!(told.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= data.len());
}
