//! The instance metadata service, version 2, for one instance: a listener of its own on the
//! instance's own address. It tells what the `cloud` says of the instance at that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::asg::Notices;
use super::aws::access_key_of;
use super::cloud::{ACCOUNT, Cloud, Instance, InstanceId, REGION};
use super::http::{self, Answer, Rendezvous, Request};
use super::lock;
use super::network::Host;

/// The port that AWS's own amazon-ec2-metadata-mock uses.
pub const PORT: u16 = 1338;
pub const IDENTITY: &str = "/latest/dynamic/instance-identity/document";
pub const TARGET_STATE: &str = "/latest/meta-data/autoscaling/target-lifecycle-state";
pub const SPOT: &str = "/latest/meta-data/spot/instance-action";
pub const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";
pub const MAINTENANCE: &str = "/latest/meta-data/events/maintenance/scheduled";
pub const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";
const TOKEN: &str = "/latest/api/token";
const ROLE: &str = "etcd-node";
const MAC: &str = "02:00:00:00:00:01";

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A responder of the old kind: it knows no PUT, and answers GET without a token.
    V1Only,
    /// 403 on everything, as when the instance's metadata is switched off.
    Disabled,
    /// The token never arrives, as in a container behind one hop too many: the connection stands,
    /// its answer dies on the way. A GET is answered, with 401.
    HopLimit,
    /// Nothing is ever answered.
    Hang,
    /// So many answers are HTTP 500.
    Fail(u32),
}

/// One request and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub method: String,
    pub path: String,
    /// None: left without an answer.
    pub status: Option<u16>,
}

/// The metadata service of one instance; ends when dropped.
pub struct Imds {
    state: Arc<State>,
    address: Ipv4Addr,
    /// Where the instance is; None on the loopback.
    pub host: Option<Arc<Host>>,
    server: Mutex<Option<http::Server>>,
}

struct State {
    cloud: Cloud,
    instance: InstanceId,
    block: String,
    faults: Mutex<Vec<Fault>>,
    gathered: Mutex<Option<(BTreeSet<String>, Arc<Rendezvous>)>>,
    overrides: Mutex<BTreeMap<String, (u16, String)>>,
    tokens: Mutex<BTreeMap<String, Instant>>,
    exchanges: Mutex<Vec<Exchange>>,
}

impl Imds {
    /// Starts the service of `instance` on `address`; `host` is where that is, None on the loopback.
    ///
    /// # Errors
    /// When the address is not free.
    pub fn start(cloud: Cloud, instance: &str, address: Ipv4Addr, host: Option<Arc<Host>>) -> io::Result<Self> {
        let [a, b, c, _] = address.octets();
        let imds = Self {
            state: Arc::new(State {
                cloud,
                instance: instance.to_owned(),
                block: format!("{a}.{b}.{c}.0/24"),
                faults: Mutex::default(),
                gathered: Mutex::default(),
                overrides: Mutex::default(),
                tokens: Mutex::default(),
                exchanges: Mutex::default(),
            }),
            address,
            host,
            server: Mutex::default(),
        };
        imds.plug()?;
        Ok(imds)
    }

    /// The value for `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}:{PORT}", self.address)
    }

    /// Closes the listener: connections are refused from here on.
    pub async fn unplug(&self) {
        let server = lock(&self.server).take();
        if let Some(server) = server {
            server.close().await;
        }
    }

    /// Opens the listener again.
    ///
    /// # Errors
    /// When the address is not free.
    pub fn plug(&self) -> io::Result<()> {
        let bind = || bind_again((self.address, PORT));
        let listener = self.host.as_ref().map_or_else(bind, |host| host.enter(bind))?;
        let state = Arc::clone(&self.state);
        let server = http::serve(listener, move |request| {
            let state = Arc::clone(&state);
            async move { state.answer(request).await }
        })?;
        *lock(&self.server) = Some(server);
        Ok(())
    }

    /// Makes the service misbehave; faults add up.
    pub fn inject(&self, fault: Fault) {
        lock(&self.state.faults).push(fault);
    }

    /// Answers this path so, whatever the cloud says: for a 404, half a JSON document, a weird state.
    pub fn answer(&self, path: &str, status: u16, body: &str) {
        lock(&self.state.overrides).insert(path.to_owned(), (status, body.to_owned()));
    }

    /// Answers none of these paths before all of them are asked for at the same time.
    pub fn gather(&self, paths: &[&str]) -> Arc<Rendezvous> {
        let rendezvous = Rendezvous::of(paths.len());
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        *lock(&self.state.gathered) = Some((paths, Arc::clone(&rendezvous)));
        rendezvous
    }

    /// Takes back every fault and every fixed answer.
    pub fn heal(&self) {
        lock(&self.state.faults).clear();
        lock(&self.state.overrides).clear();
    }

    /// Every request so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.state.exchanges).clone()
    }
}

impl State {
    async fn answer(&self, request: Request) -> Answer {
        let gathered = lock(&self.gathered).clone().filter(|(paths, _)| paths.contains(&request.path));
        if let Some((_, rendezvous)) = gathered {
            rendezvous.attend().await;
        }
        let faults = lock(&self.faults).clone();
        let answer = self.misbehave(&request, &faults).unwrap_or_else(|| self.behave(&request, &faults));
        let status = match &answer {
            Answer::Reply { status, .. } => Some(*status),
            Answer::HangUp | Answer::Silence => None,
        };
        lock(&self.exchanges).push(Exchange { method: request.method, path: request.path, status });
        answer
    }

    fn misbehave(&self, request: &Request, faults: &[Fault]) -> Option<Answer> {
        let is_put = request.method == "PUT";
        let strike = |fault: &Fault| match fault {
            Fault::Disabled => Some(Answer::text(403, "")),
            Fault::V1Only if is_put => Some(Answer::text(405, "Method Not Allowed")),
            Fault::HopLimit if is_put => Some(Answer::Silence),
            Fault::Hang => Some(Answer::Silence),
            Fault::Fail(_) if self.take_failure() => Some(Answer::text(500, "")),
            _ => None,
        };
        faults.iter().find_map(strike)
    }

    fn take_failure(&self) -> bool {
        let mut faults = lock(&self.faults);
        let left = faults.iter_mut().find_map(|fault| match fault {
            Fault::Fail(left) if *left > 0 => Some(left),
            _ => None,
        });
        left.map(|left| *left -= 1).is_some()
    }

    fn behave(&self, request: &Request, faults: &[Fault]) -> Answer {
        match request.method.as_str() {
            "PUT" if request.path == TOKEN => self.issue_token(request),
            "GET" if faults.contains(&Fault::V1Only) || self.is_token_valid(request) => self.tell(&request.path),
            "GET" => Answer::text(401, "Unauthorized"),
            _ => Answer::text(405, "Method Not Allowed"),
        }
    }

    fn issue_token(&self, request: &Request) -> Answer {
        let ttl = request.header("x-aws-ec2-metadata-token-ttl-seconds");
        let ttl = ttl.and_then(|ttl| ttl.parse().ok()).filter(|ttl| (1..=21_600).contains(ttl));
        let Some(ttl) = ttl else {
            return Answer::text(400, "Bad Request");
        };
        let token = format!("AQAEA{:032x}==", fastrand::u128(..));
        lock(&self.tokens).insert(token.clone(), Instant::now() + Duration::from_secs(ttl));
        // The SDK takes the token's life from the answer, as real metadata services give it.
        Answer::Reply {
            status: 200,
            content_type: "text/plain",
            headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", ttl.to_string())],
            body: token.into(),
        }
    }

    fn is_token_valid(&self, request: &Request) -> bool {
        let token = request.header("x-aws-ec2-metadata-token").unwrap_or_default();
        lock(&self.tokens).get(token).is_some_and(|end| Instant::now() < *end)
    }

    fn tell(&self, path: &str) -> Answer {
        if let Some((status, body)) = lock(&self.overrides).get(path) {
            return Answer::text(*status, body.clone());
        }
        let world = self.cloud.now();
        let of_future = || future(path, world.notices.get(&self.instance));
        let known = world.instance(&self.instance).and_then(|instance| self.value(path, instance).or_else(of_future));
        match known {
            Some(value) => Answer::text(200, value),
            None => Answer::text(404, "Not Found"),
        }
    }

    /// The value at a path; None where a real instance of this kind has none (IPv6, tags, …).
    fn value(&self, path: &str, instance: &Instance) -> Option<String> {
        if let Some(role) = path.strip_prefix(CREDENTIALS) {
            return self.credentials(role);
        }
        let address = instance.address.map(|address| address.to_string());
        match path {
            IDENTITY => Some(self.identity(instance)),
            TARGET_STATE => instance.place.as_ref().map(|place| place.target.clone()),
            _ => match path.strip_prefix("/latest/meta-data/")? {
                "instance-id" => Some(self.instance.clone()),
                "local-ipv4" => address,
                "local-hostname" | "hostname" => instance.dns_name(),
                "mac" => Some(MAC.to_owned()),
                "placement/region" => Some(REGION.to_owned()),
                "placement/availability-zone" => Some(instance.zone.clone()),
                "network/interfaces/macs/" => Some(format!("{MAC}/")),
                other => self.interface_value(other, instance),
            },
        }
    }

    fn interface_value(&self, path: &str, instance: &Instance) -> Option<String> {
        let path = path.strip_prefix("network/interfaces/macs/")?.strip_prefix(MAC)?;
        match path {
            "/device-number" => Some("0".to_owned()),
            "/local-ipv4s" => instance.address.map(|address| address.to_string()),
            "/local-hostname" => instance.dns_name(),
            "/subnet-ipv4-cidr-block" | "/vpc-ipv4-cidr-block" | "/vpc-ipv4-cidr-blocks" => Some(self.block.clone()),
            _ => None,
        }
    }

    fn identity(&self, instance: &Instance) -> String {
        let identity = json!({
            "accountId": ACCOUNT,
            "architecture": "arm64",
            "availabilityZone": instance.zone,
            "imageId": "ami-0123456789abcdef0",
            "instanceId": self.instance,
            "instanceType": "t4g.small",
            "pendingTime": humantime::format_rfc3339_seconds(instance.launched).to_string(),
            "privateIp": instance.address,
            "region": REGION,
            "version": "2017-09-30",
        });
        format!("{identity:#}")
    }

    fn credentials(&self, role: &str) -> Option<String> {
        let now = SystemTime::now();
        match role {
            "" => Some(ROLE.to_owned()),
            ROLE => {
                let end = now + Duration::from_hours(6);
                let credentials = json!({
                    "Code": "Success",
                    "Type": "AWS-HMAC",
                    "AccessKeyId": access_key_of(&self.instance),
                    "SecretAccessKey": "secret-of-the-fake",
                    "Token": "session-token-of-the-fake",
                    "LastUpdated": humantime::format_rfc3339_seconds(now).to_string(),
                    "Expiration": humantime::format_rfc3339_seconds(end).to_string(),
                });
                Some(credentials.to_string())
            }
            _ => None,
        }
    }
}

/// A program that another test starts holds a copy of every listener between its fork and its exec: one that was closed a
/// moment ago may not be free yet.
fn bind_again(address: (Ipv4Addr, u16)) -> io::Result<TcpListener> {
    let end = Instant::now() + Duration::from_secs(1);
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            bound => return bound,
        }
    }
}

/// What the metadata tell of the instance's future: no spot notice and no recommendation is 404, no maintenance an empty
/// list (EC2:spot-instance-termination-notices, EC2:rebalance-recommendations, EC2:viewing_scheduled_events of
/// docs.aws.amazon.com/AWSEC2/latest/UserGuide).
fn future(path: &str, notices: Option<&Notices>) -> Option<String> {
    let second = |time| humantime::format_rfc3339_seconds(time).to_string();
    match path {
        SPOT => {
            let spot = notices?.spot.as_ref()?;
            Some(json!({ "action": spot.action, "time": second(spot.time) }).to_string())
        }
        REBALANCE => Some(json!({ "noticeTime": second(notices?.rebalance?) }).to_string()),
        MAINTENANCE => Some(json!(notices.map_or(&[][..], |notices| &notices.maintenance)).to_string()),
        _ => None,
    }
}
