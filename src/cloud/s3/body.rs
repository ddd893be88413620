//! What is sent as it comes, in stretches of a known length, so that none of it is held in memory.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Chunks that somebody else sends.
#[derive(Clone)]
pub struct Source(Arc<Mutex<Chunks>>);

struct Chunks {
    coming: mpsc::Receiver<Bytes>,
    /// What one stretch has left of a chunk.
    rest: Bytes,
}

/// So many bytes of a source.
struct Stretch {
    source: Source,
    left: u64,
}

impl Source {
    pub fn of(coming: mpsc::Receiver<Bytes>) -> Self {
        Self(Arc::new(Mutex::new(Chunks { coming, rest: Bytes::new() })))
    }

    /// The next of it, as the body of a request.
    pub fn next(&self, bytes: u64) -> reqwest::Body {
        reqwest::Body::wrap(Stretch { source: self.clone(), left: bytes })
    }
}

impl Body for Stretch {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let source = self.source.clone();
        let mut chunks = source.0.lock().unwrap_or_else(PoisonError::into_inner);
        while chunks.rest.is_empty() {
            match ready!(chunks.coming.poll_recv(cx)) {
                Some(chunk) => chunks.rest = chunk,
                None => return Poll::Ready(Some(Err("it ended early"))),
            }
        }
        let length = chunks.rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let data = chunks.rest.split_to(length);
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
