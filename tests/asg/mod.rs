//! The fake groups that act are what `ready` and `watch` will be tried on, so each of their rules is shown here, through
//! the real SDK where it has a call for it.

mod capacity;
mod errors;
mod hooks;
mod judges;
mod refresh;

use std::time::Duration;

use aws_sdk_autoscaling::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::types::LifecycleHook;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use crate::support::asg::{Hook, Outcome, Scaling};
use crate::support::aws::access_key_of;
use crate::support::cloud::{Ec2State, InstanceId, REGION, World};
use crate::support::imds::TARGET_STATE;
use crate::support::node::{Node, Programs};
use crate::support::rig::Rig;

const GROUP: &str = "g";
const LAUNCH: &str = "etcd-bootstrap-launch";
const TERMINATE: &str = "etcd-bootstrap-terminate";

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// The default delay of one step.
const STEP: Duration = Duration::from_millis(200);

fn launch_hook(default: Outcome) -> Hook {
    Hook::launching(LAUNCH, seconds(60), default)
}

fn terminate_hook(default: Outcome) -> Hook {
    Hook::terminating(TERMINATE, seconds(60), default)
}

fn both_hooks() -> Scaling {
    Scaling { hooks: vec![launch_hook(Outcome::Abandon), terminate_hook(Outcome::Continue)], ..Scaling::default() }
}

/// A group that acts, and the SDK.
struct Lab {
    rig: Rig,
    client: aws_sdk_autoscaling::Client,
}

/// Code and message of an error.
type Refused = (String, String);

impl Lab {
    /// A group whose instances have all come into service without hooks.
    fn settled(desired: u32, scaling: Scaling) -> Self {
        let lab = Self::begin(desired, Scaling { hooks: Vec::new(), ..scaling.clone() });
        lab.advance(seconds(1) + scaling.warmup);
        lab.change(|world| world.scaling_mut(GROUP).hooks = scaling.hooks);
        assert_eq!(lab.lifecycles(), vec!["InService"; desired as usize]);
        lab
    }

    /// A group that was created this moment.
    fn begin(desired: u32, scaling: Scaling) -> Self {
        let rig = Rig::start(Programs { agent: "/bin/false".into(), etcd: "/bin/false".into() });
        let rig = rig.expect("a rig needs nothing special");
        rig.acting_group(GROUP, desired, 40, scaling);
        let client = client(&rig.aws.url(), REGION);
        Self { rig, client }
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.rig.cloud.change(change)
    }

    fn advance(&self, by: Duration) {
        self.change(|world| world.advance(by));
    }

    /// Lets what follows at once happen, and one step of whoever is on the way.
    fn step(&self) {
        self.advance(STEP);
    }

    fn lifecycles(&self) -> Vec<String> {
        self.rig.cloud.now().lifecycles(GROUP).into_iter().map(str::to_owned).collect()
    }

    /// The instances of the group, in the order of their launch.
    fn members(&self) -> Vec<InstanceId> {
        let instances = self.rig.cloud.now().instances;
        instances.into_iter().filter(|instance| instance.place.is_some()).map(|instance| instance.id).collect()
    }

    fn ec2(&self, id: &str) -> Ec2State {
        self.rig.cloud.now().instance(id).expect("it was launched").state
    }

    /// What the API tells of the group's instances.
    async fn described(&self) -> Vec<String> {
        let reply = self.client.describe_auto_scaling_groups().auto_scaling_group_names(GROUP).send().await.unwrap();
        let states = reply.auto_scaling_groups()[0].instances().iter();
        states.map(|instance| instance.lifecycle_state().unwrap().as_str().to_owned()).collect()
    }

    async fn complete(&self, hook: &str, id: &str, result: &str) -> Result<(), Refused> {
        let call = self.client.complete_lifecycle_action().auto_scaling_group_name(GROUP).lifecycle_hook_name(hook);
        let reply = call.instance_id(id).lifecycle_action_result(result).send().await;
        reply.map(|_| ()).map_err(refused)
    }

    async fn heartbeat(&self, hook: &str, id: &str) -> Result<(), Refused> {
        let call = self.client.record_lifecycle_action_heartbeat().auto_scaling_group_name(GROUP);
        let reply = call.lifecycle_hook_name(hook).instance_id(id).send().await;
        reply.map(|_| ()).map_err(refused)
    }

    async fn hooks(&self) -> Vec<LifecycleHook> {
        let reply = self.client.describe_lifecycle_hooks().auto_scaling_group_name(GROUP).send().await.unwrap();
        reply.lifecycle_hooks().to_vec()
    }
}

/// The SDK at this endpoint, with the credentials of some instance.
fn client(url: &str, region: &'static str) -> aws_sdk_autoscaling::Client {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let key = access_key_of("i-00000000000000001");
    let config = aws_sdk_autoscaling::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .http_client(http)
        .credentials_provider(Credentials::new(key, "secret", Some("token".to_owned()), None, "test"))
        .endpoint_url(url)
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .build();
    aws_sdk_autoscaling::Client::from_conf(config)
}

fn refused<E: ProvideErrorMetadata, R>(error: SdkError<E, R>) -> Refused {
    let part = |part: Option<&str>| part.unwrap_or_default().to_owned();
    (part(error.code()), part(error.message()))
}

/// What AWS says where no action waits for this call.
fn no_action(id: &str) -> Result<(), Refused> {
    Err(("ValidationError".to_owned(), format!("No active Lifecycle Action found with instance ID {id}")))
}

/// What the metadata service of a node answers, by the SDK's own client; None for 404.
async fn metadata(node: &Node, path: &str) -> Option<String> {
    metadata_at(&node.imds.url(), path).await
}

async fn metadata_at(url: &str, path: &str) -> Option<String> {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let provider = aws_config::provider_config::ProviderConfig::without_region().with_http_client(http);
    let client =
        aws_config::imds::Client::builder().configure(&provider).endpoint(url).expect("the URL is one").build();
    match client.get(path).await {
        Ok(value) => Some(value.into()),
        Err(error) => {
            assert!(format!("{error:?}").contains("404"), "{error:?}");
            None
        }
    }
}

async fn target(node: &Node) -> Option<String> {
    metadata(node, TARGET_STATE).await
}
