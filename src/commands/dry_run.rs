//! The dry run: what the main job would do. Writes nothing and changes nothing (S5).

use std::path::Path;
use std::time::Duration;

use tracing::warn;

use super::drive::{Course, Drive};
use super::tell::print;
use crate::config::Config;
use crate::decide::doubts;
use crate::etcd::environment;
use crate::exit::Exit;
use crate::files::record;
use crate::model::{Action, Blind, BlindKind, CLUSTER_TAG, Change, Decision, FOUNDING_TAG, Observation, Policy, Seen};
use crate::report::{calls, report};
use crate::setup::Setup;

/// Two looks are needed for what a second read must confirm, and EC2 is asked about members in the second only.
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Prints the whole decision of a course.
pub async fn dry_run(setup: &Setup, course: Course) -> Exit {
    let (config, policy) = (&setup.config, &setup.config.policy);
    let looked = Drive::new(setup, course).look_twice(BETWEEN_LOOKS).await;
    let Some(mut observation) = looked else { return Exit::Unavailable };
    let (decision, before) = foresee_all(&mut observation, config, course.decide);
    let variables = match &decision.action {
        Action::Start(start) => Some(environment::of_member(start, config)),
        Action::Follow(followed) => Some(environment::of_consumer(&followed.endpoints, config)),
        Action::Wait | Action::Refuse | Action::Change(_) | Action::Serve { .. } | Action::Rest => None,
    };
    let file = variables.map(|v| environment::render(&v).unwrap_or_else(|e| e.to_string()));
    let mut shown = report(&observation, policy, &decision, file);
    shown.calls.splice(..0, before);
    print(config.output, &shown, || shown.text());
    for doubt in doubts(&observation, policy, &decision) {
        warn!("{doubt}");
    }
    Exit::Done
}

/// The decision once all is done that the main job does on its own, and the calls for that.
pub fn foresee_all(
    observation: &mut Observation,
    config: &Config,
    decide: fn(&Observation, &Policy) -> Decision,
) -> (Decision, Vec<String>) {
    let mut decision = decide(observation, &config.policy);
    let mut before = Vec::new();
    while let Action::Change(change) = &decision.action
        && foresee(observation, change, &config.data_dir)
    {
        before.extend(calls(observation, &decision.action));
        decision = decide(observation, &config.policy);
    }
    (decision, before)
}

/// Goes on as the main job would on its own: what it keeps on record, and what it writes to the group's tags. False where
/// the next step is another's, or the last.
fn foresee(o: &mut Observation, change: &Change, data_dir: &Path) -> bool {
    match (change, &mut o.record, &mut o.group) {
        (Change::BeginRecord, record, _) => {
            let new = record::new(data_dir);
            *record = new.map_or_else(|why| Seen::No(Blind { kind: BlindKind::Malformed, why }), Seen::Yes);
        }
        (Change::Agree(agreement), Seen::Yes(record), _) => record.agreed = Some(agreement.clone()),
        (Change::TagGroup { tags, .. }, _, Seen::Yes(group)) => {
            group.founding_tag = tags.get(FOUNDING_TAG).cloned().or(group.founding_tag.take());
            group.cluster_tag = tags.get(CLUSTER_TAG).cloned().or(group.cluster_tag.take());
        }
        _ => return false,
    }
    true
}
