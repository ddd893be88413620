//! What `doctor` looks at beside an observation, and what it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::decision::Decision;
use super::lifecycle::Hook;
use super::seen::Seen;

/// All that is looked at beside an [`Observation`](super::Observation).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkup {
    /// How long the first call of AWS took, with its name, its handshake and the credentials; None where none was made.
    pub first_call: Option<Duration>,
    /// What the group does with its instances; No, `NotAsked`, where no Auto Scaling group launches them.
    pub settings: Seen<Settings>,
    /// The group's lifecycle hooks; as `settings`.
    pub hooks: Seen<Vec<Hook>>,
    /// Where etcd's log will be; No, `Absent`, where its directory is not there yet.
    pub disk: Seen<Disk>,
    /// When the first of the own certificates ends; None without one, and where that cannot be read.
    pub certificate_until: Option<SystemTime>,
    /// Whether this program has the certificates issued.
    pub issues: bool,
    /// What `run` would decide, with the steps before that it takes by itself.
    pub decision: Decision,
    /// What systemd has loaded; None where nobody handed it over.
    pub units: Option<Vec<Unit>>,
    /// What the units have to fit.
    pub wanted: Wanted,
}

/// What an Auto Scaling group does with its instances (Auto Scaling API reference, `AutoScalingGroup`, read 2026-11-28).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The largest size that the group may have.
    pub max: usize,
    /// Who finds an instance unhealthy: `EC2`, `ELB` and others.
    pub health_checks: BTreeSet<String>,
    /// The processes that are suspended, such as `AZRebalance`.
    pub suspended: BTreeSet<String>,
    /// Where instances are launched.
    pub zones: BTreeSet<String>,
    /// What part of the desired capacity a replacement leaves in service, in percent; None: AWS's own rule, by which the old
    /// instance goes before or with the coming of the new one.
    pub min_healthy_percentage: Option<i32>,
}

/// The file system that etcd's log is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The directory.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// How long 99 of 100 writes of the size that etcd's log has took to be on the disk.
    pub sync_p99: Duration,
    /// What is free for its user, in bytes.
    pub free: u64,
    /// Of what kind it is.
    pub kind: DiskKind,
}

/// Kinds of file systems that make a difference to etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// It ends with the machine's power.
    Memory,
    /// It is on another machine.
    Network,
    /// Neither.
    Local,
}

/// A unit as `systemctl show` prints it: its properties, each as often as it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit(BTreeMap<String, Vec<String>>);

impl Unit {
    /// Reads all units of a text; one without an `Id=` is none.
    pub fn read_all(text: &str) -> Vec<Self> {
        let mut units = vec![Self::default()];
        for line in text.lines() {
            match (line.split_once('='), units.last_mut()) {
                (Some((name, value)), Some(unit)) => {
                    unit.0.entry(name.to_owned()).or_default().push(value.to_owned());
                }
                // An empty line stands between two units.
                _ => units.push(Self::default()),
            }
        }
        units.into_iter().filter(|unit| unit.id().is_some()).collect()
    }

    /// Its name.
    pub fn id(&self) -> Option<&str> {
        self.value("Id")
    }

    /// A property that is there once at most; None where it is not, or is empty.
    pub fn value(&self, property: &str) -> Option<&str> {
        self.values(property).next().filter(|value| !value.is_empty())
    }

    /// All values of a property.
    pub fn values(&self, property: &str) -> impl Iterator<Item = &str> {
        self.0.get(property).into_iter().flatten().map(String::as_str)
    }
}

/// What this program is told, as far as a unit may contradict it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The file that etcd's unit has to read.
    pub environment_file: String,
    /// Where the agent has to be let in: etcd's data, and its log where that is elsewhere.
    pub directories: Vec<String>,
    /// How long the agent may take; None for ever.
    pub deadline: Option<Duration>,
    /// The variables that the file sets, of which etcd takes none as a flag too.
    pub variables: BTreeSet<String>,
}

macro_rules! checks {
    ($($(#[$doc:meta])* $variant:ident => $id:literal),+ $(,)?) => {
        /// The checks, in their order. Their ids stay: people ignore a check by its id.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum Check {
            $($(#[$doc])* #[serde(rename = $id)] $variant,)+
        }

        impl Check {
            /// All.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// As people write it.
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$variant => $id,)+
                }
            }
        }
    };
}

checks! {
    /// The instance metadata.
    Imds => "imds",
    /// The way to AWS.
    Aws => "aws",
    /// The rights to read.
    IamRead => "iam-read",
    /// The right to tag.
    IamTag => "iam-tag",
    /// The lifecycle hooks, and the right to complete them.
    Hooks => "hooks",
    /// What the group does with its instances.
    Group => "group",
    /// The way to the other nodes.
    Ports => "ports",
    /// This node's clock.
    Clock => "clock",
    /// The disk of etcd's log.
    Disk => "disk",
    /// This node's certificates.
    Certs => "certs",
    /// What systemd has loaded.
    Units => "units",
    /// The cluster, where there is one.
    Etcd => "etcd",
    /// What `run` would decide.
    Run => "run",
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// What a finding comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// All is as it should be.
    Ok,
    /// It cannot be known yet, or from here.
    Unknown,
    /// It works, and a person should know.
    Warning,
    /// A node will not come up, or the cluster is in danger.
    Failure,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Failure => "failure",
        })
    }
}

/// A sentence of a check. A check says at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub id: Check,
    /// What it comes to.
    pub severity: Severity,
    /// What was seen.
    pub says: String,
    /// What to do; None where nothing is to be done, or what was seen says it.
    pub fix: Option<String>,
}
