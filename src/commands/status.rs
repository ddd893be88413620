//! What is seen of each instance and member, and whether the cluster is sound. Changes nothing.

use tracing::warn;

use super::drive::{Course, Drive};
use super::dry_run::BETWEEN_LOOKS;
use super::run::COURSE as RUN;
use crate::config::Output;
use crate::decide::health::{other_scheme, soundness};
use crate::decide::life::future;
use crate::exit::Exit;
use crate::issue::state;
use crate::observe::{OwnPorts, Scope};
use crate::report::health_table;
use crate::setup::Setup;

const COURSE: Course = Course { scope: Scope::LifeCycle, own_ports: OwnPorts::Ask, ..RUN };

/// Prints the instances and members as a table, and whether the cluster is sound.
pub async fn status(setup: &Setup) -> Exit {
    let policy = &setup.config.policy;
    let looked = Drive::new(setup, COURSE).look_twice(BETWEEN_LOOKS).await;
    let Some(observation) = looked else { return Exit::Unavailable };
    let (table, sound) = (health_table(&observation), soundness(&observation, policy));
    let (Ok(line) | Err(line)) = &sound;
    let certificate = setup.config.issuing.as_ref().map(|issuing| state(&setup.config, issuing));
    match setup.config.output {
        Output::Json => {
            let told = serde_json::json!({
                "nodes": table.rows, "sound": sound.is_ok(), "summary": line, "certificate": certificate
            });
            println!("{told}");
        }
        Output::Text => {
            let certificate = certificate.map(|state| state.text()).unwrap_or_default();
            println!("{}{certificate}{line}", table.text());
        }
    }
    for told in other_scheme(&observation, policy).into_iter().chain(future(&observation)) {
        warn!("{told}");
    }
    if sound.is_ok() { Exit::Done } else { Exit::TryAgain }
}
