//! The main job, and the consumer's: decides until etcd may start, then writes its file.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::drive::{Course, Drive, WithoutTag};
use super::pace::Rhythm;
use super::tell::fail;
use crate::decide::decide;
use crate::etcd::environment;
use crate::exit::Exit;
use crate::files::{saved, write};
use crate::model::{Action, MemberUrl, Observation, Role, Seen, Start};
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

/// Does the main job, or the consumer's.
pub async fn run(setup: &Setup) -> Exit {
    let config = &setup.config;
    // A file that cannot be written must be found before anything is sent to etcd.
    if let Err(e) = write::check_writable(&config.environment_file) {
        return fail(&format!("write the environment file {}: {e}", config.environment_file.display()));
    }
    let peer_tls = setup.peer_tls().filter(|_| config.policy.role == Role::Member);
    if peer_tls.is_some_and(|tls| tls.server.is_none()) {
        warn!("without --peer-cert-file no other founder can ask this node, proceeding anyway");
    }
    let mut drive = Drive::new(setup, COURSE).saving();
    if config.policy.role == Role::Member {
        drive = drive.speaking();
    }
    let (observation, decision) = match drive.until_done().await {
        Ok(done) => done,
        Err(exit) => return exit,
    };
    let done = match &decision.action {
        Action::Start(start) => let_start(&drive, &observation, start).await,
        Action::Follow { endpoints } => follow(setup, endpoints),
        Action::Wait | Action::Refuse | Action::Change(_) | Action::Serve { .. } | Action::Rest => Ok(()),
    };
    done.map_or_else(|why| fail(&why), |()| Exit::Done)
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

/// Waits until a founder before this one serves. The own port stays open meanwhile: etcds that start first ask here
/// too, and get their 404 at once.
async fn wait_for_turn(drive: &Drive<'_>, start: &Start) {
    let Some(after) = &start.after else { return };
    let waited = Instant::now();
    let served = drive.ports.wait_for_turn(after).await.map(|url| url.to_string());
    debug!(served, waited = ?waited.elapsed(), "waited for an earlier founder");
}

fn follow(setup: &Setup, endpoints: &[MemberUrl]) -> Result<(), String> {
    let (config, file) = (&setup.config, setup.config.environment_file.display());
    let changed =
        put(&config.environment_file, &environment::of_consumer(endpoints, config), write::replace_if_changed)?;
    info!(%file, endpoints = endpoints.len(), ?changed, "the consumer's file is up to date");
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
