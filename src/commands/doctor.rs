//! What a first boot, or the next replacement, would fail on. Changes nothing.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::drive::{Course, Drive};
use super::dry_run::{BETWEEN_LOOKS, foresee_all};
use super::run::COURSE as RUN;
use super::tell::{fail, print};
use crate::cloud::{Cloud, Freshness};
use crate::config::Config;
use crate::decide::doctor::examine;
use crate::etcd::environment;
use crate::exit::Exit;
use crate::files::disk::try_disk;
use crate::model::{Blind, BlindKind, Check, Checkup, Decision, Disk, Hook, Observation, Seen, Unit, Wanted};
use crate::observe::OwnPorts;
use crate::report::Diagnosis;
use crate::setup::Setup;

/// As `run`, and the own ports too: somebody else may hold them.
const COURSE: Course = Course { own_ports: OwnPorts::Ask, ..RUN };

/// A disk that takes this long is as good as none.
const DISK_TIMEOUT: Duration = Duration::from_secs(20);

/// What a person orders of `doctor`.
pub struct Checks {
    /// What does not count.
    pub ignored: Vec<Check>,
    /// What `systemctl show` has printed; `-` is the standard input, None nothing.
    pub units_from: Option<PathBuf>,
}

/// Prints every finding.
pub async fn doctor(config: Config, checks: Checks) -> Exit {
    let units = match checks.units_from.map(read_units).transpose() {
        Ok(units) => units,
        Err(why) => return fail(&why),
    };
    let setup = Setup::tolerant(config);
    let mut cloud = setup.cloud();
    let began = Instant::now();
    let settings = cloud.fetch_settings().await;
    let first_call = settings.is_ok().then(|| began.elapsed());
    let Some(observation) = Drive::new(&setup, COURSE).look_twice(BETWEEN_LOOKS).await else {
        return Exit::Unavailable;
    };
    let config = &setup.config;
    let checkup = Checkup {
        first_call,
        hooks: look_at_hooks(&mut cloud, &observation).await,
        settings: settings.map_or_else(Seen::No, Seen::Yes),
        disk: look_at_disk(config.wal_dir.as_ref().unwrap_or(&config.data_dir).clone()).await,
        certificate_until: setup.certificates.until(),
        issues: config.issuing.is_some(),
        decision: decide(&setup, &observation),
        units,
        wanted: wanted(config),
    };
    let diagnosis = Diagnosis::new(examine(&observation, &config.policy, &checkup), &checks.ignored);
    print(config.output, &diagnosis, || diagnosis.text());
    match diagnosis.failed().as_slice() {
        [] => Exit::Done,
        // As `status`: who cannot look tells nothing of the rest.
        [Check::Imds | Check::Aws, ..] => Exit::Unavailable,
        _ => Exit::NeedsOperator,
    }
}

fn read_units(file: PathBuf) -> Result<Vec<Unit>, String> {
    let text = match file.to_str() {
        Some("-") => io::read_to_string(io::stdin()),
        Some(_) | None => std::fs::read_to_string(&file),
    };
    text.map(|text| Unit::read_all(&text)).map_err(|e| format!("read the units from {}: {e}", file.display()))
}

async fn look_at_hooks(cloud: &mut Cloud, observation: &Observation) -> Seen<Vec<Hook>> {
    match &observation.group {
        Seen::Yes(group) if group.plain.is_none() => cloud.look_at_hooks(Freshness::Fresh, &group.name).await,
        Seen::Yes(_) => Seen::No(Blind::not_asked()),
        Seen::No(blind) => Seen::No(blind.clone()),
    }
}

async fn look_at_disk(directory: PathBuf) -> Seen<Disk> {
    let shown = directory.display().to_string();
    let tried = timeout(DISK_TIMEOUT, spawn_blocking(move || try_disk(&directory))).await;
    tried.ok().and_then(Result::ok).unwrap_or_else(|| {
        let why = format!("{shown}: a hundred writes took more than {} s", DISK_TIMEOUT.as_secs());
        Seen::No(Blind { kind: BlindKind::Unreachable, why })
    })
}

/// What `run` would decide: it asks no port of its own, and has its certificate issued before.
fn decide(setup: &Setup, observation: &Observation) -> Decision {
    let (config, me) = (&setup.config, observation.me.ok().map(|me| &me.instance));
    let mut foreseen = observation.clone();
    foreseen.probes.retain(|probe| probe.instance.is_none() || probe.instance.as_ref() != me);
    foreseen.certificate_trouble = foreseen.certificate_trouble.filter(|_| config.issuing.is_none());
    foresee_all(&mut foreseen, config, COURSE.decide).0
}

fn wanted(config: &Config) -> Wanted {
    Wanted {
        environment_file: config.environment_file.display().to_string(),
        directories: [Some(&config.data_dir), config.wal_dir.as_ref()]
            .into_iter()
            .flatten()
            .map(|directory| directory.display().to_string())
            .collect(),
        deadline: config.deadline,
        variables: environment::names_of_member(config),
    }
}
