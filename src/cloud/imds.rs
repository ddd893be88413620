//! The instance metadata, version 2 only (F62).

use std::error::Error;
use std::time::Duration;

use aws_config::imds::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_autoscaling::config::SharedHttpClient;
use ipnet::AddrParseError;
use serde::Deserialize;

use super::aws::CallError;
use crate::errors::{Failed, chain};
use crate::model::{Addresses, BlindKind, Identity, InstanceId, Notices};

/// What is tried.
const READ: &str = "read the instance metadata";

/// The service is one hop away and answers in milliseconds; a packet dropped by a hop limit never comes.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Makes a client; it honours `AWS_EC2_METADATA_SERVICE_ENDPOINT` as every AWS SDK does.
pub fn client(http: SharedHttpClient) -> Client {
    let config = ProviderConfig::without_region().with_http_client(http);
    Client::builder()
        .configure(&config)
        .connect_timeout(TIMEOUT)
        .read_timeout(TIMEOUT)
        .operation_attempt_timeout(TIMEOUT)
        .operation_timeout(TIMEOUT * 2)
        .max_attempts(1)
        .build()
}

/// Reads who this node is. Everything that does not depend on another answer is asked at the same time.
///
/// # Errors
/// What could not be read, with the hint that fits the way in which it failed.
pub async fn fetch_identity(client: &Client) -> Result<Identity, CallError> {
    let document = async { required(client, "/latest/dynamic/instance-identity/document").await };
    let (document, dns_name, ipv6, target, vpc_ranges) = tokio::join!(
        document,
        optional(client, "/latest/meta-data/local-hostname".into()),
        optional(client, "/latest/meta-data/ipv6".into()),
        fetch_target_lifecycle_state(client),
        fetch_vpc_ranges(client),
    );
    parse_identity(&Texts {
        document: document?,
        dns_name: dns_name?,
        ipv6: ipv6?,
        target_lifecycle_state: target?,
        vpc_ranges: vpc_ranges?,
    })
}

/// What the metadata says of an instance, in its own words; None where it says 404.
pub struct Texts {
    /// The identity document.
    pub document: String,
    /// `local-hostname`.
    pub dns_name: Option<String>,
    /// `ipv6`.
    pub ipv6: Option<String>,
    /// `autoscaling/target-lifecycle-state`.
    pub target_lifecycle_state: Option<String>,
    /// `vpc-ipv4-cidr-blocks` and `vpc-ipv6-cidr-blocks` of the first interface.
    pub vpc_ranges: Vec<String>,
}

/// Makes an identity of the metadata's words.
///
/// # Errors
/// When the identity document is none, or a range of the VPC.
pub fn parse_identity(texts: &Texts) -> Result<Identity, CallError> {
    let document: Document =
        serde_json::from_str(&texts.document).map_err(|e| malformed("the instance identity document", e))?;
    // Some VPCs give several names in one line; the first is the private one.
    let dns_name = texts.dns_name.as_ref().and_then(|names| names.split_whitespace().next());
    let range =
        |text: &String| text.parse().map_err(|e: AddrParseError| malformed(&format!("the VPC's range '{text}'"), e));
    Ok(Identity {
        instance: InstanceId::new(document.instance_id),
        region: document.region,
        zone: document.availability_zone,
        addresses: Addresses {
            ipv4: document.private_ip.and_then(|a| a.parse().ok()),
            ipv6: texts.ipv6.as_ref().and_then(|a| a.trim().parse().ok()),
            dns_name: dns_name.map(str::to_owned),
        },
        vpc_ranges: texts.vpc_ranges.iter().map(range).collect::<Result<_, _>>()?,
        target_lifecycle_state: texts.target_lifecycle_state.as_deref().map(Into::into),
    })
}

/// Where the group wants this instance; None outside a group (404 is a normal answer, F65).
///
/// # Errors
/// When the metadata service itself fails.
pub async fn fetch_target_lifecycle_state(client: &Client) -> Result<Option<String>, CallError> {
    optional(client, "/latest/meta-data/autoscaling/target-lifecycle-state".into()).await
}

/// What is told of this instance's future.
///
/// # Errors
/// When the metadata service itself fails; 404 is the normal answer.
pub async fn fetch_notices(client: &Client) -> Result<Notices, CallError> {
    let path = |path: &str| format!("/latest/meta-data/{path}");
    let (spot, rebalance, maintenance) = tokio::join!(
        optional(client, path("spot/instance-action")),
        optional(client, path("events/recommendations/rebalance")),
        optional(client, path("events/maintenance/scheduled")),
    );
    let events = maintenance?.map(|text| serde_json::from_str::<Vec<serde_json::Value>>(&text));
    let events = events.transpose().map_err(|e| malformed("the scheduled maintenance events", e))?;
    let spot = spot?.map(|text| serde_json::from_str::<SpotNotice>(&text));
    let spot = spot.transpose().map_err(|e| malformed("the spot interruption notice", e))?;
    Ok(Notices {
        spot: spot.map(|notice| notice.action.into()),
        rebalance: rebalance?.is_some(),
        maintenance: events.is_some_and(|events| !events.is_empty()),
    })
}

#[derive(Deserialize)]
struct SpotNotice {
    action: String,
}

async fn fetch_vpc_ranges(client: &Client) -> Result<Vec<String>, CallError> {
    let Some(mac) = optional(client, "/latest/meta-data/mac".into()).await? else { return Ok(Vec::new()) };
    let path =
        |family: &str| format!("/latest/meta-data/network/interfaces/macs/{}/vpc-{family}-cidr-blocks", mac.trim());
    let (v4, v6) = tokio::join!(optional(client, path("ipv4")), optional(client, path("ipv6")));
    let ranges = [v4?.unwrap_or_default(), v6?.unwrap_or_default()];
    Ok(ranges.iter().flat_map(|text| text.lines()).map(str::to_owned).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    instance_id: String,
    region: String,
    #[serde(default)]
    availability_zone: String,
    private_ip: Option<String>,
}

async fn required(client: &Client, path: &str) -> Result<String, CallError> {
    client.get(path).await.map(|text| text.as_ref().to_owned()).map_err(|e| classify(path, &e))
}

async fn optional(client: &Client, path: String) -> Result<Option<String>, CallError> {
    match client.get(path.as_str()).await {
        Ok(text) => Ok(Some(text.as_ref().to_owned())),
        Err(ImdsError::ErrorResponse(e)) if e.response().status().as_u16() == 404 => Ok(None),
        Err(e) => Err(classify(&path, &e)),
    }
}

/// 403 on the token means that the metadata is switched off, and is final:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html>, read 2026-11-21.
fn classify(path: &str, error: &ImdsError) -> CallError {
    let why = chain(error);
    let lower = why.to_ascii_lowercase();
    let (kind, hint) = if lower.contains("forbidden") || lower.contains("403") {
        (BlindKind::Denied, "; the instance's metadata options have the service switched off")
    } else if lower.contains("timed out") || lower.contains("timeout") {
        // A container adds a hop, and the token's packet has a hop limit of 1 by default (F63).
        (BlindKind::Unreachable, "; in a container the instance needs HttpPutResponseHopLimit 2 or host networking")
    } else if lower.contains("connect error") {
        (BlindKind::Unreachable, "; is this an EC2 instance, with its metadata service on and nothing in its way?")
    } else if matches!(error, ImdsError::FailedToLoadToken(_)) {
        (BlindKind::Unreachable, "; only version 2 of the service (with a token) is used")
    } else {
        (BlindKind::Unreachable, "")
    };
    CallError { hint: hint.to_owned(), ..CallError::new(kind, Failed::new(READ, path, why)) }
}

fn malformed(target: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> CallError {
    CallError::new(BlindKind::Malformed, Failed::new("read", target, source))
}
