//! A request to S3: where it goes, its signature, and what its answer means.

use std::env;
use std::error::Error;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_kms::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_xml::decode::{Document, try_data};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, Response};

use super::super::aws::{CallError, GIVE_A_ROLE, has_no_credentials, kind_of, missing, proxy_url};
use crate::clock::now;
use crate::errors::{Failed, chain};
use crate::model::BlindKind;
use crate::names::Names;

/// What is answered at once takes no longer, as with AWS's other services.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// How long S3 may take to put parts together.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(300);

/// What a signature leaves as it is: "unreserved characters" ("Signature Calculations for the Authorization Header", S3 API
/// reference, read 2026-11-27). A slash is one in a key only.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const RESERVED_IN_A_KEY: &AsciiSet = &RESERVED.remove(b'/');

/// A bucket's endpoint, and who asks there.
#[derive(Clone)]
pub struct Service {
    http: Client,
    /// With the bucket, and without a slash at its end.
    endpoint: String,
    bucket: String,
    region: String,
    credentials: Option<SharedCredentialsProvider>,
}

/// One call.
pub struct Request<'a> {
    /// As IAM calls it.
    pub action: &'static str,
    pub method: Method,
    /// Empty for the bucket itself.
    pub key: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: &'a [(&'static str, &'static str)],
    pub body: Option<reqwest::Body>,
}

impl<'a> Request<'a> {
    pub fn new(action: &'static str, method: Method, key: &'a str) -> Self {
        Self { action, method, key, query: &[], headers: &[], body: None }
    }
}

impl Service {
    pub async fn new(config: &SdkConfig, bucket: &str) -> Result<Self, CallError> {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let endpoint = match own_endpoint().or_else(|| config.endpoint_url().map(str::to_owned)) {
            Some(url) => format!("{}/{bucket}", url.trim_end_matches('/')),
            None => endpoint(&region, bucket).await?,
        };
        let mut http = Client::builder()
            .tls_backend_preconfigured(crate::tls::of_the_system())
            .dns_resolver(Names)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .no_proxy();
        if let Some((url, except)) = proxy_url()
            && let Ok(proxy) = reqwest::Proxy::https(url)
        {
            http = http.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&except)));
        }
        let http = http.build().expect("a preconfigured client has nothing left that can fail");
        Ok(Self { http, endpoint, bucket: bucket.to_owned(), region, credentials: config.credentials_provider() })
    }

    /// As people are told of a key.
    pub fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// Makes a call that is answered at once, and returns the answer.
    pub async fn text(&self, request: Request<'_>) -> Result<String, CallError> {
        self.text_within(CALL_TIMEOUT, request).await
    }

    /// The same for one that may take minutes.
    pub async fn patient_text(&self, request: Request<'_>) -> Result<String, CallError> {
        self.text_within(COMPLETION_TIMEOUT, request).await
    }

    async fn text_within(&self, timeout: Duration, request: Request<'_>) -> Result<String, CallError> {
        let (action, key) = (request.action, request.key);
        let call = async {
            let reply = self.send(request).await?;
            reply.text().await.map_err(|e| self.unreachable(action, key, &e))
        };
        let silent = || format!("no answer within {} s", timeout.as_secs());
        let answered = tokio::time::timeout(timeout, call).await;
        answered.unwrap_or_else(|_| Err(self.failed(BlindKind::Unreachable, action, key, silent())))
    }

    /// Makes a call, however long it takes.
    pub async fn send(&self, request: Request<'_>) -> Result<Response, CallError> {
        let Request { action, method, key, query, headers, body } = request;
        let failed = |kind, why: Box<dyn Error + Send + Sync>| self.failed(kind, action, key, why);
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let separator = if query.is_empty() { "" } else { "?" };
        let path = utf8_percent_encode(key, RESERVED_IN_A_KEY);
        let url = format!("{}/{path}{separator}{}", self.endpoint, query.join("&"));
        let credentials = self.fetch_credentials().await.map_err(|(kind, e)| CallError {
            hint: if kind == BlindKind::Denied { GIVE_A_ROLE.to_owned() } else { String::new() },
            ..failed(kind, e.into())
        })?;
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        // As S3 wants it, other than all other services.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let parameters = SigningParams::builder().identity(&identity).region(&self.region).name("s3").time(now());
        let parameters = parameters.settings(settings).build().map_err(|e| failed(BlindKind::Denied, e.into()))?;
        // What is sent is not known before its end: TLS, and the hash at the end, see to it.
        let signable =
            SignableRequest::new(method.as_str(), &url, headers.iter().copied(), SignableBody::UnsignedPayload);
        let signed = signable.and_then(|signable| sign(signable, &parameters.into()));
        let (signature, _) = signed.map_err(|e| failed(BlindKind::Denied, e.into()))?.into_parts();
        let mut call = self.http.request(method, url);
        for (name, value) in headers.iter().copied().chain(signature.headers()) {
            call = call.header(name, value);
        }
        if let Some(body) = body {
            call = call.body(body);
        }
        let reply = call.send().await.map_err(|e| self.unreachable(action, key, &e))?;
        if reply.status().is_success() {
            return Ok(reply);
        }
        let status = reply.status();
        let text = reply.text().await.unwrap_or_default();
        Err(self.refused(action, key, &text).unwrap_or_else(|| failed(BlindKind::Malformed, status.to_string().into())))
    }

    /// Those of now: a role's last for hours, and an upload may be longer.
    async fn fetch_credentials(&self) -> Result<Credentials, (BlindKind, CredentialsError)> {
        let none = || (BlindKind::Denied, CredentialsError::not_loaded("there is no provider"));
        let provided = self.credentials.as_ref().ok_or_else(none)?.provide_credentials().await;
        provided.map_err(|e| (if has_no_credentials(&e) { BlindKind::Denied } else { BlindKind::Unreachable }, e))
    }

    /// A call that came to nothing: which, on what, and why.
    pub fn failed(
        &self,
        kind: BlindKind,
        action: &str,
        key: &str,
        why: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> CallError {
        CallError::new(kind, Failed::new(format!("{action} for"), self.url(key), why))
    }

    fn unreachable(&self, action: &str, key: &str, error: &reqwest::Error) -> CallError {
        CallError { hint: missing(), ..self.failed(BlindKind::Unreachable, action, key, chain(error)) }
    }

    /// What a refusal says ("Error responses", S3 API reference, read 2026-11-27); None where it does not say.
    pub fn refused(&self, action: &str, key: &str, text: &str) -> Option<CallError> {
        let told = elements(text, &["Code", "Message"]).ok()?;
        let of = |name: &str| told.iter().find(|(of, _)| of == name).map(|(_, text)| text.as_str());
        let (code, message) = (of("Code")?, of("Message").unwrap_or("no message"));
        let (kind, hint) = match code {
            "NoSuchBucket" | "NoSuchKey" | "InvalidBucketName" | "InvalidRequest" | "NotImplemented"
            | "InvalidObjectState" => (BlindKind::Absent, String::new()),
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" => {
                (BlindKind::Denied, "; the credentials are not valid here".to_owned())
            }
            code if code.starts_with("KMS.") => {
                (BlindKind::Denied, "; look at the key that the bucket encrypts by".to_owned())
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                (BlindKind::Absent, "; the bucket is in another region: see --snapshot-region".to_owned())
            }
            "RequestTimeTooSkewed" => (BlindKind::Unreachable, "; this node's clock is wrong".to_owned()),
            "SlowDown" => (BlindKind::Throttled, String::new()),
            "AccessDenied" if message.to_lowercase().contains("kms") => {
                let rights = "; allow kms:GenerateDataKey and kms:Decrypt for the bucket's key in the instance's role";
                (BlindKind::Denied, rights.to_owned())
            }
            code => kind_of(code, action).unwrap_or((BlindKind::Unreachable, String::new())),
        };
        let failed = self.failed(kind, action, key, format!("{code}: {message}"));
        Some(CallError { hint, code: code.to_owned(), ..failed })
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// S3's own comes before that of all services ("Service-specific endpoints", AWS SDKs and Tools reference guide, read
/// 2026-11-27).
fn own_endpoint() -> Option<String> {
    env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty())
}

/// S3's in a region. The SDK's own table knows what names end in there: each partition of AWS has its own.
async fn endpoint(region: &str, bucket: &str) -> Result<String, CallError> {
    let failed = |why: Box<dyn Error + Send + Sync>| {
        CallError::new(BlindKind::Absent, Failed::new("find the endpoint of S3 in", region, why))
    };
    let parameters = Params::builder().region(region).build().map_err(|e| failed(e.into()))?;
    let kms = DefaultResolver::new().resolve_endpoint(&parameters).await.map_err(failed)?;
    let suffix = kms.url().strip_prefix("https://kms.").ok_or_else(|| failed(kms.url().into()))?;
    // The certificate is for names of one more part.
    Ok(if bucket.contains('.') {
        format!("https://s3.{suffix}/{bucket}")
    } else {
        format!("https://{bucket}.s3.{suffix}")
    })
}

/// The texts of all elements of these names, in their order.
///
/// # Errors
/// Where it is no XML, or not all of it.
pub fn elements(text: &str, names: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut document = Document::new(text);
    let root = document.root_element().map_err(|e| e.to_string())?;
    let end = format!("</{}>", root.start_el().local());
    drop(root);
    if !text.trim_end().ends_with(&end) {
        return Err("it was cut off".to_owned());
    }
    let mut found = Vec::new();
    let mut document = Document::new(text);
    while let Some(element) = document.next_start_element() {
        let name = element.local().to_owned();
        if names.contains(&name.as_str()) {
            let text = try_data(&mut document.scoped_to(element)).map_err(|e| e.to_string())?;
            found.push((name, text.into_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_partition_has_names_of_its_own() {
        for (region, bucket, url) in [
            ("eu-west-1", "b", "https://b.s3.eu-west-1.amazonaws.com"),
            ("eu-west-1", "b.c", "https://s3.eu-west-1.amazonaws.com/b.c"),
            ("cn-north-1", "b", "https://b.s3.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "b", "https://b.s3.us-gov-west-1.amazonaws.com"),
            ("us-iso-east-1", "b", "https://b.s3.us-iso-east-1.c2s.ic.gov"),
        ] {
            assert_eq!(endpoint(region, bucket).await.expect("a region"), url);
        }
    }

    #[test]
    fn f34_a_reply_that_was_cut_off_is_no_shorter_list() {
        let whole = "<?xml version=\"1.0\"?><L xmlns=\"http://s3\"><C><Key>a&amp;b</Key><Size>1</Size></C>\
                     <C><Key>c</Key><Size>2</Size></C></L>";
        let told = elements(whole, &["Key", "Size"]).expect("it is whole");
        assert_eq!(told.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["a&b", "1", "c", "2"]);
        for end in 1..whole.len() {
            assert!(elements(&whole[..end], &["Key", "Size"]).is_err(), "{}", &whole[..end]);
        }
    }
}
