//! Files that this program keeps: how they reach the disk, and those that outlive a run.

pub mod disk;
pub mod record;
pub mod saved;
pub mod write;
