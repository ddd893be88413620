//! One test binary: modules by what they prove.

// Situations and decisions, as a table.
mod decide;
// The data directory, read from real etcds.
mod disk;
// The main job, on real etcd.
mod e2e;
mod support;
