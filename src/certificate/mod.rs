//! What certificates are made of, in memory: the authority that a key of KMS makes, and this node's own under it.
//!
//! Pure but for the randomness of keys and serial numbers. Who asks KMS, and what reaches the disk, is in `issue`.

mod authority;
mod draft;

pub use self::authority::Authority;
pub use self::draft::{Draft, Purpose, Wanted};
