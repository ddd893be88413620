//! Auto Scaling and EC2: the calls of a pass, and the tags.
//!
//! SDK types never leave this file. One try a call: `run.rs` looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_autoscaling::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
};
use aws_sdk_autoscaling::config::{ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_autoscaling::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::primitives::{DateTime, DateTimeFormat};
use aws_sdk_ec2::types::{Filter, InstanceNetworkInterface};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::{ProxyConfig, ProxyError};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

use super::{cause, chain};
use crate::model::{Addresses, Blind, BlindKind, CLUSTER_TAG, Ec2, FOUNDING_TAG, Group, Instance, InstanceId};

/// AWS answers in 50 to 300 ms; a call that takes this long is better asked again.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// No group that fits one etcd cluster fills more pages than this: a reply that never ends is a fault.
const MAX_PAGES: usize = 50;

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
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context.clone()).build()
    })
}

/// The proxy for HTTPS, which only AWS is asked over; None without one. `HTTP_PROXY` must not count: the metadata, asked
/// by way of a proxy, would be the proxy's.
fn proxy() -> Option<Result<ProxyConfig, ProxyError>> {
    let variable = |name: &str| {
        let values = [name.to_ascii_lowercase(), name.to_owned()].into_iter().filter_map(|name| env::var(name).ok());
        values.into_iter().find(|value| !value.is_empty())
    };
    let url = variable("HTTPS_PROXY")?;
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    Some(ProxyConfig::https(url).map(|proxy| proxy.no_proxy(variable("NO_PROXY").unwrap_or_default())))
}

/// Both services' clients of one region.
#[derive(Clone)]
pub struct Aws {
    autoscaling: aws_sdk_autoscaling::Client,
    ec2: aws_sdk_ec2::Client,
}

impl Aws {
    /// Credentials come from the SDK's default chain: environment, profile, container, instance role.
    pub async fn new(http: SharedHttpClient, region: &str) -> Self {
        let timeouts = TimeoutConfig::builder().connect_timeout(Duration::from_secs(2)).operation_timeout(CALL_TIMEOUT);
        let config: SdkConfig = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build())
            .load()
            .await;
        let autoscaling = aws_sdk_autoscaling::config::Builder::from(&config).interceptor(Whole).build();
        let ec2 = aws_sdk_ec2::config::Builder::from(&config).interceptor(Whole).build();
        Self {
            autoscaling: aws_sdk_autoscaling::Client::from_conf(autoscaling),
            ec2: aws_sdk_ec2::Client::from_conf(ec2),
        }
    }

    /// The name of the group that an instance is in.
    ///
    /// # Errors
    /// `Absent` when Auto Scaling does not know the instance (yet, F68).
    pub async fn fetch_group_name(&self, id: &InstanceId) -> Result<String, Blind> {
        let action = "autoscaling:DescribeAutoScalingInstances";
        let call = self.autoscaling.describe_auto_scaling_instances().instance_ids(id.as_str());
        let reply = call.send().await.map_err(|e| classify(action, id.as_str(), &e))?;
        let own = reply.auto_scaling_instances().iter().find(|i| i.instance_id() == Some(id.as_str()));
        own.and_then(|i| i.auto_scaling_group_name()).map(str::to_owned).ok_or_else(|| Blind {
            kind: BlindKind::Absent,
            why: format!("{action}: instance {id} is in no Auto Scaling group"),
        })
    }

    /// A group by its exact name (F10).
    ///
    /// # Errors
    /// `Absent` when no group has that name, `Ambiguous` when several have.
    pub async fn fetch_group(&self, name: &str, read_at: SystemTime) -> Result<Group, Blind> {
        let action = "autoscaling:DescribeAutoScalingGroups";
        let mut groups = Vec::new();
        let mut token = None;
        let date = Date::default();
        for _ in 0..MAX_PAGES {
            let call = self.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(name);
            let call = call.set_next_token(token).customize().interceptor(date.clone());
            let reply = call.send().await.map_err(|e| classify(action, name, &e))?;
            groups.extend(reply.auto_scaling_groups.unwrap_or_default());
            token = reply.next_token.filter(|t| !t.is_empty());
            if token.is_none() {
                return one_group(groups, name, read_at, date.read());
            }
        }
        Err(endless(action, name))
    }

    /// What EC2 says of the given instances. Asked by filter: one unknown id must not fail them all (F67).
    ///
    /// # Errors
    /// When any page fails; a part is never returned as the whole.
    pub async fn fetch_instances(&self, ids: &BTreeSet<InstanceId>) -> Result<Ec2, Blind> {
        let values = ids.iter().map(|id| id.as_str().to_owned()).collect();
        let found = self.describe_instances("instance-id", values, &format!("{} instances", ids.len())).await?;
        Ok(Ec2 { asked: ids.clone(), found })
    }

    /// What EC2 says of the instances that a group has launched, the terminated ones among them (Auto Scaling user guide,
    /// "Tag Auto Scaling groups and instances", read 2026-11-26). One launched just now may not have its tag yet.
    ///
    /// # Errors
    /// As [`Aws::fetch_instances`].
    pub async fn fetch_instances_of(&self, group: &str) -> Result<Ec2, Blind> {
        let found = self.describe_instances("tag:aws:autoscaling:groupName", vec![group.to_owned()], group).await?;
        Ok(Ec2 { asked: found.keys().cloned().collect(), found })
    }

    async fn describe_instances(
        &self,
        filter: &str,
        values: Vec<String>,
        target: &str,
    ) -> Result<BTreeMap<InstanceId, Instance>, Blind> {
        let action = "ec2:DescribeInstances";
        let filter = Filter::builder().name(filter).set_values(Some(values)).build();
        let mut found = BTreeMap::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let call = self.ec2.describe_instances().filters(filter.clone()).set_next_token(token);
            let reply = call.send().await.map_err(|e| classify(action, target, &e))?;
            found.extend(reply.reservations().iter().flat_map(|r| r.instances()).filter_map(instance));
            token = reply.next_token.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(endless(action, target))
    }

    /// Writes tags of a group, all in one call.
    ///
    /// # Errors
    /// `Denied` where the role does not allow it.
    pub async fn tag_group(&self, group: &str, tags: &BTreeMap<String, String>) -> Result<(), Blind> {
        let tags = tags.iter().map(|(key, value)| {
            let tag = aws_sdk_autoscaling::types::Tag::builder().resource_id(group).resource_type("auto-scaling-group");
            tag.key(key).value(value).propagate_at_launch(false).build()
        });
        let call = self.autoscaling.create_or_update_tags().set_tags(Some(tags.collect()));
        call.send().await.map(|_| ()).map_err(|e| classify("autoscaling:CreateOrUpdateTags", group, &e))
    }
}

/// The `Date` header of the last reply.
#[derive(Debug, Clone, Default)]
struct Date(Arc<Mutex<Option<SystemTime>>>);

impl Date {
    fn read(&self) -> Option<SystemTime> {
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
struct Whole;

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

fn one_group(
    groups: Vec<aws_sdk_autoscaling::types::AutoScalingGroup>,
    name: &str,
    read_at: SystemTime,
    date: Option<SystemTime>,
) -> Result<Group, Blind> {
    let mut named: Vec<_> = groups.into_iter().filter(|g| g.auto_scaling_group_name() == Some(name)).collect();
    let group = match (named.pop(), named.len()) {
        (Some(group), 0) => group,
        (None, _) => {
            return Err(Blind {
                kind: BlindKind::Absent,
                why: format!("there is no Auto Scaling group named '{name}'"),
            });
        }
        (Some(_), others) => {
            let why = format!("{} Auto Scaling groups are named '{name}'", others + 1);
            return Err(Blind { kind: BlindKind::Ambiguous, why });
        }
    };
    let instances = group.instances().iter();
    let tag = |key: &str| {
        let mut tags = group.tags().iter();
        tags.find(|t| t.key() == Some(key)).and_then(|t| t.value()).map(str::to_owned)
    };
    Ok(Group {
        name: name.to_owned(),
        arn: group.auto_scaling_group_arn().unwrap_or_default().to_owned(),
        desired: usize::try_from(group.desired_capacity().unwrap_or_default()).unwrap_or_default(),
        cluster_tag: tag(CLUSTER_TAG),
        founding_tag: tag(FOUNDING_TAG),
        instances: instances
            .filter_map(|i| {
                let state = i.lifecycle_state().map(|s| s.as_str().to_owned()).unwrap_or_default();
                Some((InstanceId::new(i.instance_id()?), state))
            })
            .collect(),
        read_at,
        date,
    })
}

fn instance(i: &aws_sdk_ec2::types::Instance) -> Option<(InstanceId, Instance)> {
    let named = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let launched = i.launch_time().and_then(|t| SystemTime::try_from(*t).ok());
    let instance = Instance {
        state: i.state().and_then(|s| s.name()).map(|n| n.as_str().to_owned()).unwrap_or_default(),
        addresses: Addresses {
            ipv4: i.private_ip_address().and_then(|a| a.parse().ok()),
            ipv6: i.ipv6_address().and_then(|a| a.parse().ok()),
            dns_name: named(i.private_dns_name()),
        },
        others: i.network_interfaces().iter().flat_map(addresses).filter_map(|a| a.parse().ok()).collect(),
        launched,
    };
    Some((InstanceId::new(i.instance_id()?), instance))
}

/// All private addresses of an interface (EC2 API reference, InstanceNetworkInterface, read 2026-11-26).
fn addresses(interface: &InstanceNetworkInterface) -> impl Iterator<Item = &str> {
    let v4 = interface.private_ip_addresses().iter().filter_map(|a| a.private_ip_address());
    v4.chain(interface.ipv6_addresses().iter().filter_map(|a| a.ipv6_address()))
}

fn endless(action: &str, target: &str) -> Blind {
    let why = format!("{action} for {target}: the reply did not end after {MAX_PAGES} pages");
    Blind { kind: BlindKind::Malformed, why }
}

/// The error codes are those of "Common errors" in either service's API reference, read 2026-11-21.
fn classify<E, R>(action: &str, target: &str, error: &SdkError<E, R>) -> Blind
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let code = error.code().unwrap_or_default();
    let (kind, hint) = match (code, error) {
        ("AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "AuthFailure", _) => {
            (BlindKind::Denied, format!("; allow {action} in the instance's role"))
        }
        ("InvalidClientTokenId" | "ExpiredToken" | "MissingAuthenticationToken", _) => {
            (BlindKind::Denied, "; the instance's role gives no valid credentials".to_owned())
        }
        ("Throttling" | "ThrottlingException" | "RequestLimitExceeded", _) => (BlindKind::Throttled, String::new()),
        ("", _) if has_no_credentials(error) => {
            let hint = "; give the instance an instance profile whose role has the policy in README.md";
            (BlindKind::Denied, hint.to_owned())
        }
        (_, SdkError::ResponseError(_)) => (BlindKind::Malformed, String::new()),
        (_, SdkError::ServiceError(e)) if code.is_empty() && e.err().message().is_none() => {
            (BlindKind::Malformed, String::new())
        }
        (_, SdkError::DispatchFailure(_)) => (BlindKind::Unreachable, missing()),
        (_, _) => (BlindKind::Unreachable, String::new()),
    };
    // The SDK's own text says only "service error": the cause is in its sources and metadata.
    let said = match (code, error.message()) {
        ("", None) => error.source().map_or_else(|| error.to_string(), chain),
        (code, message) => format!("{code}: {}", message.unwrap_or("no message")),
    };
    Blind { kind, why: format!("{action} for {target}: {said}{hint}") }
}

/// Whether no provider of the SDK's chain has credentials: the metadata, which was read before, names no role.
fn has_no_credentials(error: &(dyn Error + 'static)) -> bool {
    matches!(cause::<CredentialsError>(error), Some(CredentialsError::CredentialsNotLoaded(_)))
}

/// What an image that holds nothing but this binary lacks for HTTPS to AWS, and what may be in its way.
fn missing() -> String {
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
