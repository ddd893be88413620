//! The commands that only look: the dry run, `status` and `explain`. They write nothing and change nothing (S5).

use std::path::Path;
use std::time::Duration;

use tracing::{error, warn};

use crate::cli::Output;
use crate::decide::{decide, remember};
use crate::environment;
use crate::model::{Action, Blind, BlindKind, CLUSTER_TAG, FOUNDING_TAG, Observation, Seen};
use crate::observe::{Freshness, Own};
use crate::reason::Exit;
use crate::report::{Report, STATUS_COLUMNS, calls, other_scheme, report, status as rows};
use crate::run::{Record, Setup};
use crate::{record, write};

/// Two looks are needed for what a second read must confirm, and EC2 is asked about members in the second only.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Prints the whole decision.
pub async fn dry_run(setup: &Setup, output: Output) -> Exit {
    let policy = setup.options.policy();
    let Some(mut observation) = look(setup, Own::LeftOut).await else { return Exit::Unavailable };
    let mut decision = decide(&observation, &policy);
    let mut before = Vec::new();
    while foresee(&mut observation, &decision.action, &setup.options.data_dir) {
        before.extend(calls(&decision.action));
        decision = decide(&observation, &policy);
    }
    let variables = match &decision.action {
        Action::Start(start) => Some(environment::of_member(start, &setup.options)),
        Action::Follow { endpoints } => Some(environment::of_consumer(endpoints, &setup.options)),
        Action::Wait
        | Action::Refuse
        | Action::Remove { .. }
        | Action::Add { .. }
        | Action::SetDataAside { .. }
        | Action::BeginRecord
        | Action::Agree(_)
        | Action::GiveUp { .. }
        | Action::TagGroup { .. } => None,
    };
    let file = variables.map(|v| write::render(&v).unwrap_or_else(|e| e.to_string()));
    let mut shown = report(&observation, &policy, &decision, file);
    shown.calls.splice(..0, before);
    print(&shown, output);
    if let Err(why) = setup.check_certificates(&observation, &decision) {
        warn!("{why}: the main job would not join with it");
    }
    if let Some(why) = other_scheme(&observation, &policy) {
        warn!("{why}");
    }
    Exit::Done
}

/// Goes on as the main job would on its own: what it keeps on record, and what it writes to the group's tags. False where
/// the next step is another's, or the last.
fn foresee(o: &mut Observation, action: &Action, data_dir: &Path) -> bool {
    match (action, &mut o.record, &mut o.group) {
        (Action::BeginRecord, record, _) => {
            let new = record::new(data_dir);
            *record = new.map_or_else(|why| Seen::No(Blind { kind: BlindKind::Malformed, why }), Seen::Yes);
        }
        (Action::Agree(agreement), Seen::Yes(record), _) => record.agreed = Some(agreement.clone()),
        (Action::TagGroup { tags, .. }, _, Seen::Yes(group)) => {
            group.founding_tag = tags.get(FOUNDING_TAG).cloned().or(group.founding_tag.take());
            group.cluster_tag = tags.get(CLUSTER_TAG).cloned().or(group.cluster_tag.take());
        }
        _ => return false,
    }
    true
}

/// Prints the instances and members as a table, and whether the cluster is sound.
pub async fn status(setup: &Setup, output: Output) -> Exit {
    let Some(observation) = look(setup, Own::Included).await else { return Exit::Unavailable };
    let (rows, sound) = rows(&observation, &setup.options.policy());
    let line = match &sound {
        Ok(line) | Err(line) => line,
    };
    match output {
        Output::Json => {
            println!("{}", serde_json::json!({ "nodes": rows, "sound": sound.is_ok(), "summary": line }));
        }
        Output::Text => {
            let width =
                |column: &str| rows.iter().map(|row| row[column].len()).chain([column.len()]).max().unwrap_or(0);
            let head: Vec<String> = STATUS_COLUMNS.iter().map(|c| format!("{c:<w$}", w = width(c))).collect();
            println!("{}", head.join("  ").trim_end());
            for row in &rows {
                let cells: Vec<String> =
                    STATUS_COLUMNS.iter().map(|c| format!("{:<w$}", row[c], w = width(c))).collect();
                println!("{}", cells.join("  ").trim_end());
            }
            println!("{line}");
        }
    }
    if let Some(why) = other_scheme(&observation, &setup.options.policy()) {
        warn!("{why}");
    }
    if sound.is_ok() { Exit::Done } else { Exit::NotNow }
}

/// Decides a saved observation again.
pub fn explain(file: &Path, output: Output) -> Exit {
    let read = std::fs::read(file).map_err(|e| e.to_string());
    let record: Result<Record, String> = read.and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string()));
    match record {
        Ok(Record { policy, observation }) => {
            let decision = decide(&observation, &policy);
            print(&report(&observation, &policy, &decision, None), output);
            Exit::Done
        }
        Err(e) => {
            error!("read the observation {}: {e}", file.display());
            Exit::Usage
        }
    }
}

/// Two looks; None when the deadline cuts them short.
async fn look(setup: &Setup, own: Own) -> Option<Observation> {
    let looks = async {
        let mut observer = setup.observer(own);
        let first = observer.observe(None, Freshness::Fresh, None).await;
        tokio::time::sleep(BETWEEN_LOOKS).await;
        observer.observe(Some(remember(&first, &setup.options.policy())), Freshness::Fresh, None).await
    };
    match setup.options.deadline.0 {
        None => Some(looks.await),
        Some(deadline) => match tokio::time::timeout(deadline, looks).await {
            Ok(observation) => Some(observation),
            Err(_) => {
                error!("the deadline came before two looks were over: AWS or the metadata did not answer in time");
                None
            }
        },
    }
}

fn print(report: &Report, output: Output) {
    match output {
        Output::Text => print!("{}", report.text()),
        Output::Json => println!("{}", serde_json::to_string_pretty(report).unwrap_or_default()),
    }
}
