//! Ways to misbehave, and what those that strike a call do to it together.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::wire::{Refusal, Service, xml};
use super::{Action, kms};
use crate::support::cloud::{Cloud, InstanceId, World};
use crate::support::http::Answer;
use crate::support::keys::{Key, KeyId};

/// A way to misbehave.
#[derive(Clone, Debug)]
pub enum Fault {
    /// `Throttling`, `RequestLimitExceeded` or `ThrottlingException`.
    Throttle,
    /// `AccessDenied`, `UnauthorizedOperation` or `AccessDeniedException`.
    Deny,
    /// HTTP 500 `InternalFailure` or `KMSInternalException`.
    Fail,
    /// HTTP 500 `ResourceContention`: "You already have a pending update to an Amazon EC2 Auto Scaling resource", the one
    /// error that the SDK knows of the calls on lifecycle hooks. For Auto Scaling only.
    Contend,
    /// HTTP 200 with what is neither XML of AWS nor JSON.
    Malform,
    /// The first half of the right answer. The SDK takes it for a shorter list and not for a fault, if it is XML.
    Cut,
    /// The connection is closed without an answer.
    Drop,
    /// The connection stays open without an answer.
    Hang,
    /// The answer comes, but later.
    Delay(Duration),
    /// Pages of at most so many entries, whatever was asked for.
    ShortPages(usize),
    /// Every page promises another one.
    EndlessPages,
    /// The answer is that of so long ago.
    Lag(Duration),
    /// The answer is that of this world, for ever.
    Frozen(World),
    /// These instances are left out.
    Without(BTreeSet<InstanceId>),
    /// A well-formed answer with nothing in it.
    Empty,
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Often {
    Always,
    Times(u32),
    /// With this probability, call by call.
    Chance(f64),
    /// Whenever a bucket is empty: each call takes a token out, and some come in each second.
    Beyond(Bucket),
}

/// A token bucket, as AWS limits its APIs with ("Throttle requests using a token bucket", EC2 developer guide).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    holds: f64,
    refill: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self) -> bool {
        let now = Instant::now();
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * self.refill).min(self.holds);
        self.at = now;
        let there = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(there));
        there
    }
}

impl Often {
    /// Beyond what a bucket gives that holds so many tokens, is full now, and gets so many a second.
    pub fn beyond(holds: f64, refill: f64) -> Self {
        Self::Beyond(Bucket { holds, refill, tokens: holds, at: Instant::now() })
    }

    /// Whether the fault strikes now; counts down.
    pub fn strikes(&mut self) -> bool {
        match self {
            Self::Always => true,
            Self::Times(0) => false,
            Self::Times(left) => {
                *left -= 1;
                true
            }
            Self::Chance(chance) => fastrand::f64() < *chance,
            Self::Beyond(bucket) => !bucket.take(),
        }
    }
}

/// The calls of an action that a fault strikes. None is any.
#[derive(Clone, Debug, Default)]
pub struct Only {
    pub caller: Option<InstanceId>,
    pub key: Option<KeyId>,
}

impl Only {
    /// The calls by one instance.
    pub fn by(caller: &str) -> Self {
        Self { caller: Some(caller.to_owned()), key: None }
    }

    /// The calls with one key, by whatever name.
    pub fn with(key: &str) -> Self {
        Self { caller: None, key: Some(key.to_owned()) }
    }

    pub fn means(&self, asked: &Asked) -> bool {
        self.caller.as_ref().is_none_or(|caller| *caller == asked.caller)
            && self.key.as_ref().is_none_or(|id| asked.key.as_ref().is_some_and(|key| key.id == *id))
    }
}

/// What a call asks for, as far as a fault has to know it.
pub struct Asked {
    pub action: Action,
    pub caller: InstanceId,
    /// None: the call names none, or none that is there.
    pub key: Option<Key>,
}

/// What the faults that strike a call do to it together.
#[derive(Default)]
pub struct Effect {
    pub delay: Duration,
    /// The fault that takes the answer's place.
    pub instead: Option<Fault>,
    pub page: Option<usize>,
    pub endless: bool,
    pub cut: bool,
    views: Vec<Fault>,
}

impl Effect {
    pub fn of(faults: Vec<Fault>) -> Self {
        let mut effect = Self::default();
        for fault in faults {
            match fault {
                Fault::Delay(delay) => effect.delay += delay,
                Fault::ShortPages(page) => effect.page = Some(page.max(1)),
                Fault::EndlessPages => effect.endless = true,
                Fault::Cut => effect.cut = true,
                Fault::Lag(_) | Fault::Frozen(_) | Fault::Without(_) | Fault::Empty => effect.views.push(fault),
                Fault::Throttle
                | Fault::Deny
                | Fault::Fail
                | Fault::Contend
                | Fault::Malform
                | Fault::Drop
                | Fault::Hang => {
                    effect.instead.get_or_insert(fault);
                }
            }
        }
        effect
    }

    /// The world as this call sees it.
    pub fn view(&self, cloud: &Cloud) -> World {
        let mut world = cloud.now();
        for fault in &self.views {
            match fault {
                Fault::Lag(lag) => world = cloud.back_then(*lag),
                Fault::Frozen(then) => world = then.clone(),
                Fault::Without(hidden) => world.instances.retain(|instance| !hidden.contains(&instance.id)),
                _ => world = World::default(),
            }
        }
        world
    }
}

pub fn instead_of_answer(fault: &Fault, asked: &Asked) -> Result<Answer, Refusal> {
    let (service, name) = (asked.action.service(), asked.action.name());
    let refuse = |status, code: &str, message: &str| Err(service.refusal(status, code, message));
    match (fault, service) {
        (Fault::Throttle, Service::AutoScaling) => refuse(400, "Throttling", "Rate exceeded"),
        (Fault::Throttle, Service::Ec2) => refuse(503, "RequestLimitExceeded", "Request limit exceeded."),
        (Fault::Deny, Service::AutoScaling) => {
            let message = format!("User is not authorized to perform: autoscaling:{name}");
            refuse(403, "AccessDenied", &message)
        }
        (Fault::Deny, Service::Ec2) => {
            let message = "You are not authorized to perform this operation.";
            refuse(403, "UnauthorizedOperation", message)
        }
        (Fault::Throttle, Service::Kms) => Err(kms::throttled()),
        (Fault::Deny, Service::Kms) => Err(kms::denied(asked)),
        (Fault::Fail, Service::Kms) => refuse(500, "KMSInternalException", "the fake fails as told"),
        (Fault::Contend, Service::AutoScaling) => refuse(500, "ResourceContention", "a pending update, as told"),
        (Fault::Malform, _) => Ok(xml(200, "<html><body>please log in".to_owned())),
        (Fault::Drop, _) => Ok(Answer::HangUp),
        (Fault::Hang, _) => Ok(Answer::Silence),
        _ => refuse(500, "InternalFailure", "the fake fails as told"),
    }
}
