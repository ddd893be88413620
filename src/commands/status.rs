//! What is seen of each instance and member, and whether the cluster is sound. Changes nothing.

use tracing::warn;

use super::drive::{Course, Drive};
use super::dry_run::BETWEEN_LOOKS;
use super::run::COURSE as RUN;
use crate::config::Output;
use crate::decide::health::{Unsound, clusters, other_scheme, soundness};
use crate::decide::life::future;
use crate::exit::Exit;
use crate::files::saved;
use crate::issue::state;
use crate::observe::{OwnPorts, Scope};
use crate::report::{Snapshots, health_table};
use crate::setup::Setup;

const COURSE: Course = Course { scope: Scope::LifeCycle, own_ports: OwnPorts::Ask, ..RUN };

/// Grows when a program that reads it would misread it.
const SCHEMA_VERSION: u32 = 1;

/// Prints the instances and members as a table, and whether the cluster is sound.
pub async fn status(setup: &Setup) -> Exit {
    let policy = &setup.config.policy;
    let looked = Drive::new(setup, COURSE).look_twice(BETWEEN_LOOKS).await;
    let Some(observation) = looked else { return Exit::Unavailable };
    let (table, sound) = (health_table(&observation), soundness(&observation, policy));
    let line = sound.as_ref().map_or_else(ToString::to_string, Clone::clone);
    let ills = match &sound {
        Err(Unsound::Ill(ills)) => ills.as_slice(),
        Ok(_) | Err(Unsound::Unknown(_)) => &[],
    };
    let certificate = setup.config.issuing.as_ref().map(|issuing| state(&setup.config, issuing));
    let record = saved::read_snapshot(&setup.config.state_dir);
    let wanted = record.is_some() || setup.config.snapshots.to.is_some();
    let snapshots = wanted.then(|| Snapshots::new(record.as_ref(), observation.taken_at));
    match setup.config.output {
        Output::Json => {
            let told = serde_json::json!({
                "schema_version": SCHEMA_VERSION,
                "clusters": clusters(&observation),
                "sound": match &sound {
                    Ok(_) => Some(true),
                    Err(Unsound::Ill(_)) => Some(false),
                    Err(Unsound::Unknown(_)) => None,
                },
                "summary": line,
                "ills": ills,
                "nodes": table.rows,
                "certificate": certificate,
                "snapshots": snapshots,
            });
            println!("{told}");
        }
        Output::Text => {
            let certificate = certificate.map(|state| state.text()).unwrap_or_default();
            let known = snapshots.as_ref().map(|known| known.text(observation.taken_at)).unwrap_or_default();
            println!("{}{certificate}{known}{line}", table.text());
        }
    }
    for told in other_scheme(&observation, policy).into_iter().chain(future(&observation)) {
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
