//! Ways to misbehave, and what those that strike a call do to it together.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Action;
use super::wire::{Refusal, Service, xml};
use crate::support::cloud::{Cloud, InstanceId, World};
use crate::support::http::Answer;

/// A way to misbehave.
#[derive(Clone, Debug)]
pub enum Fault {
    /// `Throttling` or `RequestLimitExceeded`.
    Throttle,
    /// `AccessDenied` or `UnauthorizedOperation`.
    Deny,
    /// HTTP 500 `InternalFailure`.
    Fail,
    /// HTTP 500 `ResourceContention`: "You already have a pending update to an Amazon EC2 Auto Scaling resource", the one
    /// error that the SDK knows of the calls on lifecycle hooks. For Auto Scaling only.
    Contend,
    /// HTTP 200 with what is no XML of AWS.
    Malform,
    /// The first half of the right answer. The SDK takes it for a shorter list and not for a fault.
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
}

impl Often {
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
        }
    }
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

pub fn instead_of_answer(fault: &Fault, action: Action) -> Result<Answer, Refusal> {
    let (service, name) = (action.service(), action.name());
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
        (Fault::Contend, Service::AutoScaling) => refuse(500, "ResourceContention", "a pending update, as told"),
        (Fault::Malform, _) => Ok(xml(200, "<html><body>please log in".to_owned())),
        (Fault::Drop, _) => Ok(Answer::HangUp),
        (Fault::Hang, _) => Ok(Answer::Silence),
        _ => refuse(500, "InternalFailure", "the fake fails as told"),
    }
}
