//! Worlds to begin with: a fresh group, and those in the middle of its life.

use super::etcd::{Cluster, Row};
use super::spell;
use super::world::{Address, Disk, Founders, Left, Life, Log, Machine, Node, Record, Tags, World};

impl World {
    /// A fresh group, whose nodes have begun their records.
    pub fn fresh(nodes: u8, left: Left) -> Self {
        let mut machines: Vec<Machine> = (0..nodes).map(|n| Machine::new(n, false)).collect();
        machines.iter_mut().for_each(Machine::begin_record);
        Self {
            nodes: machines,
            desired: usize::from(nodes),
            tags: Tags::default(),
            aged: false,
            detached: false,
            plain: false,
            group_before: None,
            tags_before: None,
            cut: Vec::new(),
            clusters: Vec::new(),
            left,
            broken: None,
        }
    }

    /// All founders have agreed and the tag is written; none of them has started.
    pub fn tagged(nodes: u8, left: Left) -> Self {
        let mut world = Self::fresh(nodes, left);
        let founders = world.founders(nodes);
        for machine in &mut world.nodes {
            machine.record = Some(Record { nonce: 1, agreed: Some(founders.clone()) });
        }
        world.tags.founding = Some(founders);
        world
    }

    /// The same by a majority: the last founder was silent.
    pub fn majority(nodes: u8, left: Left) -> Self {
        let mut world = Self::tagged(nodes, left);
        let last = world.nodes.last_mut().expect("it has nodes");
        *last = Machine::new(last.address, false);
        let mut founders = world.tags.founding.take().expect("it is tagged");
        founders.last_mut().expect("it has nodes").2 = None;
        for record in world.nodes.iter_mut().filter_map(|machine| machine.record.as_mut()) {
            record.agreed = Some(founders.clone());
        }
        world.tags.founding = Some(founders);
        world
    }

    /// What the last instance needs never runs on it.
    pub fn with_a_mute_one(mut self) -> Self {
        self.nodes.last_mut().expect("it has nodes").mute = true;
        self
    }

    /// A cluster of the first instance alone, which was wiped and has founded again with all the others. Its old disk is
    /// still there.
    pub fn founded_again(nodes: u8, left: Left) -> Self {
        let old = Self::formed(1, nodes, false, Left::default());
        let mut world = Self::fresh(nodes, left);
        world.nodes[0].begin_record();
        let mut founders = world.founders(nodes);
        founders[0].2 = Some(2);
        world.form(founders, true);
        world.clusters.insert(0, old.clusters[0].clone());
        world.nodes.iter_mut().filter_map(Machine::log_mut).for_each(|log| log.cluster = 1);
        let machine = &old.nodes[0];
        world.nodes[0].saved = machine.log().map(|log| (log.clone(), machine.record.clone()));
        world
    }

    /// A cluster that has just had its first leader: the last founder is not published, and the cluster's tag is not
    /// written yet.
    pub fn led(members: u8, nodes: u8, left: Left) -> Self {
        let mut world = Self::formed(members, nodes, true, left);
        world.clusters[0].list.last_mut().expect("it has members").published = false;
        world.tags.cluster = None;
        world
    }

    /// The same world where no Auto Scaling group launches the instances: a founding is not tagged there.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self.tags.founding = None;
        self
    }

    /// A formed cluster of the first `members` instances of a group of `nodes`, with both tags or none.
    pub fn formed(members: u8, nodes: u8, tag: bool, left: Left) -> Self {
        let mut world = Self::fresh(nodes, left);
        let founders = world.founders(members);
        world.form(founders, tag);
        world
    }

    fn form(&mut self, founders: Founders, tag: bool) {
        let id = spell::id_of(&founders);
        let row = |(n, address, _): &(Node, Address, _)| Row {
            id: *address,
            address: *address,
            name: Some(*n),
            published: true,
            learner: false,
            ran: true,
        };
        let list: Vec<Row> = founders.iter().map(row).collect();
        let founding_list = list.iter().map(|row| Row { published: false, ran: false, ..row.clone() }).collect();
        let begun = founders.iter().filter_map(|(n, _, nonce)| Some((*n, (*nonce)?))).collect();
        for (n, address, nonce) in &founders {
            let machine = self.machine_mut(*n);
            machine.disk = Disk::Log(Log { cluster: 0, member: *address, led: true, fresh: true, stale: None });
            machine.record = nonce.map(|nonce| Record { nonce, agreed: Some(founders.clone()) });
            machine.etcd_runs = true;
        }
        self.clusters.push(Cluster { id, founding_list, begun, formed: true, list });
        self.tags.cluster = tag.then_some(id);
        self.tags.founding = tag.then_some(founders);
    }

    /// Two of three founders are terminated and replaced, and the last one has just booted with the data.
    pub fn two_replaced_beside_the_last() -> Self {
        let mut world = Self::led(3, 3, Left::default());
        for founder in &mut world.nodes[..2] {
            *founder = Machine { life: Life::Terminated, ..Machine::new(founder.address, false) };
        }
        world.nodes[2].boots();
        for address in 3..5 {
            let mut machine = Machine::new(address, false);
            machine.begin_record();
            world.nodes.push(machine);
        }
        world
    }

    /// The first of five members is cut off from all but the second.
    pub fn one_cut_off(left: Left) -> Self {
        let mut world = Self::formed(5, 5, true, left);
        world.cut = (2..5).map(|n| (n, 0)).collect();
        world
    }

    /// AWS's replies still lack the second founder at times.
    pub fn one_that_replies_lack(left: Left) -> Self {
        let mut world = Self::led(2, 2, left);
        let mut before = world.group();
        before.instances.pop();
        before.desired = 1;
        world.group_before = Some(before);
        world
    }

    /// The first instances with their first disks.
    fn founders(&self, members: u8) -> Founders {
        (0..members).map(|n| (n, self.machine(n).address, Some(1))).collect()
    }
}
