//! S3: snapshots as objects, each written once and never again.
//!
//! Signed requests for the seven calls that are needed: with the SDK's crate, most of which is never called, the binary
//! was 1.6 MB larger. One try a call.

mod body;
mod request;

use std::time::Duration;

use aws_config::SdkConfig;
use bytes::Bytes;
use reqwest::{Method, Response};
use tokio::sync::mpsc;

use self::body::Source;
pub use self::request::elements;
use self::request::{Request, Service};
use super::aws::{CallError, MAX_PAGES, endless};
use crate::errors::Failed;
use crate::model::{Blind, BlindKind};

const LIST: &str = "s3:ListBucket";
const PUT: &str = "s3:PutObject";
const GET: &str = "s3:GetObject";
const ABORT: &str = "s3:AbortMultipartUpload";

/// "Add preconditions to S3 operations with conditional requests", S3 user guide, read 2026-11-27.
const IF_NEW: (&str, &str) = ("if-none-match", "*");

/// One PUT ends at 5 GiB ("Uploading objects", S3 user guide, read 2026-11-27).
const LARGEST_PUT: u64 = 9 << 29;
/// Far from the 10,000 parts that an object may have, and no part is held in memory.
const PART: u64 = 1 << 30;

/// How long nothing may come.
const STALL: Duration = Duration::from_secs(30);

/// What came of writing an object under a name that must be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is there, whole.
    Written,
    /// There was one of this name already: nothing was changed.
    Exists,
}

/// A bucket, in one region.
#[derive(Clone)]
pub struct Bucket {
    service: Service,
    /// From where on an object is written in parts, and how long each is.
    parts: (u64, u64),
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its whole key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

impl Bucket {
    /// By its name.
    ///
    /// # Errors
    /// Why there is no endpoint in this region.
    pub async fn new(config: &SdkConfig, name: &str) -> Result<Self, CallError> {
        Ok(Self { service: Service::new(config, name).await?, parts: (LARGEST_PUT, PART) })
    }

    /// The same, where an object of more than `from` bytes is written in parts of `each`.
    #[must_use]
    pub fn in_parts(self, from: u64, each: u64) -> Self {
        Self { parts: (from, each), ..self }
    }

    /// The objects whose keys begin with `prefix`.
    ///
    /// # Errors
    /// What was in the way; `Denied` and `Absent` are for a person.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>, CallError> {
        let mut objects = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut query = vec![("list-type", "2"), ("prefix", prefix)];
            query.extend(next.as_deref().map(|next| ("continuation-token", next)));
            let page = self.service.text(Request { query: &query, ..Request::new(LIST, Method::GET, "") }).await?;
            let malformed = |why: &str| self.malformed(LIST, prefix, why);
            // What is cut off ends in an error, never in a shorter list (F34).
            let told = elements(&page, &["Key", "Size", "NextContinuationToken"]).map_err(|e| malformed(&e))?;
            let of = |name: &str| told.iter().filter(|(of, _)| of == name).map(|(_, text)| text.clone()).collect();
            let (keys, sizes): (Vec<String>, Vec<String>) = (of("Key"), of("Size"));
            if keys.len() != sizes.len() {
                return Err(malformed("not as many sizes as keys"));
            }
            for (key, size) in keys.into_iter().zip(sizes) {
                objects.push(Object { key, bytes: size.parse().map_err(|_| malformed("a size that is no number"))? });
            }
            let tokens: Vec<String> = of("NextContinuationToken");
            next = tokens.into_iter().next();
            if next.is_none() {
                return Ok(objects);
            }
        }
        Err(endless(LIST, &self.service.url(prefix)))
    }

    /// Writes an object of so many bytes, as they come. Where fewer come, or the key is taken, there is none.
    ///
    /// # Errors
    /// As [`Bucket::list`]; the object may be there if the answer was lost.
    pub async fn put(&self, key: &str, bytes: u64, chunks: mpsc::Receiver<Bytes>) -> Result<Stored, CallError> {
        let source = Source::of(chunks);
        if bytes > self.parts.0 {
            return self.put_parts(key, bytes, &source).await;
        }
        let put = Request { headers: &[IF_NEW], body: Some(source.next(bytes)), ..Request::new(PUT, Method::PUT, key) };
        stored(self.service.send(put).await.map(drop))
    }

    async fn put_parts(&self, key: &str, bytes: u64, source: &Source) -> Result<Stored, CallError> {
        let begin = Request { query: &[("uploads", "")], ..Request::new(PUT, Method::POST, key) };
        let begun = self.service.text(begin).await?;
        let malformed = |why: &str| self.malformed(PUT, key, why);
        let ids = elements(&begun, &["UploadId"]).map_err(|e| malformed(&e))?;
        let (_, upload) = ids.into_iter().next().ok_or_else(|| malformed("no id of the upload"))?;
        let written = match self.put_each(key, &upload, bytes, source).await {
            Ok(parts) => stored(self.complete(key, &upload, &parts).await),
            Err(why) => Err(why),
        };
        if !matches!(written, Ok(Stored::Written)) {
            let abort = Request { query: &[("uploadId", &upload)], ..Request::new(ABORT, Method::DELETE, key) };
            // What is left over is for the bucket's rules to delete, see README.md.
            let _ = self.service.text(abort).await;
        }
        written
    }

    /// Writes the parts one after another, and tells what S3 calls each.
    async fn put_each(&self, key: &str, upload: &str, bytes: u64, source: &Source) -> Result<Vec<String>, CallError> {
        let mut tags = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let length = left.min(self.parts.1);
            let number = (tags.len() + 1).to_string();
            let query = [("partNumber", number.as_str()), ("uploadId", upload)];
            let put = Request { query: &query, body: Some(source.next(length)), ..Request::new(PUT, Method::PUT, key) };
            let reply = self.service.send(put).await?;
            let tag = reply.headers().get("etag").and_then(|tag| tag.to_str().ok());
            tags.push(tag.ok_or_else(|| self.malformed(PUT, key, "a part without an ETag"))?.to_owned());
            left -= length;
        }
        Ok(tags)
    }

    /// S3 puts the parts together in this call, which may take minutes; it may end in an error in spite of its status
    /// ("CompleteMultipartUpload", S3 API reference, read 2026-11-27).
    async fn complete(&self, key: &str, upload: &str, tags: &[String]) -> Result<(), CallError> {
        let part = |(n, tag): (usize, &String)| {
            let tag = tag.replace('"', "&quot;");
            format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", n + 1)
        };
        let parts: String = tags.iter().enumerate().map(part).collect();
        let text = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let query = [("uploadId", upload)];
        let complete = Request { query: &query, headers: &[IF_NEW], ..Request::new(PUT, Method::POST, key) };
        let reply = self.service.patient_text(Request { body: Some(text.into()), ..complete }).await?;
        let told = elements(&reply, &["ETag"]).unwrap_or_default();
        let refused = || self.service.refused(PUT, key, &reply);
        if told.is_empty() { Err(refused().unwrap_or_else(|| self.malformed(PUT, key, "no ETag"))) } else { Ok(()) }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// As [`Bucket::list`].
    pub async fn get(&self, key: &str) -> Result<Download, CallError> {
        let reply = tokio::time::timeout(STALL, self.service.send(Request::new(GET, Method::GET, key))).await;
        let silent = || self.service.failed(BlindKind::Unreachable, GET, key, silence());
        let reply = reply.map_err(|_| silent())??;
        let bytes = reply.content_length().ok_or_else(|| self.malformed(GET, key, "no length"))?;
        let tag = reply.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        let tag = tag.chars().filter(char::is_ascii_alphanumeric).collect();
        Ok(Download { bytes, tag, url: self.service.url(key), reply })
    }

    fn malformed(&self, action: &str, key: &str, why: &str) -> CallError {
        self.service.failed(BlindKind::Malformed, action, key, why)
    }
}

/// An object on its way here.
pub struct Download {
    /// Its size.
    pub bytes: u64,
    /// Its ETag, as far as it has letters and digits: another one where the content is another.
    pub tag: String,
    url: String,
    reply: Response,
}

impl Download {
    /// The next of it; None at its end.
    ///
    /// # Errors
    /// That it broke off, or does not move.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Blind> {
        let next = tokio::time::timeout(STALL, self.reply.chunk()).await;
        let failed = |why: String| {
            CallError::new(BlindKind::Unreachable, Failed::new(format!("{GET} for"), &self.url, why)).into()
        };
        next.map_err(|_| failed(silence()))?.map_err(|e| failed(crate::errors::chain(&e)))
    }
}

fn silence() -> String {
    format!("nothing came for {} s", STALL.as_secs())
}

/// A write that must not replace anything.
fn stored(answer: Result<(), CallError>) -> Result<Stored, CallError> {
    match answer {
        Ok(()) => Ok(Stored::Written),
        Err(e) if e.code == "PreconditionFailed" => Ok(Stored::Exists),
        Err(e) => Err(e),
    }
}
