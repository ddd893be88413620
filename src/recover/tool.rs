//! etcd's own tool, which alone makes a data directory of a database.

use std::ffi::OsString;
use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::errors::Failed;

/// Of 3.5 on, and until 3.5 (etcd's CHANGELOG-3.6: "Remove `etcdctl snapshot restore`"). `/opt/bin`, where Flatcar has room
/// for programs, is in no unit's `PATH`; the only tool in its image is etcdctl of 3.6.
const KNOWN: [&str; 3] = ["etcdutl", "/opt/bin/etcdutl", "etcdctl"];

/// A tool that can restore.
#[derive(Debug, Clone)]
pub struct Tool {
    words: Vec<String>,
    /// Whether it can raise the revision (etcd's CHANGELOG-3.5: from 3.5.10 on).
    pub bumps: bool,
}

impl Tool {
    /// The one that is named, program and arguments, or the first that is there and can restore.
    ///
    /// # Errors
    /// What was looked for, and why none of it will do.
    pub async fn find(named: Option<&str>) -> Result<Self, String> {
        let candidates: Vec<&str> = named.map_or_else(|| KNOWN.to_vec(), |named| vec![named]);
        let mut why = Vec::new();
        for candidate in candidates {
            match Self::examine(candidate).await {
                Ok(tool) => return Ok(tool),
                Err(e) => why.push(format!("{candidate}: {e}")),
            }
        }
        Err(format!("no tool of etcd's that restores snapshots, see --restore-tool: {}", why.join("; ")))
    }

    async fn examine(text: &str) -> Result<Self, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let tool = Self { words, bumps: false };
        let command = tool.command(&["--help".to_owned()]).ok_or("nothing is named")?.output().await;
        let Output { stdout, stderr, .. } = command.map_err(|e| e.to_string())?;
        let help = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        // etcdctl of 3.6 shows the help of `snapshot` instead.
        if !help.contains("--initial-cluster-token") {
            return Err("it has no 'snapshot restore'".to_owned());
        }
        Ok(Self { bumps: help.contains("--bump-revision"), ..tool })
    }

    /// The whole command line, for a person.
    pub fn command_line(&self, arguments: &[String]) -> String {
        format!("{} snapshot restore {}", self.words.join(" "), arguments.join(" "))
    }

    /// Restores, with the tool's own log on stderr.
    ///
    /// # Errors
    /// How it ended.
    pub async fn run(&self, arguments: &[String]) -> Result<(), Failed> {
        let failed = |why: String| Failed::new("run", self.command_line(arguments), why);
        let mut command = self.command(arguments).ok_or_else(|| failed("nothing is named".to_owned()))?;
        let status = command.stdout(Stdio::null()).status().await.map_err(|e| failed(e.to_string()))?;
        if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
    }

    /// etcdctl takes each of its options from a variable too; up to 3.3 it had another API without this one.
    fn command(&self, arguments: &[String]) -> Option<Command> {
        let (program, own) = self.words.split_first()?;
        let path: OsString = std::env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.args(own).args(["snapshot", "restore"]).args(arguments);
        command.env_clear().env("PATH", path).env("ETCDCTL_API", "3").stdin(Stdio::null()).kill_on_drop(true);
        Some(command)
    }
}
