//! What the journal of one machine tells, in its order. Pure: it is read by `machine`.

use std::collections::BTreeSet;

use serde_json::Value;

/// The entries of a journal, the oldest first.
pub struct Journal(Vec<Value>);

/// systemd's "start of a unit has finished" (systemd/sd-messages.h).
const FINISHED: &str = "39f53479d3a045ac8e11786248231fbf";
/// systemd's "the main process of a unit has ended".
const ENDED: &str = "98e322203f7a4ed290d09fe03c09fe15";

impl Journal {
    /// Reads `journalctl --output=json`.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// How often etcd was started. Each of its processes must come after an end with success of the agent that no
    /// other start of etcd has used already.
    ///
    /// # Errors
    /// When one did not.
    pub fn agent_before_each_start(&self, etcd_unit: &str) -> Result<usize, String> {
        let mut seen = BTreeSet::new();
        let mut agent_has_finished = false;
        for entry in &self.0 {
            if text(entry, "MESSAGE_ID") == FINISHED && text(entry, "UNIT") == crate::machine::AGENT {
                agent_has_finished = true;
            }
            let process = (text(entry, "_BOOT_ID").to_owned(), text(entry, "_PID").to_owned());
            let is_etcd = text(entry, "_SYSTEMD_UNIT") == etcd_unit && text(entry, "_COMM") == "etcd";
            if is_etcd && seen.insert(process) {
                if !agent_has_finished {
                    return Err(format!("start {} of etcd came before the agent had finished", seen.len()));
                }
                agent_has_finished = false;
            }
        }
        Ok(seen.len())
    }

    /// The exit status of each run of this unit's main process that has ended with a failure.
    pub fn failures(&self, unit: &str) -> Vec<String> {
        let of_unit = |entry: &&Value| text(entry, "MESSAGE_ID") == ENDED && text(entry, "UNIT") == unit;
        self.0.iter().filter(of_unit).map(|entry| text(entry, "EXIT_STATUS").to_owned()).collect()
    }
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_default()
}
