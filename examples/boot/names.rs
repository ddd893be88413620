//! The VPC's DNS server: the names of AWS's endpoints and of every instance, and what such a server may do to those
//! who ask. It knows nothing of machines; `lab` starts it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{io, net};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};
use tokio::net::UdpSocket;

use crate::lab::{self, OWN};
use crate::support::cloud::REGION;
use crate::support::lock;

/// The names of the services' endpoints (AWS General Reference, "Amazon EC2 endpoints and quotas", "Amazon EC2 Auto
/// Scaling endpoints and quotas" and "AWS Key Management Service endpoints and quotas").
pub fn endpoints() -> [String; 3] {
    ["autoscaling", "ec2", "kms"].map(|service| format!("{service}.{REGION}.amazonaws.com"))
}

/// What follows the names of moto's endpoints, and of its load balancers and buckets: it is in another region.
const MOTO: &str = "eu-west-1.amazonaws.com";

/// The names that moto's certificate has to be for.
pub fn moto() -> [String; 2] {
    [format!("*.{MOTO}"), format!("*.s3.{MOTO}")]
}

/// Where IPv6 addresses lead that lead nowhere: those that the VPC's DNS64 makes up, in a subnet without a NAT gateway
/// (Amazon VPC User Guide, "DNS64 and NAT64"). Every name has one then, and it goes before the IPv4 address.
pub const NOWHERE: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Every answer takes so long.
    Slow(Duration),
    /// The first questions of a machine for a name are answered with NXDOMAIN.
    AbsentAtFirst,
    /// Every name has an IPv6 address too, in [`NOWHERE`], and it is told first.
    Ipv6First,
}

/// So many questions of a machine, for one name and one type, hear that there is no such name.
const ABSENT: u32 = 2;
/// How long after the IPv6 address the other one comes. Whoever takes what comes first takes the wrong one.
const SECOND: Duration = Duration::from_millis(100);

/// Clones share it.
#[derive(Clone, Default)]
pub struct Resolver(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    trouble: Option<Trouble>,
    /// By machine, name and type, since the trouble began.
    asked: BTreeMap<(IpAddr, String, u16), u32>,
    struck: usize,
    /// Records of the VPC's own zone.
    records: BTreeMap<String, Vec<Ipv4Addr>>,
}

/// What a question is answered with.
enum Reply {
    NoSuchName,
    /// Empty: the name has no address of that kind.
    Addresses(Vec<IpAddr>),
}

impl Resolver {
    /// Answers on this socket for as long as the runtime lives.
    ///
    /// # Errors
    /// When the socket cannot be handed to the runtime.
    pub fn start(socket: net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let resolver = Self::default();
        let own = resolver.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                    tokio::spawn(own.clone().answer(Arc::clone(&socket), buffer[..length].to_vec(), from));
                }
            }
        });
        Ok(resolver)
    }

    /// Begins this trouble, and ends any other; None is fair weather.
    pub fn misbehave(&self, trouble: Option<Trouble>) {
        let mut state = lock(&self.0);
        *state = State { trouble, records: std::mem::take(&mut state.records), ..State::default() };
    }

    /// Gives a name these addresses.
    pub fn record(&self, name: &str, addresses: Vec<Ipv4Addr>) {
        lock(&self.0).records.insert(name.to_owned(), addresses);
    }

    /// How many answers the present trouble has spoilt.
    pub fn struck(&self) -> usize {
        lock(&self.0).struck
    }

    async fn answer(self, socket: Arc<UdpSocket>, query: Vec<u8>, from: SocketAddr) {
        let Ok(query) = Packet::parse(&query) else { return };
        let Some(question) = query.questions.first() else { return };
        let (delay, reply) = lock(&self.0).reply(from.ip(), question);
        let Ok(reply) = render(&query, question, &reply) else { return };
        tokio::time::sleep(delay).await;
        // Who does not wait for it asks again.
        let _ = socket.send_to(&reply, from).await;
    }
}

impl State {
    /// What to say, and after how long.
    fn reply(&mut self, from: IpAddr, question: &Question<'_>) -> (Duration, Reply) {
        let name = question.qname.to_string().to_ascii_lowercase();
        let Some(addresses) = self.addresses_of(&name) else { return (Duration::ZERO, Reply::NoSuchName) };
        let of_kind: Vec<IpAddr> = match question.qtype {
            QTYPE::TYPE(TYPE::A) => addresses.into_iter().map(IpAddr::from).collect(),
            QTYPE::TYPE(TYPE::AAAA) if self.trouble == Some(Trouble::Ipv6First) => {
                addresses.into_iter().map(|address| made_up(address).into()).collect()
            }
            _ => Vec::new(),
        };
        let asked = self.asked.entry((from, name, question.qtype.into())).or_default();
        *asked += 1;
        let spoilt = match self.trouble {
            None => return (Duration::ZERO, Reply::Addresses(of_kind)),
            Some(Trouble::Slow(delay)) => (delay, Reply::Addresses(of_kind)),
            Some(Trouble::AbsentAtFirst) if *asked <= ABSENT => (Duration::ZERO, Reply::NoSuchName),
            Some(Trouble::AbsentAtFirst) => return (Duration::ZERO, Reply::Addresses(of_kind)),
            Some(Trouble::Ipv6First) if of_kind.iter().any(IpAddr::is_ipv4) => (SECOND, Reply::Addresses(of_kind)),
            Some(Trouble::Ipv6First) => (Duration::ZERO, Reply::Addresses(of_kind)),
        };
        self.struck += 1;
        spoilt
    }

    /// Those of a name. A private DNS name holds the instance's own, and goes on doing so when that is terminated.
    fn addresses_of(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        if let Some(addresses) = self.records.get(name) {
            return Some(addresses.clone());
        }
        if endpoints().iter().any(|endpoint| endpoint == name) {
            return Some(vec![OWN]);
        }
        if name.ends_with(&format!(".{MOTO}")) {
            return Some(vec![lab::MOTO]);
        }
        let host = name.strip_suffix(&format!(".{REGION}.compute.internal"))?;
        host.strip_prefix("ip-")?.replace('-', ".").parse().ok().map(|address| vec![address])
    }
}

/// The IPv6 address that DNS64 makes of an IPv4 address (RFC 6052, section 2.2).
fn made_up(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(NOWHERE) | u128::from(u32::from(address)))
}

fn render(query: &Packet<'_>, question: &Question<'_>, reply: &Reply) -> simple_dns::Result<Vec<u8>> {
    const TTL: u32 = 60;
    let mut packet = Packet::new_reply(query.id());
    // Go takes an empty answer without the latter for that of a server that does not know.
    packet.set_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    packet.questions.push(question.clone());
    let addresses = match reply {
        Reply::NoSuchName => {
            *packet.rcode_mut() = RCODE::NameError;
            &[][..]
        }
        Reply::Addresses(addresses) => addresses,
    };
    packet.answers.extend(addresses.iter().map(|address| {
        let data = match address {
            IpAddr::V4(address) => RData::A((*address).into()),
            IpAddr::V6(address) => RData::AAAA((*address).into()),
        };
        ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data)
    }));
    packet.build_bytes_vec()
}
