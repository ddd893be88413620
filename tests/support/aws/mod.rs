//! The query APIs of Auto Scaling and EC2 and the JSON API of KMS over HTTP, for exactly the actions that the agent uses.
//!
//! What comes in and goes out has the shapes that aws-sdk-autoscaling 1.140, aws-sdk-ec2 1.274 and aws-sdk-kms 1.129
//! write and parse (their `src/protocol_serde`). Every call is recorded. A call that AWS would
//! refuse as wrong is refused here too and recorded as a complaint, so that a test cannot pass by
//! accident; see [`Aws::complaints`]. Faults are set at run time, by action.

mod actions;
mod faults;
mod kms;
mod lifecycle;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio_rustls::TlsAcceptor;

use crate::support::cloud::{Cloud, InstanceId};
use crate::support::http::{self, Answer, Rendezvous, Request};
use crate::support::lock;
use actions::{
    create_or_update_tags, create_tags, describe_auto_scaling_groups, describe_auto_scaling_instances,
    describe_instances,
};
use faults::{Asked, Effect, instead_of_answer};
use kms::{get_public_key, sign};
use lifecycle::{complete_lifecycle_action, describe_lifecycle_hooks, record_lifecycle_action_heartbeat};
use wire::{Form, Refusal, Service, Signature};

pub use faults::{Fault, Often, Only};
pub use wire::access_key_of;

/// The actions that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::enum_variant_names, reason = "AWS gave the names")]
pub enum Action {
    DescribeAutoScalingInstances,
    DescribeAutoScalingGroups,
    CreateOrUpdateTags,
    DescribeLifecycleHooks,
    CompleteLifecycleAction,
    RecordLifecycleActionHeartbeat,
    DescribeInstances,
    CreateTags,
    GetPublicKey,
    Sign,
}

impl Action {
    pub const ALL: [Self; 10] = [
        Self::DescribeAutoScalingInstances,
        Self::DescribeAutoScalingGroups,
        Self::CreateOrUpdateTags,
        Self::DescribeLifecycleHooks,
        Self::CompleteLifecycleAction,
        Self::RecordLifecycleActionHeartbeat,
        Self::DescribeInstances,
        Self::CreateTags,
        Self::GetPublicKey,
        Self::Sign,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::DescribeAutoScalingInstances => "DescribeAutoScalingInstances",
            Self::DescribeAutoScalingGroups => "DescribeAutoScalingGroups",
            Self::CreateOrUpdateTags => "CreateOrUpdateTags",
            Self::DescribeLifecycleHooks => "DescribeLifecycleHooks",
            Self::CompleteLifecycleAction => "CompleteLifecycleAction",
            Self::RecordLifecycleActionHeartbeat => "RecordLifecycleActionHeartbeat",
            Self::DescribeInstances => "DescribeInstances",
            Self::CreateTags => "CreateTags",
            Self::GetPublicKey => "GetPublicKey",
            Self::Sign => "Sign",
        }
    }

    /// The action of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    fn service(self) -> Service {
        match self {
            Self::DescribeInstances | Self::CreateTags => Service::Ec2,
            Self::GetPublicKey | Self::Sign => Service::Kms,
            Self::DescribeAutoScalingInstances
            | Self::DescribeAutoScalingGroups
            | Self::CreateOrUpdateTags
            | Self::DescribeLifecycleHooks
            | Self::CompleteLifecycleAction
            | Self::RecordLifecycleActionHeartbeat => Service::AutoScaling,
        }
    }
}

/// One call as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    /// As sent, known or not.
    pub action: String,
    /// The instance whose role signed the call.
    pub caller: InstanceId,
    /// As sent; of a message its length, as `MessageLength`.
    pub parameters: BTreeMap<String, String>,
}

/// The fake API. Clones share it; it ends with its last clone.
#[derive(Clone)]
pub struct Aws {
    state: Arc<State>,
    server: Arc<http::Server>,
}

struct State {
    cloud: Cloud,
    calls: Mutex<Vec<Call>>,
    complaints: Mutex<Vec<String>>,
    rules: Mutex<Vec<Rule>>,
    gathered: Mutex<Option<(BTreeSet<Action>, Arc<Rendezvous>)>>,
}

struct Rule {
    action: Action,
    only: Only,
    fault: Fault,
    often: Often,
}

impl Aws {
    /// Serves the APIs of `cloud` on `listener`.
    ///
    /// # Errors
    /// When the listener cannot be handed to the runtime.
    pub fn start(cloud: Cloud, listener: TcpListener) -> io::Result<Self> {
        Self::start_by(None, cloud, listener)
    }

    /// As [`Aws::start`], over TLS: for callers that know the services by their names.
    ///
    /// # Errors
    /// As [`Aws::start`].
    pub fn start_with_tls(tls: TlsAcceptor, cloud: Cloud, listener: TcpListener) -> io::Result<Self> {
        Self::start_by(Some(tls), cloud, listener)
    }

    fn start_by(tls: Option<TlsAcceptor>, cloud: Cloud, listener: TcpListener) -> io::Result<Self> {
        let state = Arc::new(State {
            cloud,
            calls: Mutex::default(),
            complaints: Mutex::default(),
            rules: Mutex::default(),
            gathered: Mutex::default(),
        });
        let for_calls = Arc::clone(&state);
        let server = http::serve_by(tls, listener, move |request| {
            let state = Arc::clone(&for_calls);
            async move { state.answer(&request).await }
        })?;
        Ok(Self { state, server: Arc::new(server) })
    }

    /// The URL of every service (`AWS_ENDPOINT_URL_EC2` and the like), without TLS.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Makes one action misbehave. Faults add up; of those that replace the answer the first wins.
    pub fn inject(&self, action: Action, fault: Fault, often: Often) {
        self.inject_only(action, Only::default(), fault, often);
    }

    /// Makes one action misbehave for one caller, with one key, or both. With [`Fault::Deny`] it is what a role lacks.
    pub fn inject_only(&self, action: Action, only: Only, fault: Fault, often: Often) {
        lock(&self.state.rules).push(Rule { action, only, fault, often });
    }

    /// Makes every action misbehave.
    pub fn inject_everywhere(&self, fault: &Fault, often: Often) {
        for action in Action::ALL {
            self.inject(action, fault.clone(), often);
        }
    }

    /// Answers none of these before all of them are called at the same time.
    pub fn gather(&self, actions: &[Action]) -> Arc<Rendezvous> {
        let rendezvous = Rendezvous::of(actions.len());
        *lock(&self.state.gathered) = Some((actions.iter().copied().collect(), Arc::clone(&rendezvous)));
        rendezvous
    }

    /// Takes back every fault.
    pub fn heal(&self) {
        lock(&self.state.rules).clear();
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).clone()
    }

    /// How often each action was called; one that never was is not there.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in lock(&self.state.calls).iter() {
            *counts.entry(call.action.clone()).or_default() += 1;
        }
        counts
    }

    /// How often this action was called.
    pub fn count(&self, action: Action) -> usize {
        self.counts().get(action.name()).copied().unwrap_or_default()
    }

    /// Forgets the calls so far, to count from here.
    pub fn forget_calls(&self) {
        lock(&self.state.calls).clear();
    }

    /// What the agent asked that it never should: unknown actions and parameters, calls without
    /// credentials, lists longer than AWS takes. Faults make none.
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.state.complaints).clone()
    }

    /// Takes back the complaints, where they are what a test is about.
    pub fn forgive(&self) {
        lock(&self.state.complaints).clear();
    }
}

impl State {
    async fn answer(&self, request: &Request) -> Answer {
        match self.try_answer(request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                if refusal.is_the_callers_mistake {
                    lock(&self.complaints).push(refusal.to_string());
                }
                refusal.render()
            }
        }
    }

    async fn try_answer(&self, request: &Request) -> Result<Answer, Refusal> {
        let signature = Signature::read(request)?;
        let mut form = Form::read(request, signature.service)?;
        let name = form.take("Action").unwrap_or_default();
        lock(&self.calls).push(Call {
            at: Instant::now(),
            action: name.clone(),
            caller: signature.caller.clone(),
            parameters: kms::recorded(form.fields.clone()),
        });
        let action = Action::named(&name)
            .filter(|action| action.service() == signature.service)
            .ok_or_else(|| signature.service.mistake("InvalidAction", format!("no action '{name}' here")))?;
        let gathered = lock(&self.gathered).clone().filter(|(actions, _)| actions.contains(&action));
        if let Some((_, rendezvous)) = gathered {
            rendezvous.attend().await;
        }
        let key = form.fields.get("KeyId").and_then(|name| self.cloud.now().find_key(name).ok().cloned());
        let asked = Asked { action, caller: signature.caller, key };
        let mut effect = Effect::of(self.faults(&asked));
        tokio::time::sleep(effect.delay).await;
        if let Some(instead) = effect.instead.take() {
            return instead_of_answer(&instead, &asked);
        }
        let body = self.perform(action, form, &effect)?;
        let whole = action.service().render_result(action, &body);
        let end = if effect.cut { whole.len() / 2 } else { whole.len() };
        Ok(action.service().reply(200, whole.get(..end).unwrap_or(&whole).to_owned()))
    }

    /// The faults that strike this one call.
    fn faults(&self, asked: &Asked) -> Vec<Fault> {
        let mut rules = lock(&self.rules);
        let struck = rules
            .iter_mut()
            .filter(|rule| rule.action == asked.action && rule.only.means(asked))
            .filter_map(|rule| rule.often.strikes().then(|| rule.fault.clone()))
            .collect();
        rules.retain(|rule| rule.often != Often::Times(0));
        struck
    }

    fn perform(&self, action: Action, mut form: Form, effect: &Effect) -> Result<String, Refusal> {
        let world = effect.view(&self.cloud);
        let body = match action {
            Action::DescribeAutoScalingInstances => describe_auto_scaling_instances(&world, &mut form, effect)?,
            Action::DescribeAutoScalingGroups => describe_auto_scaling_groups(&world, &mut form, effect)?,
            Action::CreateOrUpdateTags => create_or_update_tags(&self.cloud, &mut form)?,
            Action::DescribeLifecycleHooks => describe_lifecycle_hooks(&world, &mut form)?,
            Action::CompleteLifecycleAction => complete_lifecycle_action(&self.cloud, &mut form)?,
            Action::RecordLifecycleActionHeartbeat => record_lifecycle_action_heartbeat(&self.cloud, &mut form)?,
            Action::DescribeInstances => describe_instances(&world, &mut form, effect)?,
            Action::CreateTags => create_tags(&self.cloud, &mut form)?,
            Action::GetPublicKey => get_public_key(&world, &mut form)?,
            Action::Sign => sign(&world, &mut form)?,
        };
        form.finish()?;
        Ok(body)
    }
}
