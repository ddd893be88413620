//! etcd-bootstrap: one run before etcd on each node of an EC2 Auto Scaling group.
//!
//! Data flows one way, one room a verb: `observe` → `decide` (pure) → `apply` → observe again … → `write`.

pub mod agreement;
pub mod model;

pub mod cli;
pub mod tls;

pub mod disk;
pub mod observe;
pub mod program;
pub mod record;
pub mod remote;

pub mod decide;
pub mod reason;

pub mod apply;
pub mod environment;
pub mod write;

pub mod founder;
pub mod log;
pub mod ready;
pub mod report;
pub mod run;
pub mod show;
