//! A cloud with its machines, on a block of addresses and in a directory of its own: what a test or
//! the sandbox starts with. Several rigs may run at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use super::asg::Scaling;
use super::aws::Aws;
use super::cloud::{Cloud, InstanceId};
use super::etcd::Judge;
use super::ground::{Block, Directory, Silence};
use super::imds::Imds;
use super::keys::KeyId;
use super::lock;
use super::network::{self, Network};
use super::node::{Node, Programs, Setup};
use super::tls;

/// A fake cloud and what is needed to run its instances. Nodes must not outlive their rig; those
/// declared after it do not.
pub struct Rig {
    pub cloud: Cloud,
    pub aws: Aws,
    pub judge: Judge,
    /// How nodes launched from now on are set up.
    pub setup: Setup,
    pub programs: Programs,
    pub directory: Directory,
    /// None on the loopback.
    pub network: Option<Network>,
    block: Block,
    next_host: AtomicU8,
    /// The instances that have a machine.
    machines: Mutex<BTreeSet<InstanceId>>,
    /// The addresses of terminated instances, until another one gets them.
    gone: Mutex<BTreeMap<Ipv4Addr, Silence>>,
}

impl Rig {
    /// Starts an empty cloud.
    ///
    /// # Errors
    /// When no addresses or no directory can be had.
    pub fn start(programs: Programs) -> io::Result<Self> {
        Self::start_on(programs, Block::claim()?, None)
    }

    /// As [`Rig::start`], in a network of its own, where hosts can be cut off from each other.
    ///
    /// # Errors
    /// As [`Rig::start`], and where this process may not make a network.
    pub fn start_with_network(programs: Programs) -> io::Result<Self> {
        let network = Network::enter()?;
        Self::start_on(programs, Block::claim_this(network::BLOCK)?, Some(network))
    }

    fn start_on(programs: Programs, ground: (Block, TcpListener), network: Option<Network>) -> io::Result<Self> {
        let (block, listener) = ground;
        let cloud = Cloud::default();
        Ok(Self {
            aws: Aws::start(cloud.clone(), listener)?,
            cloud,
            judge: Judge::new(),
            setup: Setup::default(),
            programs,
            directory: Directory::new()?,
            network,
            block,
            // The first addresses are the cloud's own.
            next_host: AtomicU8::new(10),
            machines: Mutex::default(),
            gone: Mutex::default(),
        })
    }

    /// Makes two keys of KMS: who is launched from now on has its certificate signed by them, and speaks https on both
    /// ports. The judge has one of a member's.
    ///
    /// # Panics
    /// When no certificate can be made.
    pub fn certify(&mut self) {
        let keys = tls::KEYS.map(|alias| self.cloud.change(|world| world.create_key(alias)));
        self.setup.schemes = ("https", "https");
        let authorities = ["member", "client"].into_iter().zip(tls::KEYS);
        let options = authorities.map(|(whose, alias)| format!("--{whose}-authority={alias}"));
        self.setup.agent_arguments.extend(options);
        self.judge = self.judge_of(&keys[..1]);
    }

    /// A judge that is a member by the first of these keys, and trusts all of them.
    ///
    /// # Panics
    /// When no certificate can be made.
    pub fn judge_of(&self, keys: &[KeyId]) -> Judge {
        let world = self.cloud.now();
        let keys: Vec<_> = keys.iter().map(|key| &world.keys[key]).collect();
        // Every connection on loopback comes from its first address.
        tls::judge_of(&keys, Ipv4Addr::LOCALHOST)
    }

    /// Creates a group that wants `desired` instances.
    pub fn group(&self, name: &str, desired: u32) {
        self.cloud.change(|world| world.create_group(name, desired));
    }

    /// Creates a group that acts by itself whenever the world's clock is moved, with fresh addresses for so many launches.
    pub fn acting_group(&self, name: &str, desired: u32, launches: usize, mut scaling: Scaling) {
        scaling.addresses = (0..launches).map(|_| self.fresh_address()).collect();
        self.cloud.change(|world| {
            world.create_group(name, desired);
            world.act(name, scaling);
        });
    }

    /// Machines, all off, for the instances that groups have launched since the last time.
    ///
    /// # Errors
    /// As [`Rig::launch`].
    pub fn arrivals(&self) -> io::Result<Vec<Node>> {
        self.arrivals_with(&self.programs)
    }

    /// The same with programs of their own: a new image has newer ones.
    ///
    /// # Errors
    /// As [`Rig::launch`].
    pub fn arrivals_with(&self, programs: &Programs) -> io::Result<Vec<Node>> {
        let world = self.cloud.now();
        let instances = world.instances.into_iter().filter(|one| !lock(&self.machines).contains(&one.id));
        let new: Vec<_> = instances.filter_map(|one| Some((one.id, one.address?))).collect();
        new.into_iter().map(|instance| self.machine(programs, instance)).collect()
    }

    /// Where AWS answers, and where the calls of the test come from.
    pub fn cloud_address(&self) -> Ipv4Addr {
        self.block.address(1)
    }

    /// An address that no instance of this rig had.
    pub fn fresh_address(&self) -> Ipv4Addr {
        self.block.address(self.next_host.fetch_add(1, Ordering::Relaxed))
    }

    /// Launches an instance, in a group or outside of any. Its machine is off.
    ///
    /// # Errors
    /// When its metadata service or its directories cannot be made.
    pub fn launch(&self, group: Option<&str>) -> io::Result<Node> {
        self.launch_at(group, self.fresh_address())
    }

    /// Launches several instances into a group at once.
    ///
    /// # Errors
    /// As [`Rig::launch`].
    pub fn launch_many(&self, group: &str, count: usize) -> io::Result<Vec<Node>> {
        // In one change: no answer of the cloud shows some of them.
        let addresses: Vec<_> = (0..count).map(|_| self.fresh_address()).collect();
        let launched: Vec<_> = self.cloud.change(|world| {
            let launch = |&address| (world.launch(Some(group), address), address);
            addresses.iter().map(launch).collect()
        });
        launched.into_iter().map(|instance| self.machine(&self.programs, instance)).collect()
    }

    /// Launches an instance on a given address, that of a terminated one for example.
    ///
    /// # Errors
    /// As [`Rig::launch`], also when the address is still in use.
    pub fn launch_at(&self, group: Option<&str>, address: Ipv4Addr) -> io::Result<Node> {
        let instance = self.cloud.change(|world| world.launch(group, address));
        self.machine(&self.programs, (instance, address))
    }

    fn machine(&self, programs: &Programs, (instance, address): (InstanceId, Ipv4Addr)) -> io::Result<Node> {
        lock(&self.gone).remove(&address);
        lock(&self.machines).insert(instance.clone());
        let host = self.network.as_ref().map(|network| network.host(address)).transpose()?;
        let imds = Imds::start(self.cloud.clone(), &instance, address, host.map(Arc::new))?;
        let dir = self.directory.path();
        Node::new(programs, &self.setup, (instance, address), imds, &self.aws.url(), dir)
    }

    /// Terminates the instance: its power goes, its metadata service goes, and the cloud says so.
    /// What it had on its disk stays to be looked at. What is sent to its address is lost, as on AWS.
    ///
    /// # Panics
    /// When its ports are somebody else's.
    pub async fn terminate(&self, node: &Node) {
        node.cut_power().await;
        self.unplug(node).await;
        self.cloud.change(|world| world.terminate(&node.instance));
    }

    /// What is sent to a machine that is off is lost from now on.
    ///
    /// # Panics
    /// When its ports are somebody else's.
    pub async fn unplug(&self, node: &Node) {
        node.imds.unplug().await;
        let silence = match &node.imds.host {
            Some(host) => host.unplug().map(|()| None),
            None => Silence::at(node.address, &[2379, 2380]).map(Some),
        };
        let silence = silence.unwrap_or_else(|why| panic!("silence {}: {why}", node.address));
        lock(&self.gone).extend(silence.map(|silence| (node.address, silence)));
    }
}

impl Drop for Rig {
    /// A call that AWS would have refused fails the test, though the agent may have coped with it.
    fn drop(&mut self) {
        let complaints = self.aws.complaints();
        if !std::thread::panicking() {
            assert!(complaints.is_empty(), "calls that AWS would refuse: {complaints:#?}");
        }
    }
}

/// The addresses of these nodes.
pub fn addresses<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<Ipv4Addr> {
    nodes.into_iter().map(|node| node.address).collect()
}

/// The environment of a node of a new cluster, as a person would write it who knows all addresses.
pub fn environment_by_hand(node: &Node, founders: &[Node]) -> String {
    let urls: Vec<_> =
        founders.iter().map(|founder| format!("{}=http://{}:2380", founder.instance, founder.address)).collect();
    let Node { instance, address, .. } = node;
    format!(
        "ETCD_ADVERTISE_CLIENT_URLS=http://{address}:2379\n\
         ETCD_INITIAL_ADVERTISE_PEER_URLS=http://{address}:2380\n\
         ETCD_INITIAL_CLUSTER={}\n\
         ETCD_INITIAL_CLUSTER_STATE=new\n\
         ETCD_INITIAL_CLUSTER_TOKEN=by-hand\n\
         ETCD_LISTEN_CLIENT_URLS=http://{address}:2379\n\
         ETCD_LISTEN_PEER_URLS=http://{address}:2380\n\
         ETCD_NAME={instance}\n",
        urls.join(",")
    )
}
