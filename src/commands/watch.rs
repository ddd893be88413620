//! What goes along with the instance's life: its member leaves when it goes for good, and the dead are removed though
//! nobody joins. One process for as long as the instance runs; a stop of it, or of the instance, removes nothing (F40).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::drive::{Course, Drive, WithoutTag};
use super::pace::Rhythm;
use super::tell::{fail, notify, put_metrics};
use crate::cloud::calls;
use crate::config::Config;
use crate::decide::watch as decide;
use crate::exit::Exit;
use crate::files::saved;
use crate::model::{Decision, Observation};
use crate::observe::{OwnPorts, Scope};
use crate::report::metrics;
use crate::setup::Setup;

const COURSE: Course = Course {
    decide,
    scope: Scope::LifeCycle,
    own_ports: OwnPorts::Ask,
    rhythm: Rhythm::Life,
    without_tag: WithoutTag::GoesOn,
    endless: true,
    after_pass: tell,
};

/// How often the certificates' files are looked at. Who renews them leaves hours for that.
const FILES: Duration = Duration::from_secs(30);

/// How often it is looked whether the files are there at last.
const FIRST: Duration = Duration::from_secs(1);

/// Watches until it is told to stop.
pub async fn watch(config: Config) -> Exit {
    let mut told_to_stop = match signal(SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(e) => return fail(&format!("listen for SIGTERM: {e}")),
    };
    notify(&[NotifyState::Ready]);
    let mut setup = tokio::select! {
        setup = usable(config) => setup,
        _ = told_to_stop.recv() => return Exit::Done,
    };
    loop {
        let mut drive = Drive::new(&setup, COURSE);
        let stop = drive.stop();
        let ended = async {
            let ended = tokio::select! {
                _ = told_to_stop.recv() => Ended::ByWord,
                () = new_files(&setup) => Ended::ByNewFiles,
            };
            stop.notify_one();
            ended
        };
        // It ends when it is told to only: a change on its way is not cut off.
        let (_, ended) = tokio::join!(drive.until_done(), ended);
        if ended == Ended::ByWord {
            info!("told to stop: nothing is removed for that");
            return Exit::Done;
        }
        setup = with_new_files(setup);
    }
}

/// Waits until certificates and password can be read. At a first boot this begins together with the main job, which has the
/// certificate issued, and with whatever brings files.
async fn usable(config: Config) -> Setup {
    let mut told = String::new();
    loop {
        let why = match Setup::usable(config.clone()) {
            Ok(setup) => return setup,
            Err(why) => why,
        };
        notify(&[NotifyState::Status(&format!("waits for its files: {why}")), NotifyState::Watchdog]);
        if told != why {
            info!("{why}; waiting");
            told = why;
        }
        tokio::time::sleep(FIRST).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    ByWord,
    ByNewFiles,
}

/// Waits until somebody has written the certificates anew.
async fn new_files(setup: &Setup) {
    let files = || [setup.config.peer_tls.written(), setup.config.client_tls.written()];
    let known = files();
    while files() == known {
        tokio::time::sleep(FILES).await;
    }
}

/// Files that cannot be used leave everything as it was: those in memory still work for a while.
fn with_new_files(setup: Setup) -> Setup {
    match Setup::usable(setup.config.clone()) {
        Ok(new) => {
            info!("the certificates' files are new");
            new
        }
        Err(_) => {
            error!("the certificates' files are new and cannot be used; going on with those of before");
            setup
        }
    }
}

/// Tells systemd that it lives, and the metrics' file of a pass.
fn tell(setup: &Setup, observation: &Observation, decision: &Decision) {
    notify(&[NotifyState::Watchdog]);
    let Some(file) = &setup.config.metrics_file else { return };
    let snapshots = saved::read_snapshot(&setup.config.state_dir);
    let certificate = setup.certificates.until();
    let policy = &setup.config.policy;
    put_metrics(file, &metrics(observation, policy, decision, snapshots.as_ref(), certificate, &calls()));
}
