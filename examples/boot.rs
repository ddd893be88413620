//! The agent's real life: nodes that are provisioned by real Ignition from the configs of `make dist`, started by real
//! systemd, with real etcd, and what happens to them afterwards. Ends with a table; fails when anything is not as it
//! must be. Needs root.
//!
//!     make boot-test
//!
//! This half makes the labs, each in namespaces of its own, and runs as many at a time as the machine can bear. In
//! each the same program plays one story: `boot/story.rs` says what happens and what has to hold, `boot/lab.rs` is the
//! network and the cloud (`tests/support`), `boot/names.rs` its DNS server, `boot/machine.rs` one machine.

#[path = "boot/client.rs"]
mod client;
#[path = "boot/journal.rs"]
mod journal;
#[path = "boot/lab.rs"]
mod lab;
#[path = "boot/machine.rs"]
mod machine;
#[path = "boot/names.rs"]
mod names;
#[path = "boot/story.rs"]
mod story;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use lab::Image;
use machine::Flavour;
use support::child::{Child, exit_code};
use support::etcd;

/// Boots real nodes and lets things happen to them.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// What `make dist` has made
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/dist"))]
    dist: PathBuf,

    /// Only the stories whose name contains this, such as `bookworm` or `trixie/life` (repeatable)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Stories at the same time
    #[arg(long, value_name = "N", default_value_t = 3)]
    jobs: usize,

    /// Play this one story here, in namespaces made for it
    #[arg(long, value_name = "NAME", hide = true)]
    inside: Option<String>,

    /// The lab's part of the cgroup hierarchy
    #[arg(long, value_name = "NAME", hide = true, default_value = "")]
    cgroup: String,

    /// Write to etcd through this endpoint until killed, and print what became of each request
    #[arg(long, value_name = "URL", hide = true)]
    client: Option<String>,
}

/// One story, on one systemd and one etcd.
struct Plan {
    play: Play,
    suite: &'static str,
    systemd: &'static str,
    /// The first part of the version; None for the distribution's.
    etcd: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Play {
    /// Everything that happens to a cluster, on `etcd.service`, in the clear.
    Life,
    /// The agent fails.
    Failing,
    /// What the group does with its instances, on `etcd.service`, with certificates by KMS.
    Group,
    /// Flatcar's `etcd-member.service`, and a consumer, with certificates by KMS.
    Consumer,
    /// Flatcar's `etcd-member.service`, with certificates that are brought.
    Tls,
    /// Flatcar's `etcd-member.service`, with the user data of the CloudFormation stack, and moto as AWS.
    Stack,
    /// Flatcar's `etcd-member.service`, where nodes know each other by their names, which are hard to get. With
    /// certificates by KMS, whose own name is as hard to get.
    Names,
}

impl Play {
    /// What its members boot with.
    fn member_config(self) -> &'static str {
        match self {
            Self::Life | Self::Failing => "member-http.ign",
            // That of the stack is member.ign too, but moto has it.
            Self::Group | Self::Consumer | Self::Stack | Self::Names => "member.ign",
            Self::Tls => "member-tls.ign",
        }
    }
}

const PLANS: [Plan; 13] = [
    Plan { play: Play::Life, suite: "bookworm", systemd: "252", etcd: Some("3.6.") },
    Plan { play: Play::Life, suite: "trixie", systemd: "257", etcd: Some("3.7.") },
    Plan { play: Play::Failing, suite: "bookworm", systemd: "252", etcd: None },
    Plan { play: Play::Failing, suite: "trixie", systemd: "257", etcd: None },
    Plan { play: Play::Group, suite: "bookworm", systemd: "252", etcd: Some("3.7.") },
    Plan { play: Play::Group, suite: "trixie", systemd: "257", etcd: Some("3.6.") },
    Plan { play: Play::Consumer, suite: "bookworm", systemd: "252", etcd: Some("3.7.") },
    Plan { play: Play::Consumer, suite: "trixie", systemd: "257", etcd: Some("3.6.") },
    Plan { play: Play::Tls, suite: "bookworm", systemd: "252", etcd: Some("3.6.") },
    Plan { play: Play::Tls, suite: "trixie", systemd: "257", etcd: Some("3.7.") },
    Plan { play: Play::Stack, suite: "trixie", systemd: "257", etcd: Some("3.6.") },
    Plan { play: Play::Names, suite: "bookworm", systemd: "252", etcd: None },
    Plan { play: Play::Names, suite: "trixie", systemd: "257", etcd: Some("3.7.") },
];

impl Plan {
    fn name(&self) -> String {
        format!("{}/{:?}", self.suite, self.play).to_lowercase()
    }

    fn image(&self, dist: &Path) -> Result<Image, String> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = repository.join("target");
        let flavour = match self.play {
            Play::Life | Play::Failing | Play::Group => Flavour::Debian,
            Play::Consumer | Play::Tls | Play::Stack | Play::Names => Flavour::Flatcar,
        };
        let etcd = match self.etcd {
            None => None,
            Some(version) => {
                let newest = etcd::built(&target).into_iter().rfind(|(built, _)| built.starts_with(version));
                Some(newest.ok_or_else(|| format!("there is no etcd {version} in target/etcd"))?.1)
            }
        };
        Ok(Image {
            root: target.join("boot").join(self.suite),
            layers: repository.join("examples/boot"),
            etcd: etcd.map(|path| path.canonicalize().unwrap_or(path)),
            restore_tool: target.join("tools/etcdutl"),
            flavour,
            dist: dist.to_owned(),
            ignition: target.join("tools/ignition"),
        })
    }

    /// Where rows and traces of the last run of this story are.
    fn logs(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/boot/logs").join(self.name())
    }
}

/// One line of the closing table.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    scenario: String,
    systemd: String,
    etcd: String,
    /// Until everything was healthy; None where nothing has to become so.
    seconds: Option<f64>,
    result: String,
}

const OK: &str = "ok";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds.map(|seconds| format!("{seconds:.1}")).unwrap_or_default();
        write!(f, "{:<62} {:>7} {:>7} {seconds:>8}  {}", self.scenario, self.systemd, self.etcd, self.result)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let done = if let Some(endpoint) = &options.client {
        client::run(endpoint).await
    } else if let Some(name) = &options.inside {
        match PLANS.iter().find(|plan| plan.name() == *name) {
            Some(plan) => story::tell(plan, &options).await,
            None => Err(format!("there is no story '{name}'")),
        }
    } else {
        tell_all(&options).await
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("boot: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn tell_all(options: &Options) -> Result<(), String> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        return Err("this test makes namespaces and boots machines in them: it has to be run by root".to_owned());
    }
    let began = Instant::now();
    let wanted = |plan: &&Plan| options.only.is_empty() || options.only.iter().any(|part| plan.name().contains(part));
    let places = Arc::new(Semaphore::new(options.jobs));
    let mut stories = JoinSet::new();
    for (number, plan) in PLANS.iter().filter(wanted).enumerate() {
        let (places, options) = (Arc::clone(&places), options.clone());
        stories.spawn(async move {
            let _place = places.acquire_owned().await;
            (number, tell_inside(plan, &options).await)
        });
    }
    let mut rows = stories.join_all().await;
    rows.sort_by_key(|(number, _)| *number);
    let rows: Vec<_> = rows.into_iter().flat_map(|(_, rows)| rows).collect();
    println!("\n{:<62} {:>7} {:>7} {:>8}  result", "scenario", "systemd", "etcd", "seconds");
    rows.iter().for_each(|row| println!("{row}"));
    println!("{} scenarios in {:.0} s", rows.len(), began.elapsed().as_secs_f64());
    let failed: Vec<String> = rows.iter().filter(|row| row.result != OK).map(ToString::to_string).collect();
    if failed.is_empty() && !rows.is_empty() {
        return Ok(());
    }
    // Once more, where the table is long: who reads the end of a log reads which.
    Err(format!("{} of {} scenarios failed\n{}", failed.len(), rows.len(), failed.join("\n")))
}

/// Longer than any story takes; one that hangs is killed with all that it started.
const STORY_PATIENCE: Duration = Duration::from_mins(8);

/// Tells one story in namespaces of its own, and returns its rows.
async fn tell_inside(plan: &Plan, options: &Options) -> Vec<Row> {
    let name = plan.name();
    let cgroup = format!("etcd-bootstrap-boot-{}-{}", std::process::id(), name.replace('/', "-"));
    let ended = play_in_namespaces(plan, options, &cgroup).await;
    remove_cgroups(&cgroup).await;
    let rows = std::fs::read(plan.logs().join("rows.json")).unwrap_or_default();
    let mut rows: Vec<Row> = serde_json::from_slice(&rows).unwrap_or_default();
    // A story that ended without telling why is a failure too.
    if let Err(why) = ended
        && rows.iter().all(|row| row.result == OK)
    {
        let (systemd, etcd) = (plan.systemd.to_owned(), plan.etcd.unwrap_or("dist").to_owned());
        rows.push(Row { scenario: format!("the story {name}"), systemd, etcd, seconds: None, result: why });
    }
    rows
}

async fn play_in_namespaces(plan: &Plan, options: &Options, cgroup: &str) -> Result<(), String> {
    let logs = plan.logs();
    let _ = std::fs::remove_dir_all(&logs);
    let own = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child=SIGKILL", "--mount-proc"])
        .args(["--propagation", "private"])
        .arg(own)
        .args(["--inside", &plan.name(), "--cgroup", cgroup, "--dist"])
        .arg(options.dist.canonicalize().map_err(|error| format!("{}: {error}: make dist", options.dist.display()))?);
    let child = Child::spawn(unshare).map_err(|error| error.to_string())?;
    match tokio::time::timeout(STORY_PATIENCE, child.exited()).await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ended with {}", exit_code(status))),
        Err(_) => Err(format!("no end after {STORY_PATIENCE:?}")),
    }
}

/// The lab's processes are gone with its namespaces, its empty cgroups are not.
async fn remove_cgroups(cgroup: &str) {
    const SCRIPT: &str = "mount -t cgroup2 none /sys/fs/cgroup && cd /sys/fs/cgroup || exit
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ -d \"$0\" ] || break
            find \"$0\" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.2
        done";
    let _ = lab::output("unshare", &["--mount", "--propagation", "private", "sh", "-c", SCRIPT, cgroup]).await;
}
