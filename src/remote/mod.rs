//! What is asked over the network, one file a system: `imds`, `aws`, `peer` (etcd's peer port), `etcd` (its client port).
//!
//! Owns the classification of failures; what a failure means is for `decide.rs` and `run.rs`. One try a call, with a
//! deadline: `run.rs` looks again.

use std::error::Error;

pub mod aws;
pub mod etcd;
pub mod imds;
pub mod peer;

/// The causes of an error joined with ": ", each said once: many libraries repeat their source in their own text.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// The first cause of the given type, the error itself included.
pub(crate) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        // An io::Error hands out its inner error's source, not the inner error itself.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| cause::<T>(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
