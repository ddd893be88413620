//! What `doctor` tells: people in lines, programs as `docs/doctor.schema.json` says.

use serde::Serialize;

use crate::model::{Check, Finding, Severity};

/// Grows when a program that reads it would misread it.
const SCHEMA_VERSION: u32 = 1;

/// All findings, and what they come to.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// Of what follows.
    pub schema_version: u32,
    /// The worst of what follows, less what is ignored.
    pub severity: Severity,
    /// In the order of the checks.
    pub findings: Vec<Row>,
}

/// A finding.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// Whether it does not count.
    pub ignored: bool,
}

impl Diagnosis {
    /// Puts it together.
    pub fn new(findings: Vec<Finding>, ignored: &[Check]) -> Self {
        let findings = findings.into_iter().map(|finding| Row { ignored: ignored.contains(&finding.id), finding });
        let findings: Vec<Row> = findings.collect();
        let counted = findings.iter().filter(|row| !row.ignored).map(|row| row.finding.severity);
        Self { schema_version: SCHEMA_VERSION, severity: counted.max().unwrap_or(Severity::Ok), findings }
    }

    /// The checks that fail, each once.
    pub fn failed(&self) -> Vec<Check> {
        let failed = self.findings.iter().filter(|row| !row.ignored && row.finding.severity == Severity::Failure);
        let mut failed: Vec<Check> = failed.map(|row| row.finding.id).collect();
        failed.dedup();
        failed
    }

    /// For people.
    pub fn text(&self) -> String {
        let lines = self.findings.iter().map(|Row { finding, ignored }| {
            let severity = if *ignored { "ignored".to_owned() } else { finding.severity.to_string() };
            let fix = finding.fix.as_ref().map(|fix| format!("{:19}{fix}\n", "")).unwrap_or_default();
            format!("{severity:<9}{:<10}{}\n{fix}", finding.id, finding.says)
        });
        let failed: Vec<&str> = self.failed().into_iter().map(Check::id).collect();
        let last = match failed.as_slice() {
            [] => "no check fails\n".to_owned(),
            failed => format!("{} of {} checks fail: {}\n", failed.len(), Check::ALL.len(), failed.join(", ")),
        };
        lines.chain([last]).collect()
    }
}
