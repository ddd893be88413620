//! One test binary: modules by what they prove.

// The command line and bad input, with the real binary.
mod cli;
// Certificates that nodes have issued.
mod certificates;
// Situations and decisions, as a table.
mod decide;
// Every state that groups of agents can reach.
mod model;
// The data directory, read from real etcds.
mod disk;
// The fakes, against the real SDKs.
mod fakes;
// The fake KMS, against the real SDK; for moto too.
mod kms;
// The fake groups that act, through the real SDK.
mod asg;
// The main job, on real etcd.
mod e2e;
// How a cluster begins, stopped half-way and begun again.
mod founding;
// The main job in all weathers, while clients read and write.
mod chaos;
// The failure catalogue, against the tests that there are.
mod catalogue;
// What goes wrong at a bad moment, on real etcd.
mod failures;
// The file and the data directory, on real etcd.
mod files;
// The group's life cycle, on real etcd.
mod life;
// Consumers and what they ask of AWS, on real etcd.
mod consumers;
// Metrics and alerts.
mod metrics;
// Snapshots, of real etcd.
mod snapshots;
// Ways back from a loss, on real etcd.
mod recovery;
// A database that takes a while to arrive.
mod large;
// Observations of the field, decided again.
mod observations;
// etcds of several versions in one group.
mod versions;
// The group's tag, on real etcd.
mod tag;
// Instances that no Auto Scaling group launches, on real etcd.
mod plain;
// etcd with authentication, on real etcd.
mod users;
// Patroni and PostgreSQL on a cluster, as docs/patroni.md has it.
mod patroni;
// What status tells programs, on real etcd and from any machine, against its published schema.
mod status;
// What doctor finds, on real etcd, against its published schema.
mod doctor;
// What it asks of others in an outage, and what a neighbour can do to it.
mod pressure;
// What is read from outside, with hostile input.
mod fuzz;
// The main job with another judge of the AWS calls.
mod moto;
// The CloudFormation template, by the real AWS CLI, and the page about it.
mod infrastructure;
// The identity with another judge of the metadata.
mod metadata;
// The documents, the units and the Ignition sources, against the code.
mod docs;
// Who imports whom, against ARCHITECTURE.md.
mod layers;
// What scenarios on real etcd are made of.
mod scenario;
mod support;
