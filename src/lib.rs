//! etcd-bootstrap: one run before etcd on each node of an EC2 Auto Scaling group.
//!
//! Data flows one way, one room a verb: `observe` → `decide` (pure) → `apply` → observe again … → `files`.
//! From the ground up: who stands on a floor imports only from the floors below (`tests/layers.rs`).

#![warn(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

pub mod clock;
pub mod errors;
pub mod exit;
pub mod log;
pub mod model;
pub mod names;

pub mod certificate;
pub mod decide;
pub mod files;
pub mod tls;

pub mod config;

pub mod cloud;
pub mod etcd;
pub mod founders;

pub mod apply;
pub mod observe;
pub mod store;

pub mod issue;
pub mod recover;
pub mod report;
pub mod setup;

pub mod commands;

pub mod cli;
