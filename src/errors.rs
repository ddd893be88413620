//! What failed, and how its causes are told.

use std::error::Error;

/// Something that was tried, on what, and why it failed. It says its own layer; [`chain`] adds the causes.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {target}")]
pub struct Failed {
    /// A verb, and what it is done to: `read the certificate`.
    pub operation: String,
    /// Which one: a file, a group, a URL.
    pub target: String,
    /// The cause.
    pub source: Box<dyn Error + Send + Sync>,
}

impl Failed {
    /// Joins the parts; a text is a cause too.
    pub fn new(
        operation: impl Into<String>,
        target: impl ToString,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { operation: operation.into(), target: target.to_string(), source: source.into() }
    }
}

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
