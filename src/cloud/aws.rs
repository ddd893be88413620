//! What every call of AWS shares: the HTTP client, deadlines, what makes a reply whole, and why a call failed.
//!
//! One try a call: the loop looks again.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_autoscaling::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
    BeforeTransmitInterceptorContextRef,
};
use aws_sdk_autoscaling::config::{ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_autoscaling::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::primitives::{DateTime, DateTimeFormat};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::{ProxyConfig, ProxyError};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::orchestrator::Metadata;

use crate::errors::{Failed, cause, chain};
use crate::model::{Blind, BlindKind, Calls};
use crate::names::Names;

/// AWS answers in 50 to 300 ms; a call that takes this long is better asked again.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// What an instance without credentials lacks, and who is none.
pub(super) const GIVE_A_ROLE: &str = "; give the instance an instance profile whose role has the policy in README.md; elsewhere \
                                      set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";

/// No group that fits one etcd cluster fills more pages than this: a reply that never ends is a fault.
pub(super) const MAX_PAGES: usize = 50;

/// The HTTP client of the AWS SDK and of the metadata: rustls with ring, as everything else.
pub fn http_client() -> SharedHttpClient {
    let native = !rustls_native_certs::load_native_certs().certs.is_empty();
    let trust = TrustStore::empty().with_native_roots(native);
    let context = TlsContext::builder().with_trust_store(trust).build().expect("a trust store needs nothing else");
    let proxy = proxy().and_then(Result::ok).unwrap_or_else(ProxyConfig::disabled);
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
        connector
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context.clone())
            .build_with_resolver(Names)
    })
}

/// The proxy for HTTPS, which only AWS is asked over; None without one. `HTTP_PROXY` must not count: the metadata, asked
/// by way of a proxy, would be the proxy's.
fn proxy() -> Option<Result<ProxyConfig, ProxyError>> {
    proxy_url().map(|(url, except)| ProxyConfig::https(url).map(|proxy| proxy.no_proxy(except)))
}

/// Its URL, and whom it is not for.
pub(super) fn proxy_url() -> Option<(String, String)> {
    let variable = |name: &str| {
        let values = [name.to_ascii_lowercase(), name.to_owned()].into_iter().filter_map(|name| env::var(name).ok());
        values.into_iter().find(|value| !value.is_empty())
    };
    let url = variable("HTTPS_PROXY")?;
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    Some((url, variable("NO_PROXY").unwrap_or_default()))
}

/// Of one region. Credentials come from the SDK's default chain: environment, profile, container, instance role.
pub(super) async fn config(http: SharedHttpClient, region: &str) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(Duration::from_secs(2)).operation_timeout(CALL_TIMEOUT);
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        .load()
        .await
}

/// The `Date` header of the last reply.
#[derive(Debug, Clone, Default)]
pub(super) struct Date(Arc<Mutex<Option<SystemTime>>>);

impl Date {
    pub(super) fn read(&self) -> Option<SystemTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Date {
    fn name(&self) -> &'static str {
        "Date"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date.and_then(|date| date.try_into().ok());
        Ok(())
    }
}

/// Refuses a reply that was cut off: the SDK takes what came of its XML for a shorter list, and two such parts, by tag and
/// by id, could pass for the whole (F34).
#[derive(Debug)]
pub(super) struct Whole;

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "Whole"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let reply = context.response();
        let body = reply.body().bytes().unwrap_or_default();
        // The last element of each action's reply is <...Response>.
        let is_whole = !reply.status().is_success() || body.trim_ascii_end().ends_with(b"Response>");
        if is_whole { Ok(()) } else { Err("the reply was cut off".into()) }
    }
}

/// What this process has asked of AWS, for its metrics.
static CALLS: Mutex<BTreeMap<String, Calls>> = Mutex::new(BTreeMap::new());

fn counted() -> MutexGuard<'static, BTreeMap<String, Calls>> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What this process has asked of AWS since it began, by action, as IAM names those: `ec2:DescribeInstances`.
pub fn calls() -> BTreeMap<String, Calls> {
    counted().clone()
}

/// Counts the calls of a service, whose actions IAM gives this prefix.
#[derive(Debug)]
pub(super) struct Count(pub &'static str);

impl Intercept for Count {
    fn name(&self) -> &'static str {
        "Count"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(operation) = bag.load::<Metadata>() {
            counted().entry(format!("{}:{}", self.0, operation.name())).or_default().made += 1;
        }
        Ok(())
    }
}

/// A call that gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[error("{failed}")]
pub struct CallError {
    /// What makes a difference to what happens next.
    pub kind: BlindKind,
    /// The action, what it was asked about, and the cause.
    #[source]
    pub failed: Failed,
    /// What a person can do, beginning with a semicolon; empty where that is not known.
    pub hint: String,
    /// What AWS calls it; empty where it gave no answer that says so.
    pub code: String,
}

impl CallError {
    pub(super) fn new(kind: BlindKind, failed: Failed) -> Self {
        Self { kind, failed, hint: String::new(), code: String::new() }
    }
}

impl From<CallError> for Blind {
    fn from(error: CallError) -> Self {
        Self { kind: error.kind, why: format!("{}{}", chain(&error), error.hint) }
    }
}

pub(super) fn endless(action: &str, target: &str) -> CallError {
    let why = format!("the reply did not end after {MAX_PAGES} pages");
    CallError::new(BlindKind::Malformed, Failed::new(format!("{action} for"), target, why))
}

/// The error codes are those of "Common errors" in either service's API reference, read 2026-11-21.
pub(super) fn classify<E, R>(action: &str, target: &str, error: &SdkError<E, R>) -> CallError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let code = error.code().unwrap_or_default();
    let (kind, hint) = match (code, error) {
        (code, _) if let Some(told) = kind_of(code, action) => told,
        ("", _) if has_no_credentials(error) => (BlindKind::Denied, GIVE_A_ROLE.to_owned()),
        (_, SdkError::ResponseError(_)) => (BlindKind::Malformed, String::new()),
        (_, SdkError::ServiceError(e)) if code.is_empty() && e.err().message().is_none() => {
            (BlindKind::Malformed, String::new())
        }
        (_, SdkError::DispatchFailure(_)) => (BlindKind::Unreachable, missing()),
        (_, _) => (BlindKind::Unreachable, String::new()),
    };
    if kind == BlindKind::Throttled {
        counted().entry(action.to_owned()).or_default().throttled += 1;
    }
    // The SDK's own text says only "service error": the cause is in its sources and metadata.
    let said = match (code, error.message()) {
        ("", None) => error.source().map_or_else(|| error.to_string(), chain),
        (code, message) => format!("{code}: {}", message.unwrap_or("no message")),
    };
    CallError { kind, failed: Failed::new(format!("{action} for"), target, said), hint, code: code.to_owned() }
}

/// What a code means that all services share; None where it is not one of those.
pub(super) fn kind_of(code: &str, action: &str) -> Option<(BlindKind, String)> {
    match code {
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "AuthFailure" => {
            Some((BlindKind::Denied, format!("; allow {action} in the instance's role")))
        }
        "InvalidClientTokenId" | "ExpiredToken" | "MissingAuthenticationToken" => {
            Some((BlindKind::Denied, "; the instance's role gives no valid credentials".to_owned()))
        }
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" => Some((BlindKind::Throttled, String::new())),
        _ => None,
    }
}

/// Whether no provider of the SDK's chain has credentials: the metadata, which was read before, names no role.
pub(super) fn has_no_credentials(error: &(dyn Error + 'static)) -> bool {
    matches!(cause::<CredentialsError>(error), Some(CredentialsError::CredentialsNotLoaded(_)))
}

/// What an image that holds nothing but this binary lacks for HTTPS to AWS, and what may be in its way.
pub(super) fn missing() -> String {
    let mut missing = Vec::new();
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        missing.push("no CA certificates found: mount /etc/ssl/certs or set SSL_CERT_FILE");
    }
    if !std::path::Path::new("/etc/resolv.conf").exists() {
        missing.push("there is no /etc/resolv.conf");
    }
    match proxy() {
        Some(Ok(_)) => missing.push("HTTPS_PROXY is set: does the proxy let it through?"),
        Some(Err(_)) => missing.push("HTTPS_PROXY is not the URL of a proxy and was ignored"),
        None => {}
    }
    missing.iter().map(|m| format!("; {m}")).collect()
}
