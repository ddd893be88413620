//! The files of certificates: who may read them, who writes them at the same time, and what is on the disk when that is
//! full, read-only or cut off.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use etcd_bootstrap::tls::{self, Usage};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::common::{good_for, issues, node_pem, snapshot, some};
use crate::cli;
use crate::scenario::GROUP;
use crate::support::aws::Action;
use crate::support::node::Node;
use crate::support::rig::Rig;
use crate::support::skip;
use crate::support::tls::KEYS;

const MODES: [(&str, u32); 4] =
    [("clients.pem", 0o644), ("members.pem", 0o644), ("node.pem", 0o600), ("servers.pem", 0o644)];

/// As [`some`], one node, whose agent is a script around the real one: `$AGENT` in it.
fn scripted(script: &str) -> (Rig, Node) {
    let mut rig = cli::rig();
    rig.certify();
    rig.group(GROUP, 1);
    let text = script.replace("$AGENT", &rig.programs.agent.display().to_string());
    rig.programs.agent = rig.directory.script("scripted", &text).unwrap();
    let node = rig.launch(Some(GROUP)).unwrap();
    (rig, node)
}

/// Looks again and again, beside the test, until it is stopped.
struct Watcher {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    thread: thread::JoinHandle<Vec<String>>,
}

impl Watcher {
    /// `look` says what is wrong.
    fn start(look: impl Fn() -> Option<String> + Send + 'static) -> Self {
        let (stop, looks) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, looked) = (Arc::clone(&stop), Arc::clone(&looks));
        let thread = thread::spawn(move || {
            let mut found = Vec::new();
            while !stopped.load(Ordering::Relaxed) && found.len() < 10 {
                found.extend(look());
                looked.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
            }
            found
        });
        Self { stop, looks, thread }
    }

    /// How often it looked, and what it found.
    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let found = self.thread.join().unwrap();
        (self.looks.load(Ordering::Relaxed), found)
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

// ---------------------------------------------------------------- who may read them

#[tokio::test]
async fn c17_nobody_else_can_read_a_key_while_it_is_written() {
    // With a mask that takes nothing away: what the agent does not say itself, nobody says.
    let (_rig, node) = scripted("#!/bin/sh\numask 0\nexec $AGENT \"$@\"\n");
    let directory = node.certificates();
    let seen = Arc::new(AtomicUsize::new(0));
    let (counted, watched) = (Arc::clone(&seen), directory.clone());
    let watcher = Watcher::start(move || {
        entries(&watched).into_iter().find_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            let mut file = File::open(&path).ok()?;
            // Of the file that was opened, whatever has its name by now.
            let mode = file.metadata().ok()?.permissions().mode() & 0o777;
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            counted.fetch_add(usize::from(name.starts_with(".node.pem")), Ordering::Relaxed);
            let is_key = name.contains("node.pem") || text.contains("PRIVATE KEY");
            (is_key && mode & 0o077 != 0).then(|| format!("{name} {mode:o}"))
        })
    });
    for _ in 0..50 {
        issues(&node, &["--force"]).await;
    }
    let (looks, found) = watcher.end();
    assert_eq!(found, Vec::<String>::new());
    assert!(seen.load(Ordering::Relaxed) > 0, "in {looks} looks it has seen temporary files too");
    for (name, mode) in MODES {
        assert_eq!(fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o7777, mode, "{name}");
    }
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o022, 0, "nobody else puts a file there");
    assert_eq!(entries(&directory).len(), MODES.len(), "nothing is left over");

    // One that was readable becomes unreadable.
    fs::set_permissions(directory.join("node.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    issues(&node, &[]).await;
    assert_eq!(snapshot(&node)["node.pem"].0, 0o600);
}

#[tokio::test]
async fn c17_no_key_is_in_a_log_or_in_another_file() {
    let (rig, nodes) = some(1);
    let node = &nodes[0];
    let mut said = String::new();
    let mut keys = Vec::new();
    for format in ["glog", "json", "journald"] {
        let format = format!("--log-format={format}");
        for command in [&["run"][..], &["certificate", "--force"], &["status"], &["run", "--dry-run"]] {
            let more = [&command[1..], &["-v=10", &format]].concat();
            let run = node.agent(command[0], &more).await.unwrap();
            said += &(run.stdout + &run.stderr);
            keys.extend(key_of(&node_pem(node)));
        }
    }
    assert!(said.contains("issued a certificate"), "{said}");
    assert!(node.environment_file().exists());
    // All that is on the machine but the one file.
    fs::remove_file(node.certificates().join("node.pem")).unwrap();
    let files = cli::contents(node.dir());
    let kept = ["BEGIN CERTIFICATE", "ETCD_NAME=", "\"observation\":"];
    assert!(kept.iter().all(|kept| files.contains(kept)) && keys.len() > 6, "all of them are looked at");
    for secret in keys.iter().map(String::as_str).chain(["PRIVATE KEY"]) {
        assert!(!said.contains(secret), "said: {secret}");
        assert!(!files.contains(secret), "on the disk: {secret}");
    }
    let sent = format!("{:?}", rig.aws.calls());
    assert!(keys.iter().all(|key| !sent.contains(key)));
}

/// The lines of a key in PEM.
fn key_of(pem: &str) -> Vec<String> {
    let key = pem.split("PRIVATE KEY-----").nth(1).unwrap();
    key.lines().filter(|line| line.len() > 20 && !line.starts_with('-')).map(str::to_owned).collect()
}

// ---------------------------------------------------------------- who writes them

#[tokio::test]
async fn c18_two_that_issue_at_once_never_leave_a_torn_pair() {
    let (rig, nodes) = some(1);
    let node = &nodes[0];
    issues(node, &[]).await;
    let authorities = fs::read_to_string(node.certificates().join("members.pem")).unwrap();
    let (file, own) = (node.certificates().join("node.pem"), node.address.to_string());
    let watcher = Watcher::start(move || {
        let text = fs::read_to_string(&file).map_err(|e| e.to_string());
        text.and_then(|text| tls::check(&text, &authorities, Usage::Both(&own), SystemTime::now())).err()
    });
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(10) || rounds <= 10 {
        // The record is gone for the second, which asks and writes all the files too.
        let _ = fs::remove_file(node.state_dir().join("authorities.json"));
        let runs = tokio::join!(node.agent("certificate", &["--force"]), node.agent("run", &["--deadline=20s"]));
        for run in [runs.0.unwrap(), runs.1.unwrap()] {
            assert_eq!(run.code, 0, "{}", run.stderr);
        }
        rounds += 1;
    }
    let (looks, found) = watcher.end();
    assert_eq!(found, Vec::<String>::new(), "{rounds} rounds, {looks} looks");
    assert!(looks > rounds, "{rounds} rounds, {looks} looks");
    assert_eq!(good_for(node), Ok(()));
    assert_eq!(entries(&node.certificates()).len(), MODES.len(), "nothing is left over");
    // The end is the end: nobody finds anything to do.
    rig.aws.forget_calls();
    let before = snapshot(node);
    issues(node, &[]).await;
    assert_eq!((snapshot(node), rig.aws.count(Action::Sign)), (before, 0));
}

/// At any moment of an issue that changes each of the files, a hundred times.
#[tokio::test]
async fn c18_c19_an_issue_that_is_killed_leaves_each_file_whole() {
    let (rig, node) = scripted("#!/bin/sh\nexec timeout -s KILL \"$(cat \"$HOME/delay\")\" $AGENT \"$@\"\n");
    rig.cloud.change(|world| world.create_key("alias/second"));
    let trusted = format!("{},alias/second", KEYS[0]);
    let turned = format!("alias/second,{}", KEYS[0]);
    let base = node.agent_command_line("certificate");
    let base: Vec<String> = base.split(' ').skip_while(|word| *word != "certificate").map(str::to_owned).collect();
    let run = async |delay: Duration, members: &str| {
        fs::write(node.dir().join("delay"), format!("{:.4}", delay.as_secs_f64())).unwrap();
        let others = base.iter().filter(|word| !word.starts_with("--member-authority=")).cloned();
        let more = ["--force".to_owned(), format!("--member-authority={members}")];
        node.agent_exactly(&others.chain(more).collect::<Vec<_>>()).await.unwrap()
    };
    let mut took = Duration::ZERO;
    for members in [&turned, &trusted] {
        let whole = run(Duration::from_secs(30), members).await;
        assert_eq!(whole.code, 0, "{}", whole.stderr);
        took = took.max(whole.took);
    }
    let (mut killed, mut changed) = (0, 0);
    for round in 0..100 {
        let before = snapshot(&node);
        let members = if round % 2 == 0 { &turned } else { &trusted };
        let ended = run(took.mul_f64(0.6 + 0.5 * fastrand::f64()), members).await;
        // The files are written at the end, and how long it takes until then changes with what else the machine does.
        took = took.mul_f64(if ended.code == 0 { 0.95 } else { 1.05 });
        killed += u32::from(ended.code != 0);
        let after: std::collections::BTreeMap<_, _> =
            snapshot(&node).into_iter().filter(|(name, _)| !name.starts_with('.')).collect();
        changed += u32::from(ended.code != 0 && after != before);
        for (name, mode) in MODES {
            let (found, text) = &after[name];
            assert_eq!(*found, mode, "{name}");
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            let expected =
                [("node.pem", 1), ("clients.pem", 3)].iter().find(|(n, _)| *n == name).map_or(2, |(_, n)| *n);
            assert_eq!(certificates.map(|found| found.len()).ok(), Some(expected), "{name}: {text}");
        }
        assert_eq!(good_for(&node), Ok(()), "round {round}");
        for left in
            entries(&node.certificates()).iter().filter(|path| path.file_name().unwrap().as_encoded_bytes()[0] == b'.')
        {
            let mode = fs::metadata(left).unwrap().permissions().mode() & 0o777;
            let text = fs::read_to_string(left).unwrap();
            assert!(!text.contains("PRIVATE KEY") || mode == 0o600, "{} {mode:o}", left.display());
            fs::remove_file(left).unwrap();
        }
    }
    assert!(killed > 30, "it is killed most of the times: {killed}");
    println!("killed {killed}, of them with a changed file: {changed}");
    // Whatever was cut off, the next one ends it.
    let whole = run(Duration::from_secs(30), &trusted).await;
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    assert_eq!(good_for(&node), Ok(()));
}

// ---------------------------------------------------------------- where they cannot be written

#[tokio::test]
async fn c19_a_directory_that_is_none_needs_a_person() {
    let (rig, nodes) = some(1);
    let node = &nodes[0];
    let file = rig.directory.path().join("file");
    fs::write(&file, "a file").unwrap();
    for place in [file.as_path(), &file.join("below"), Path::new("/proc/certificates")] {
        let option = format!("--certificate-dir={}", place.display());
        let said = format!("write {}/", place.display());
        cli::refuses(node, &[&option], 78, &["certificate-denied", &said]).await;
        let run = node.agent("certificate", &[&option]).await.unwrap();
        assert_eq!(run.code, 78, "{}", run.stderr);
        assert!(run.stderr.contains(&said), "{}", run.stderr);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "a file");
}

#[tokio::test]
async fn c19_a_full_or_read_only_disk_keeps_the_certificate_of_before() {
    // A file system of as many pages as there are files; the namespace and the mount end with the script.
    let (_rig, node) = scripted(
        "#!/bin/sh\n\
         disk=$(cat \"$HOME/disk\") C=\"$HOME/certificates\"\n\
         [ \"$disk\" = plain ] && exec $AGENT \"$@\"\n\
         [ -z \"$INNER\" ] && INNER=yes exec unshare --mount \"$0\" \"$@\"\n\
         rm -rf \"$C.kept\" && cp -a \"$C\" \"$C.kept\" && mount -t tmpfs -o size=16k none \"$C\" || exit 99\n\
         cp -a \"$C.kept/.\" \"$C/\" || exit 99\n\
         case $disk in\n\
         *bare*) rm \"$C/node.pem\" \"$C.kept/node.pem\"; [ $disk = full-bare ] && echo >\"$C/fill\" ;;\n\
         esac\n\
         case $disk in ro*) mount -o remount,ro \"$C\" || exit 99 ;; esac\n\
         $AGENT \"$@\"\n\
         code=$?\n\
         rm -f \"$C/fill\"\n\
         diff -rq \"$C\" \"$C.kept\" && echo whole\n\
         exit $code\n",
    );
    let disk = |kind: &str| fs::write(node.dir().join("disk"), kind).unwrap();
    disk("plain");
    issues(&node, &[]).await;
    let before = snapshot(&node);
    let cases = [
        ("full", "certificate", "--force", 78, "No space left on device"),
        ("ro", "certificate", "--force", 78, "Read-only file system"),
        ("full-bare", "run", "--deadline=5s", 78, "No space left on device"),
        ("ro-bare", "run", "--deadline=5s", 78, "Read-only file system"),
        // With one that is good, nothing has to be written.
        ("ro", "certificate", "--deadline=5s", 0, ""),
        ("full", "run", "--deadline=5s", 0, ""),
        // And where it is due and cannot be written, the one of before is good enough to start with.
        ("ro", "run", "--certificate-names=balancer", 0, "going on with the certificate of before"),
    ];
    for (kind, command, more, code, said) in cases {
        disk(kind);
        let run = node.agent(command, &[more]).await.unwrap();
        if run.code == 99 || run.stderr.contains("unshare") {
            return skip(format_args!("this machine lets nobody mount a small file system: {}", run.stderr.trim()));
        }
        assert_eq!(run.code, code, "{kind} {command}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{kind} {command}: {}", run.stderr);
        let path = node.certificates().join("node.pem").display().to_string();
        assert!(code == 0 || run.stderr.contains(&format!("write {path}")), "{kind} {command}: {}", run.stderr);
        assert_eq!(run.stdout, "whole\n", "{kind} {command}: not even a temporary file");
    }
    assert_eq!(snapshot(&node), before);
}
