//! A saved observation, decided again.

use std::path::Path;

use tracing::error;

use super::tell::print;
use crate::config::Output;
use crate::decide::decide;
use crate::exit::Exit;
use crate::files::saved::{Record, read_record};
use crate::report::report;

/// Decides a saved observation again.
pub fn explain(file: &Path, output: Output) -> Exit {
    match read_record(file) {
        Ok(Record { policy, observation, .. }) => {
            let decision = decide(&observation, &policy);
            let shown = report(&observation, &policy, &decision, None);
            print(output, &shown, || shown.text());
            Exit::Done
        }
        Err(e) => {
            error!("read the observation {}: {e}", file.display());
            Exit::Usage
        }
    }
}
