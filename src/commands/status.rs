//! What is seen of each instance and member, and whether the cluster is sound. Changes nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use tracing::warn;

use super::drive::{Course, Drive};
use super::dry_run::BETWEEN_LOOKS;
use super::run::COURSE as RUN;
use crate::config::{Config, Output};
use crate::decide::health::{Unsound, other_scheme, soundness};
use crate::decide::life::future;
use crate::decide::{Health, health_of_members};
use crate::exit::Exit;
use crate::files::saved;
use crate::issue::{State, state};
use crate::model::{BlindKind, MemberId, MemberUrl, Observation, Policy, SnapshotRecord};
use crate::observe::{OwnPorts, Scope};
use crate::report::{Snapshots, Status, health_table};
use crate::setup::Setup;

/// On an instance.
const COURSE: Course = Course { scope: Scope::LifeCycle, own_ports: OwnPorts::Ask, ..RUN };

/// On any other machine.
const FROM_OUTSIDE: Course = Course { scope: Scope::Outside, ..COURSE };

/// What a program is told.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    status: Status<'a>,
    certificate: Option<&'a State>,
    snapshots: Option<&'a Snapshots<'a>>,
}

/// Prints the instances and members as a table, and whether the cluster is sound.
pub async fn status(setup: &Setup) -> Exit {
    let (config, policy) = (&setup.config, &setup.config.policy);
    let course = if config.region.is_some() { FROM_OUTSIDE } else { COURSE };
    let mut drive = Drive::new(setup, course);
    let Some(observation) = drive.look_twice(BETWEEN_LOOKS).await else { return Exit::Unavailable };
    let (members, sound) = (health_of_members(&observation, policy), soundness(&observation, policy));
    let certificate = config.issuing.as_ref().map(|issuing| state(config, issuing));
    let record = saved::read_snapshot(&config.state_dir);
    let snapshots = snapshots(config, &observation, record.as_ref());
    match config.output {
        Output::Json => {
            let ends = drive.ports.certificate_ends(unshown(policy, &members)).await;
            let status = Status::new(&observation, &members, &ends, &sound);
            let told = Told { status, certificate: certificate.as_ref(), snapshots: snapshots.as_ref() };
            println!("{}", serde_json::to_string(&told).unwrap_or_default());
        }
        Output::Text => {
            let certificate = certificate.map(|state| state.text()).unwrap_or_default();
            let known = snapshots.as_ref().map(|known| known.text(observation.taken_at)).unwrap_or_default();
            let line = sound.as_ref().map_or_else(ToString::to_string, Clone::clone);
            println!("{}{certificate}{known}{line}", health_table(&observation, &members).text());
        }
    }
    let told = other_scheme(&observation, policy).into_iter().chain(future(&observation));
    for told in told.chain(way_in(&observation)) {
        warn!("{told}");
    }
    let silent = snapshots.is_some_and(|known| known.ill.is_some());
    match sound {
        // A monitor has to tell who is sick from who cannot look.
        Err(Unsound::Unknown(_)) => Exit::Unavailable,
        Ok(_) if !silent => Exit::Done,
        Ok(_) | Err(Unsound::Ill(_)) => Exit::TryAgain,
    }
}

/// The client ports that answer, of members whose certificate nobody has seen yet.
fn unshown(policy: &Policy, members: &[Health<'_>]) -> BTreeMap<MemberId, MemberUrl> {
    let shown = |health: &Health<'_>| health.peer.is_some_and(|peer| peer.certificate_until.is_some());
    let unshown = members.iter().filter(|health| health.view.is_some() && !shown(health));
    let url = |health: &Health<'_>| Some(policy.client_url_beside(health.member.peer_urls.first()?));
    unshown.filter_map(|health| Some((health.member.id, url(health)?))).collect()
}

/// The snapshots as this machine knows them. Who is no instance never takes one.
fn snapshots<'a>(
    config: &Config,
    observation: &Observation,
    record: Option<&'a SnapshotRecord>,
) -> Option<Snapshots<'a>> {
    let wanted = record.is_some() || config.snapshots.to.is_some() && !observation.is_from_outside();
    wanted.then(|| Snapshots::new(record, observation.taken_at))
}

/// What who has no metadata can do.
fn way_in(observation: &Observation) -> Option<String> {
    let blind = observation.me.blind().filter(|blind| blind.kind == BlindKind::Unreachable);
    blind.map(|_| {
        "on a machine that is no instance, give status --scaling-group-name or --discover-tag, and --region".to_owned()
    })
}
