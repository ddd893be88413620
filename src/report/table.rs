//! The table of `status`, for people.

use std::collections::BTreeMap;

use super::{InstanceRow, instance_rows, role};
use crate::decide::Health;
use crate::model::{LifecycleState, Observation, Probe, Transition};

/// The table of `status`.
pub struct HealthTable {
    /// One a node, by column.
    pub rows: Vec<BTreeMap<&'static str, String>>,
}

/// What is seen of each instance of the group.
pub fn health_table(o: &Observation, members: &[Health<'_>]) -> HealthTable {
    let rows = instance_rows(o).into_iter().map(|row| {
        let probe = o.probes.iter().find(|x| x.instance.as_ref().is_some_and(|id| id.as_str() == row.instance));
        let hooks = hooks_of(o, &row.lifecycle_state);
        let mut cells = health_row(row, probe, probe.and_then(|probe| member_at(members, probe)));
        cells.insert("waits for", hooks);
        cells
    });
    HealthTable { rows: rows.collect() }
}

/// The member whose etcd was asked; a consumer asks at its client port alone.
fn member_at<'a, 'b>(members: &'a [Health<'b>], probe: &Probe) -> Option<&'a Health<'b>> {
    let at = |health: &&Health<'_>| health.member.peer_urls.contains(&probe.asked);
    let itself = |health: &&Health<'_>| matches!(&probe.client, Some(Ok(view)) if view.member_id == health.member.id);
    members.iter().find(at).or_else(|| members.iter().find(itself))
}

impl HealthTable {
    /// The table as a person reads it.
    pub fn text(&self) -> String {
        let width =
            |column: &str| self.rows.iter().map(|row| row[column].len()).chain([column.len()]).max().unwrap_or(0);
        let line = |cells: Vec<String>| format!("{}\n", cells.join("  ").trim_end());
        let head = COLUMNS.iter().map(|c| format!("{c:<w$}", w = width(c))).collect();
        let cells =
            |row: &BTreeMap<&str, String>| COLUMNS.iter().map(|c| format!("{:<w$}", row[c], w = width(c))).collect();
        let rows = self.rows.iter().map(|row| line(cells(row)));
        std::iter::once(line(head)).chain(rows).collect()
    }
}

/// The columns of the table, in their order.
const COLUMNS: [&str; 9] =
    ["instance", "lifecycle", "waits for", "address", "member", "role", "version", "behind", "health"];

/// The lifecycle hooks that an instance in this state may wait for.
fn hooks_of(o: &Observation, state: &str) -> String {
    let state = LifecycleState::from(state);
    let launches = matches!(state, LifecycleState::PendingWait);
    let transition = if launches { Transition::Launching } else { Transition::Terminating };
    let hooks = o.hooks.ok().into_iter().flatten().filter(|hook| hook.transition == transition);
    let names: Vec<&str> = hooks.map(|hook| hook.name.as_str()).collect();
    if state.waits_for_hook() && !names.is_empty() { names.join(",") } else { "-".to_owned() }
}

fn health_row(row: InstanceRow, probe: Option<&Probe>, member: Option<&Health<'_>>) -> BTreeMap<&'static str, String> {
    let view = probe.and_then(|probe| probe.client.as_ref()?.as_ref().ok());
    let role = member.map_or("-", |m| if m.leads { "leader" } else { role(m.member) });
    let behind = member.and_then(|m| m.behind).map_or_else(|| "-".to_owned(), |entries| entries.to_string());
    let health = match view {
        Some(view) if !view.faults.is_empty() => view.faults.join("; "),
        Some(view) if view.quorum_list.ok().is_some() => "healthy".to_owned(),
        Some(view) if view.learner && view.leader.is_some() => "in sync or catching up".to_owned(),
        Some(_) => "no quorum".to_owned(),
        None => row.says,
    };
    BTreeMap::from([
        ("instance", row.instance),
        ("lifecycle", row.lifecycle_state),
        ("address", row.address),
        ("behind", behind),
        ("member", member.map_or_else(|| "-".to_owned(), |m| m.member.id.to_string())),
        ("role", role.to_owned()),
        ("version", view.map_or_else(|| "-".to_owned(), |v| v.version.clone())),
        ("health", health),
    ])
}
