//! The fleet: each consumer runs the shipped command again and again, as its timer does on a node.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use etcd_bootstrap::config::Config;
use etcd_bootstrap::{cli, commands};
use tokio::task::LocalSet;

/// As in systemd/etcd-bootstrap-consumer.timer: `OnUnitInactiveSec=` and `RandomizedDelaySec=`.
const PAUSE: Duration = Duration::from_secs(50);
const SPREAD: Duration = Duration::from_secs(10);

const RUNS_A_SECOND: f64 = 200.0;

/// The files of one consumer.
pub struct Files(PathBuf);

impl Files {
    pub fn of(directory: &Path, number: usize) -> Self {
        Self(directory.join(number.to_string()))
    }

    /// What it follows.
    pub fn environment(&self) -> PathBuf {
        self.0.join("consumer.env")
    }

    /// What it remembers.
    pub fn record(&self) -> PathBuf {
        self.0.join("consumer.cluster.json")
    }
}

/// Runs so many consumers until it is killed.
pub async fn run(directory: &Path, count: usize, options: &[String]) -> ExitCode {
    let fixed = ["etcd-bootstrap", "run", "--proxy-mode", "--private-addresses", "--etcd-client-schema=http"];
    let arguments = fixed.into_iter().chain(options.iter().map(String::as_str)).map(OsString::from);
    let config = cli::parse(arguments).unwrap_or_else(|error| panic!("{error}")).options.config();
    // What one core plays of runs without that they wait for it, and not for the cluster.
    let boot = SPREAD.max(Duration::from_secs_f64(count as f64 / RUNS_A_SECOND));
    let fleet = LocalSet::new();
    for number in 0..count {
        let files = Files::of(directory, number);
        let config = Config { environment_file: files.environment(), state_dir: files.0, ..config.clone() };
        fleet.spawn_local(one(config, boot.mul_f64(fastrand::f64())));
    }
    fleet.await;
    ExitCode::SUCCESS
}

async fn one(config: Config, mut delay: Duration) {
    loop {
        tokio::time::sleep(delay).await;
        commands::run(config.clone()).await;
        delay = PAUSE + SPREAD.mul_f64(fastrand::f64());
    }
}
