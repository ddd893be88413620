//! A cloud with its machines, on a block of addresses and in a directory of its own: what a test or
//! the sandbox starts with. Several rigs may run at once.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::aws::Aws;
use super::cloud::{Cloud, InstanceId};
use super::etcd::Judge;
use super::ground::{Block, Directory};
use super::imds::Imds;
use super::network::{self, Network};
use super::node::{Node, Programs, Setup};

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
        })
    }

    /// Creates a group that wants `desired` instances.
    pub fn group(&self, name: &str, desired: u32) {
        self.cloud.change(|world| world.create_group(name, desired));
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
        launched.into_iter().map(|instance| self.machine(instance)).collect()
    }

    /// Launches an instance on a given address, that of a terminated one for example.
    ///
    /// # Errors
    /// As [`Rig::launch`], also when the address is still in use.
    pub fn launch_at(&self, group: Option<&str>, address: Ipv4Addr) -> io::Result<Node> {
        let instance = self.cloud.change(|world| world.launch(group, address));
        self.machine((instance, address))
    }

    fn machine(&self, (instance, address): (InstanceId, Ipv4Addr)) -> io::Result<Node> {
        let host = self.network.as_ref().map(|network| network.host(address)).transpose()?;
        let imds = Imds::start(self.cloud.clone(), &instance, address, host.map(Arc::new))?;
        let of_this_rig = (&self.programs, &self.setup);
        let dir = self.directory.path();
        Node::new(of_this_rig.0, of_this_rig.1, (instance, address), imds, &self.aws.url(), dir)
    }

    /// Terminates the instance: its power goes, its metadata service goes, and the cloud says so.
    /// What it had on its disk stays to be looked at.
    pub async fn terminate(&self, node: &Node) {
        node.cut_power().await;
        node.imds.unplug().await;
        self.cloud.change(|world| world.terminate(&node.instance));
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
