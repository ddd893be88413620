//! The main job, and the consumer's: decides until etcd may start, then writes its file.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::certificate::before_run;
use super::drive::{Course, Drive, WithoutTag};
use super::pace::Rhythm;
use super::tell::{ended, fail};
use crate::config::Config;
use crate::decide::{consumer_record, decide};
use crate::etcd::environment;
use crate::exit::Exit;
use crate::files::{saved, write};
use crate::model::{Action, Decision, Followed, Observation, Role, Seen, Start};
use crate::observe::{OwnPorts, Scope};
use crate::setup::Setup;

/// What the main job is about; the dry run looks alike.
pub const COURSE: Course = Course {
    decide,
    scope: Scope::Everything,
    own_ports: OwnPorts::Skip,
    rhythm: Rhythm::Others,
    without_tag: WithoutTag::GoesOn,
    endless: false,
    after_pass: |_, _, _| (),
};

/// What a consumer's run is about while it asks nobody but those that it knows.
const LAST: Course = Course { scope: Scope::Last, after_pass: remember, ..COURSE };

/// What it is about when it asks AWS.
const FOLLOW: Course = Course { after_pass: remember, ..COURSE };

/// What a run that only looks is about.
pub fn course(config: &Config) -> Course {
    let scope = if config.policy.seeds.is_empty() { Scope::Everything } else { Scope::Last };
    Course { scope, ..COURSE }
}

/// Has the certificate issued where one is due, then does the main job, or the consumer's.
pub async fn run(config: Config) -> Exit {
    let began = Instant::now();
    let command = match config.policy.role {
        Role::Member => "run",
        Role::Consumer => "consumer",
    };
    match begin(&config).await {
        Ok(setup) => main_job(&setup, command).await,
        Err(exit) => ended(&config, command, began.elapsed(), exit, None),
    }
}

async fn main_job(setup: &Setup, command: &str) -> Exit {
    let of = |done: Result<(), Exit>| done.map_or_else(|exit| exit, |()| Exit::Done);
    match setup.config.policy.role {
        Role::Member => {
            let mut drive = Drive::new(setup, COURSE).saving().speaking();
            let done = join(&mut drive).await;
            drive.ends(command, of(done))
        }
        Role::Consumer => {
            let mut drive = Drive::new(setup, LAST).saving();
            let done = follow(&mut drive).await;
            drive.ends(command, of(done))
        }
    }
}

/// What has to be well before anything is sent to etcd.
///
/// # Errors
/// The exit code; why is logged.
async fn begin(config: &Config) -> Result<Setup, Exit> {
    before_run(config).await?;
    let setup = Setup::new(config.clone()).map_err(|why| fail(&why))?;
    let file = &config.environment_file;
    write::check_writable(file).map_err(|e| fail(&format!("write the environment file {}: {e}", file.display())))?;
    Ok(setup)
}

async fn join(drive: &mut Drive<'_>) -> Result<(), Exit> {
    if let Some(why) = drive.setup.certificates.missing(&drive.setup.config.policy) {
        warn!("{why}; proceeding anyway");
    }
    let (observation, decision) = drive.until_done().await?;
    match &decision.action {
        Action::Start(start) => let_start(drive, &observation, start).await.map_err(|why| fail(&why)),
        Action::Wait | Action::Refuse | Action::Change(_) | Action::Follow(_) | Action::Serve { .. } | Action::Rest => {
            Ok(())
        }
    }
}

/// First those that were followed last are asked, then AWS where they do not tell enough.
async fn follow(drive: &mut Drive<'_>) -> Result<(), Exit> {
    let (_, mut decision) = drive.until_done().await?;
    if decision.action == Action::Rest {
        drive.turn_to(FOLLOW);
        (_, decision) = drive.until_done().await?;
    }
    match &decision.action {
        Action::Follow(followed) => write_endpoints(drive.setup, followed).map_err(|why| fail(&why)),
        Action::Wait | Action::Refuse | Action::Change(_) | Action::Start(_) | Action::Serve { .. } | Action::Rest => {
            Ok(())
        }
    }
}

/// What this consumer has learnt is kept after each pass: a run that fails has learnt that AWS throttles.
fn remember(setup: &Setup, observation: &Observation, decision: &Decision) {
    let config = &setup.config;
    let record = consumer_record(observation, decision, &config.followed(), fastrand::f64());
    let file = config.consumer_file();
    if let Err(e) = saved::write_consumer(&file, &record) {
        warn!("keep {}: {e}; AWS is asked in each run until that can be written", file.display());
    }
}

async fn let_start(drive: &Drive<'_>, observation: &Observation, start: &Start) -> Result<(), String> {
    let config = &drive.setup.config;
    wait_for_turn(drive, start).await;
    let variables = environment::of_member(start, config);
    put(&config.environment_file, &variables, write::replace)?;
    if let Seen::Yes(me) = &observation.me
        && let Err(e) = saved::write_identity(&config.state_dir, me)
    {
        warn!("save the identity {}: {e}, ignoring", saved::identity_file(&config.state_dir).display());
    }
    info!(
        file = %config.environment_file.display(),
        state = %start.state,
        initial_cluster = variables.get("ETCD_INITIAL_CLUSTER"),
        took = ?drive.elapsed(),
        "etcd may start"
    );
    Ok(())
}

/// Waits until those serve who start before this one. The own port stays open meanwhile: etcds that start first ask here
/// too, and get their 404 at once.
async fn wait_for_turn(drive: &Drive<'_>, start: &Start) {
    let Some(after) = &start.after else { return };
    let waited = Instant::now();
    let served = drive.ports.wait_for_turn(after).await;
    debug!(served, waited = ?waited.elapsed(), "waited for those that start before this one");
}

/// The file first: whoever is woken by the other one starts with what is in it.
fn write_endpoints(setup: &Setup, followed: &Followed) -> Result<(), String> {
    let (config, file) = (&setup.config, setup.config.environment_file.display());
    let variables = environment::of_consumer(&followed.endpoints, config);
    let changed = put(&config.environment_file, &variables, write::replace_if_changed)?;
    let (moved, base) = (config.moved_file(), followed.base.iter().map(|url| format!("{url}\n")).collect::<String>());
    write::replace_if_changed(&moved, &base, 0o644).map_err(|e| format!("write {}: {e}", moved.display()))?;
    info!(%file, endpoints = followed.endpoints.len(), ?changed, "the consumer's file is up to date");
    Ok(())
}

/// Puts the variables into the environment file, in one of the ways of `write`.
fn put<T>(
    file: &Path,
    variables: &BTreeMap<String, String>,
    replace: impl FnOnce(&Path, &str, u32) -> std::io::Result<T>,
) -> Result<T, String> {
    let rendered = environment::render(variables).map_err(std::io::Error::other);
    let written = rendered.and_then(|text| replace(file, &text, 0o644));
    written.map_err(|e| format!("write the environment file {}: {e}", file.display()))
}
