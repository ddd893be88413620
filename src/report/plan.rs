//! What a recovery would do.

use std::path::Path;

use serde::Serialize;

use crate::model::{ClusterId, Contents, Snapshot};

/// What `recover` would do, and what stands in its way.
#[derive(Debug, Serialize)]
pub struct Plan<'a> {
    /// What the new cluster begins with.
    pub file: &'a Path,
    /// Whether that is a snapshot, and not the database of a member.
    pub is_snapshot: bool,
    /// What is in it.
    pub contents: &'a Contents,
    /// The cluster that it is of; None where it does not say.
    pub of: Option<ClusterId>,
    /// The cluster that the group's tag names, which is given up; None where it names none.
    pub gives_up: Option<String>,
    /// The id of the new cluster, if it were made in this second.
    pub cluster: ClusterId,
    /// How it is restored; None without a tool.
    pub command: Option<String>,
    /// The newest snapshots of its cluster, the newest first; empty where a certain one was asked for.
    pub newest: &'a [Snapshot],
    /// What stands in the way.
    pub stops: Vec<String>,
}

impl Plan<'_> {
    /// For people.
    pub fn text(&self) -> String {
        let Contents { bytes, revision, index, storage_version, members, alarms, auth, .. } = self.contents;
        let members: Vec<String> = members.iter().map(|m| format!("\n  {m}")).collect();
        let alarms: Vec<String> = alarms
            .iter()
            .map(|a| format!("\nalarm       {} of member {}, which has to be disarmed", a.kind, a.member))
            .collect();
        let kind = if self.is_snapshot { "snapshot" } else { "database" };
        let of = self.of.map(|of| format!(", of cluster {of}")).unwrap_or_default();
        let needs = storage_version.as_ref().map(|v| format!(", for etcd {v} or newer")).unwrap_or_default();
        let yes = self.gives_up.as_deref().unwrap_or("none");
        let stops = match self.stops.as_slice() {
            [] => format!(
                "nothing stands in the way. What is written after revision {revision} is lost. To do it, add: --yes={yes}"
            ),
            stops => format!("in the way: {}", stops.join("\nin the way: ")),
        };
        let newest: Vec<String> = self
            .newest
            .iter()
            .map(|snapshot| format!("there is    {}, {} bytes\n", snapshot.name, snapshot.bytes))
            .collect();
        format!(
            "{}{kind:<12}{}{of}\nholds       {bytes} bytes, revision {revision}, up to index {index}{needs}{}{}\nmembers{}\n\
             gives up    cluster {yes}\ncommand     {}\n{stops}\n",
            newest.concat(),
            self.file.display(),
            if *auth { ", with authentication" } else { "" },
            alarms.concat(),
            members.concat(),
            self.command.as_deref().unwrap_or("none"),
        )
    }
}
