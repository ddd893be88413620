//! What goes along with etcd's start: promote the own member from learner through a voter (F53, F54), wait until it is
//! published and in sync, say so to systemd, write the cluster's id to the group's tag until it is there, and let the
//! group go on to its next instance once the cluster is sound (F72).
//!
//! Started beside etcd, not after it. Idempotent, and bounded by `--deadline`.

use sd_notify::NotifyState;
use tokio::time::Instant;
use tracing::{info, warn};

use super::drive::{Course, Drive, WithoutTag};
use super::pace::Rhythm;
use super::tell::{ended, fail};
use crate::config::Config;
use crate::decide::ready::{released, serves, tagged, tagged_unless_held};
use crate::exit::Exit;
use crate::model::Action;
use crate::observe::{OwnPorts, Scope};
use crate::setup::Setup;

const UNTIL_IT_SERVES: Course = Course {
    decide: serves,
    scope: Scope::Myself,
    own_ports: OwnPorts::Ask,
    rhythm: Rhythm::Myself,
    without_tag: WithoutTag::Fails,
    endless: false,
    after_pass: |_, _, _| (),
};
const UNTIL_IT_IS_TAGGED: Course = Course { decide: tagged, scope: Scope::Group, ..UNTIL_IT_SERVES };
/// But the group is not held up for a tag that is refused.
const UNTIL_TAGGED_UNLESS_HELD: Course = Course { decide: tagged_unless_held, ..UNTIL_IT_IS_TAGGED };
const UNTIL_IT_IS_RELEASED: Course =
    Course { decide: released, scope: Scope::LifeCycle, rhythm: Rhythm::Others, ..UNTIL_IT_SERVES };

/// Waits, promotes, tags, and completes the launch hook.
pub async fn ready(config: Config) -> Exit {
    let began = Instant::now();
    let setup = match Setup::usable(config.clone()) {
        Ok(setup) => setup,
        Err(why) => return ended(&config, "ready", began.elapsed(), fail(&why), None),
    };
    let mut drive = Drive::new(&setup, UNTIL_IT_SERVES);
    let exit = go_along(&mut drive).await;
    drive.ends("ready", exit)
}

async fn go_along(drive: &mut Drive<'_>) -> Exit {
    let cluster = match drive.until_done().await {
        Ok((_, decision)) => match decision.action {
            Action::Serve { cluster } => cluster,
            Action::Wait | Action::Refuse | Action::Change(_) | Action::Start(_) | Action::Follow(_) | Action::Rest => {
                return Exit::Done;
            }
        },
        Err(exit) => return exit,
    };
    info!(%cluster, took = ?drive.elapsed(), "the member is a voter and in sync");
    // What comes after this unit must not wait for the tag. Outside of a unit of `Type=notify` nobody listens.
    if let Err(e) = sd_notify::notify(&[NotifyState::Ready]) {
        warn!("tell systemd that the member is ready: {e}, ignoring");
    }
    drive.turn_to(UNTIL_TAGGED_UNLESS_HELD);
    let tagged = drive.until_done().await;
    // Most instances wait for nothing any more.
    if tagged.as_ref().is_ok_and(|(seen, _)| released(seen, &drive.setup.config.policy).action == Action::Rest) {
        return Exit::Done;
    }
    if drive.is_over() {
        return tagged.map_or_else(|exit| exit, |_| Exit::Done);
    }
    drive.turn_to(UNTIL_IT_IS_RELEASED);
    let released = drive.until_done().await;
    let put_off = tagged.as_ref().is_ok_and(|(_, decision)| decision.action == Action::Rest);
    let tagged = match put_off {
        true => {
            drive.turn_to(UNTIL_IT_IS_TAGGED);
            drive.until_done().await
        }
        false => tagged,
    };
    tagged.and(released).map_or_else(|exit| exit, |_| Exit::Done)
}
