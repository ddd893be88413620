//! What is told while a command runs, to systemd, and why it ends, to a person.

use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use serde::Serialize;
use tracing::{error, warn};

use crate::clock::now;
use crate::cloud::calls;
use crate::config::{Config, Output};
use crate::exit::Exit;
use crate::files::write;
use crate::model::{Action, Decision, Reason};
use crate::report::{Ended, run_metrics};

/// Prints the answer of a command that only looks, as it is asked for: JSON on one line.
pub fn print(output: Output, answer: &impl Serialize, text: impl FnOnce() -> String) {
    match output {
        Output::Text => print!("{}", text()),
        Output::Json => println!("{}", serde_json::to_string(answer).unwrap_or_default()),
    }
}

/// Tells systemd. Outside of a unit that listens nobody does.
pub fn notify(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        warn!("tell systemd: {e}, ignoring");
    }
}

/// The line `Status:` of `systemctl status`: what is waited for, and for how long already.
pub fn status(decision: &Decision, stands: Duration) -> String {
    let (reason, code) = (&decision.reason, decision.reason.code());
    match decision.action {
        Action::Wait => {
            let stands = humantime::format_duration(Duration::from_secs(stands.as_secs()));
            format!("{reason} ({code}, for {stands})")
        }
        Action::Refuse
        | Action::Change(_)
        | Action::Start(_)
        | Action::Follow(_)
        | Action::Serve { .. }
        | Action::Rest => format!("{reason} ({code})"),
    }
}

/// Leaves metrics for the textfile collector, as a whole.
pub fn put_metrics(file: &Path, text: &str) {
    if let Err(e) = write::replace(file, text, 0o644) {
        warn!("write the metrics {}: {e}, ignoring", file.display());
    }
}

/// Leaves the metrics of a run that has ended so, in the command's own file beside `--metrics-file`. `decision` is the last
/// one; None where it did not come to that.
pub fn ended(config: &Config, command: &str, took: Duration, exit: Exit, decision: Option<&Decision>) -> Exit {
    if let Some(file) = &config.metrics_file {
        let ended = Ended { command, at: now(), took, exit, decision, calls: &calls() };
        put_metrics(&file.with_extension(format!("{command}.prom")), &run_metrics(&ended));
    }
    exit
}

/// Logs why the program ends and what a person can do.
pub fn fail_for(reason: &Reason) -> Exit {
    match reason.advice() {
        Some(advice) => error!(reason = reason.code(), "{reason}: {advice}"),
        None => error!(reason = reason.code(), "{reason}"),
    }
    reason.exit()
}

/// Logs why the program ends where a person must look.
pub fn fail(why: &str) -> Exit {
    error!("{why}");
    Exit::NeedsOperator
}
