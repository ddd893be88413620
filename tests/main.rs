//! One test binary: modules by what they prove.

// Situations and decisions, as a table.
// The main job, on real etcd.
mod e2e;
mod support;
