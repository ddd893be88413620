//! The world as plain data: Auto Scaling groups, instances, keys, and what happens to them. It speaks no
//! protocol (see `aws` and `imds`) and runs nothing (see `node`): what happens to an instance here
//! does not touch its processes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use super::asg::{Notices, Scaling};
use super::keys::{Key, KeyId};
use super::lock;

pub const REGION: &str = "eu-test-1";
pub const ACCOUNT: &str = "123456789012";
/// Where instances are launched.
pub const VPC: &str = "vpc-0a1b2c3d";
const ZONES: [&str; 3] = ["eu-test-1a", "eu-test-1b", "eu-test-1c"];

/// `i-` and 17 hexadecimal digits.
pub type InstanceId = String;

/// One Auto Scaling group.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub arn: String,
    pub min: u32,
    pub max: u32,
    pub desired: u32,
    pub created: SystemTime,
    pub tags: BTreeMap<String, String>,
    /// Who finds an instance unhealthy.
    pub health_check: &'static str,
    /// The processes that are suspended.
    pub suspended: Vec<&'static str>,
    /// Of the maintenance policy; None without one.
    pub min_healthy_percentage: Option<u32>,
}

/// One instance as EC2 and its group know it.
#[derive(Clone, Debug)]
pub struct Instance {
    pub id: InstanceId,
    pub state: Ec2State,
    /// Its place in a group; None outside of any, and once a termination is complete.
    pub place: Option<Place>,
    /// The group that launched it, as its tag says for as long as EC2 knows it.
    pub launched_by: Option<String>,
    /// The other tags.
    pub tags: BTreeMap<String, String>,
    /// None once it is terminated.
    pub vpc: Option<String>,
    /// None once it is terminated.
    pub address: Option<Ipv4Addr>,
    pub zone: String,
    pub launched: SystemTime,
    /// Whether EC2 still knows it.
    pub known: bool,
}

impl Instance {
    /// The private DNS name, which goes with the address.
    pub fn dns_name(&self) -> Option<String> {
        let [a, b, c, d] = self.address?.octets();
        Some(format!("ip-{a}-{b}-{c}-{d}.{REGION}.compute.internal"))
    }
}

/// The place of an instance in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub group: String,
    /// An open set (`InService`, `Pending:Wait`, …), hence text.
    pub lifecycle: String,
    /// What the group wants it to become, as the metadata service tells it.
    pub target: String,
}

/// The states of EC2, with the numbers that it gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ec2State {
    Pending = 0,
    Running = 16,
    ShuttingDown = 32,
    Terminated = 48,
    Stopping = 64,
    Stopped = 80,
}

impl Ec2State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// Everything there is at one moment.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub groups: BTreeMap<String, Group>,
    /// In the order of their launch, which is not the order of their ids.
    pub instances: Vec<Instance>,
    /// How long the world has gone on. Only groups that act have a use for it.
    pub clock: Duration,
    /// The groups that act, by name.
    pub scaling: BTreeMap<String, Scaling>,
    /// What instances are told of their future.
    pub notices: BTreeMap<InstanceId, Notices>,
    /// The keys of KMS; see `keys`.
    pub keys: BTreeMap<KeyId, Key>,
    /// Which key an alias leads to, by its name with `alias/`.
    pub aliases: BTreeMap<String, KeyId>,
}

impl World {
    /// Creates an empty group that wants `desired` instances.
    pub fn create_group(&mut self, name: &str, desired: u32) {
        let uuid = uuid();
        let group = Group {
            name: name.to_owned(),
            arn: format!("arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:{uuid}:autoScalingGroupName/{name}"),
            min: 0,
            max: 100,
            desired,
            created: SystemTime::now(),
            tags: BTreeMap::new(),
            health_check: "EC2",
            suspended: Vec::new(),
            min_healthy_percentage: None,
        };
        self.groups.insert(name.to_owned(), group);
    }

    /// Launches a running, in-service instance, in a group or outside of any. An address may be
    /// given to a second instance once the first is gone.
    pub fn launch(&mut self, group: Option<&str>, address: Ipv4Addr) -> InstanceId {
        let id = format!("i-0{:016x}", fastrand::u64(..));
        self.instances.push(Instance {
            id: id.clone(),
            state: Ec2State::Running,
            place: group.map(|group| Place {
                group: group.to_owned(),
                lifecycle: "InService".to_owned(),
                target: "InService".to_owned(),
            }),
            launched_by: group.map(str::to_owned),
            tags: BTreeMap::new(),
            vpc: Some(VPC.to_owned()),
            address: Some(address),
            zone: ZONES[self.instances.len() % ZONES.len()].to_owned(),
            launched: SystemTime::now(),
            known: true,
        });
        id
    }

    /// `shutting-down` for EC2, `Terminating` for the group; the address is still there.
    pub fn begin_termination(&mut self, id: &str) {
        let instance = self.instance_mut(id);
        instance.state = Ec2State::ShuttingDown;
        if let Some(place) = &mut instance.place {
            "Terminating".clone_into(&mut place.lifecycle);
            "Terminated".clone_into(&mut place.target);
        }
    }

    /// `terminated` for EC2, which then has no address and no VPC for it, and gone from the group.
    pub fn terminate(&mut self, id: &str) {
        self.terminate_keeping_address(id);
        let instance = self.instance_mut(id);
        (instance.address, instance.vpc) = (None, None);
    }

    /// As [`World::terminate`], in the moment when EC2 still tells the address.
    pub fn terminate_keeping_address(&mut self, id: &str) {
        let instance = self.instance_mut(id);
        instance.state = Ec2State::Terminated;
        instance.place = None;
    }

    /// EC2 knows the instance no more, as about an hour after its termination.
    pub fn forget(&mut self, id: &str) {
        self.instance_mut(id).known = false;
    }

    /// `stopped` for EC2; the group says nothing of it.
    pub fn stop(&mut self, id: &str) {
        self.instance_mut(id).state = Ec2State::Stopped;
    }

    /// Sets what the group says of the instance.
    pub fn set_lifecycle(&mut self, id: &str, lifecycle: &str) {
        let place = self.instance_mut(id).place.as_mut();
        place.expect("only an instance of a group has a lifecycle").lifecycle = lifecycle.to_owned();
    }

    /// Sets how many instances the group wants. Nothing is launched by itself, unless the group acts.
    pub fn set_desired(&mut self, group: &str, desired: u32) {
        self.groups.get_mut(group).expect("the group was created").desired = desired;
    }

    /// The instance, known to EC2 or not.
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.id == id)
    }

    /// The instance, to change any of its fields.
    ///
    /// # Panics
    /// When it was never launched: a mistake in the test.
    pub fn instance_mut(&mut self, id: &str) -> &mut Instance {
        self.instances.iter_mut().find(|instance| instance.id == id).expect("the instance was launched")
    }
}

/// A random UUID (RFC 9562, version 4).
pub fn uuid() -> String {
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        fastrand::u32(..),
        fastrand::u16(..),
        fastrand::u16(..0x1000),
        fastrand::u16(..0x1000),
        fastrand::u64(..1 << 48),
    )
}

/// The world shared by the fakes and the test, with its past, so that answers can lag behind.
#[derive(Clone, Default)]
pub struct Cloud(Arc<Mutex<History>>);

#[derive(Default)]
struct History {
    now: World,
    /// Each state with the moment at which it was replaced, the oldest first.
    past: Vec<(Instant, World)>,
}

impl Cloud {
    /// Changes the world.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut history = self.lock();
        let before = history.now.clone();
        history.past.push((Instant::now(), before));
        change(&mut history.now)
    }

    /// A copy of the world as it is.
    pub fn now(&self) -> World {
        self.lock().now.clone()
    }

    /// A copy of the world as it was `ago`.
    pub fn back_then(&self, ago: Duration) -> World {
        let Some(then) = Instant::now().checked_sub(ago) else {
            return World::default();
        };
        let history = self.lock();
        let replaced_later = history.past.iter().find(|(replaced, _)| *replaced > then);
        replaced_later.map_or_else(|| history.now.clone(), |(_, world)| world.clone())
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        lock(&self.0)
    }
}
