//! The ground under the machines, inside namespaces of its own: a network with the metadata service at
//! 169.254.169.254, a DNS server, the AWS API under its real names, and a server for the binary. Machines are in
//! `machine`, what happens to them is in `story`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::machine::{Flavour, Machine};
use crate::names::{self, Resolver};
use crate::support::aws::Aws;
use crate::support::cloud::{Cloud, InstanceId};
use crate::support::etcd::Judge;
use crate::support::http::{self, Answer};
use crate::support::imds;
use crate::support::tls::{self, Authority, TlsFiles};

/// What the nodes boot: an image, and what `make dist` has made.
pub struct Image {
    /// The root file system that all machines share below their own.
    pub root: PathBuf,
    /// What lies over it: `flatcar` has that flavour's etcd-member.service and what it needs, `node` a unit that
    /// depends on etcd.
    pub layers: PathBuf,
    /// An etcd in place of the distribution's.
    pub etcd: Option<PathBuf>,
    /// etcd's tool that restores snapshots.
    pub restore_tool: PathBuf,
    pub flavour: Flavour,
    /// `target/dist`.
    pub dist: PathBuf,
    pub ignition: PathBuf,
}

/// The group of the nodes of etcd: the one that `consumer.ign` names.
pub const GROUP: &str = "etcd";

/// The lab's own address on the network that it shares with the machines.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The gateway of the machines' IPv6, of which AWS's replies say nothing: with it they can be led astray.
pub const OWN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The DNS server, at the network's base plus two as in every VPC (Amazon VPC User Guide, "DNS attributes for your
/// VPC").
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// Where moto is, in the story of the stack.
pub const MOTO: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// How far a machine's metadata service is from its machine, in addresses.
const METADATA_OFFSET: u8 = 100;

/// Where machines may be put.
pub struct Ground {
    /// A file system in memory, gone with the lab.
    pub directory: PathBuf,
    /// The lab's own part of the hierarchy.
    pub cgroup: PathBuf,
}

pub struct Lab {
    pub cloud: Cloud,
    pub aws: Aws,
    pub judge: Judge,
    pub resolver: Resolver,
    pub image: Image,
    ground: Ground,
    /// Every line that is added to the agent's options.
    pub options: Vec<String>,
    /// The authority of AWS's certificate.
    authority: String,
    /// What Ignition puts on each node for TLS of etcd.
    files: Vec<Value>,
    /// Whether etcd speaks TLS.
    tls: bool,
    next_machine: AtomicU8,
    _files: http::Server,
}

impl Lab {
    /// Builds the ground. This process has to be in namespaces of its own: mounts, network and processes.
    ///
    /// # Errors
    /// When something of it cannot be had.
    pub async fn build(image: Image, cgroup: &str, desired: u32) -> Result<Self, String> {
        let ground = Ground { directory: PathBuf::from("/run/lab"), cgroup: Path::new("/sys/fs/cgroup").join(cgroup) };
        // One hierarchy of version 2, whatever the machine has: systemd-nspawn gives its container the same.
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"]).await?;
        run("mount", &["-t", "cgroup2", "none", "/sys/fs/cgroup"]).await?;
        let directories = [&ground.directory, &ground.cgroup].into_iter().try_for_each(std::fs::create_dir_all);
        directories.map_err(|error| format!("make the lab's directories: {error}"))?;
        build_network().await?;

        let cloud = Cloud::default();
        cloud.change(|world| world.create_group(GROUP, desired));
        let listen =
            |address: Ipv4Addr, port| TcpListener::bind((address, port)).map_err(|e| format!("{address}: {e}"));
        tokio::spawn(forward_metadata(listen(METADATA, 80)?));
        let resolver = UdpSocket::bind((RESOLVER, 53)).and_then(Resolver::start);
        let resolver = resolver.map_err(|error| format!("serve names on {RESOLVER}: {error}"))?;
        let (authority, aws) = start_aws(&cloud, listen(OWN, 443)?, &ground.directory)
            .map_err(|error| format!("serve AWS over TLS: {error}"))?;
        Ok(Self {
            cloud,
            aws,
            authority,
            judge: Judge::new(),
            resolver,
            _files: serve_binary(&image.dist, listen(OWN, 80)?)?,
            image,
            ground,
            // The stand-in for docker starts the node's own etcd, whatever the tag.
            options: vec!["ETCD_BOOTSTRAP_ETCD_VERSION=auto".to_owned()],
            files: Vec::new(),
            tls: false,
            next_machine: AtomicU8::new(0),
        })
    }

    /// An address that no machine had.
    pub fn fresh_address(&self) -> Ipv4Addr {
        self.address(self.next_machine.fetch_add(1, Ordering::Relaxed))
    }

    /// The address that the machine of this number gets.
    pub fn address(&self, number: u8) -> Ipv4Addr {
        let [a, b, c, own] = OWN.octets();
        Ipv4Addr::new(a, b, c, own + 10 + number)
    }

    /// Launches an instance in a group: its hardware is there, and off; its disk holds the image.
    ///
    /// # Errors
    /// When its metadata service, its network or its disk cannot be made.
    pub async fn launch(&self, group: &str, address: Ipv4Addr, config: &str) -> Result<Machine, String> {
        let instance = self.cloud.change(|world| world.launch(Some(group), address));
        self.machine(group, (instance, address), config).await
    }

    /// The hardware of an instance that was launched, off.
    ///
    /// # Errors
    /// As [`Lab::launch`].
    pub async fn machine(
        &self,
        group: &str,
        (instance, address): (InstanceId, Ipv4Addr),
        config: &str,
    ) -> Result<Machine, String> {
        let [a, b, c, host] = address.octets();
        let metadata = Ipv4Addr::new(a, b, c, host + METADATA_OFFSET);
        run("ip", &["addr", "add", &format!("{metadata}/32"), "dev", "lab"]).await.or_else(already_there)?;
        let imds =
            imds::Imds::start(self.cloud.clone(), &instance, metadata, None).map_err(|error| error.to_string())?;
        imds.answer("/2019-10-01/user-data", 200, config);
        // The VPC's DHCP options set a domain of its own, and no DNS server knows a name in that (Amazon VPC User Guide,
        // "DHCP option sets"). EC2's name of the instance stays what it is.
        imds.answer("/latest/meta-data/local-hostname", 200, &format!("ip-{a}-{b}-{c}-{host}.corp.example.com"));
        let mut layers = Vec::from([self.image.root.clone()]);
        if self.image.flavour == Flavour::Flatcar {
            layers.push(self.image.layers.join("flatcar"));
        }
        // It asks etcd in the clear.
        if group == GROUP && !self.tls {
            layers.push(self.image.layers.join("node"));
        }
        Machine::assemble(&self.image, &layers, &self.ground, (instance, address), imds).await
    }

    /// Terminates the instance: its power goes, its network, its metadata service, and the cloud says so. Its address
    /// is silent from then on, until another machine gets it.
    ///
    /// # Errors
    /// When its network cannot be taken away.
    pub async fn terminate(&self, machine: &Machine) -> Result<(), String> {
        self.cloud.change(|world| world.terminate(&machine.instance));
        self.take_away(machine).await
    }

    /// The same where the cloud has said so.
    ///
    /// # Errors
    /// As [`Lab::terminate`].
    pub async fn take_away(&self, machine: &Machine) -> Result<(), String> {
        machine.cut_power().await?;
        machine.imds.unplug().await;
        machine.take_network_away().await
    }

    /// An Ignition config of `make dist`, with what differs here: where the binary is, and whom the system trusts.
    ///
    /// # Errors
    /// When it cannot be read, or is not what Ignition takes.
    pub fn config(&self, name: &str) -> Result<String, String> {
        let path = self.image.dist.join("ignition").join(name);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
        self.adapt(&text)
    }

    /// The same of any config.
    ///
    /// # Errors
    /// When it is not what Ignition takes.
    pub fn adapt(&self, config: &str) -> Result<String, String> {
        let mut config: Value = serde_json::from_str(config).map_err(|error| format!("a config: {error}"))?;
        let options: String = self.options.iter().map(|line| format!("{line}\n")).collect();
        let options = data_url(&options);
        let files = config["storage"]["files"].as_array_mut().ok_or("a config without files")?;
        files.push(json!({
            "path": "/etc/ssl/certs/ca-certificates.crt",
            "overwrite": true,
            "mode": 0o644,
            "contents": { "source": data_url(&self.authority) },
        }));
        files.extend(self.files.clone());
        for file in files {
            match file["path"].as_str().unwrap_or_default() {
                "/opt/bin/etcd-bootstrap" => file["contents"]["source"] = format!("http://{OWN}{BINARY}").into(),
                "/etc/etcd-bootstrap/etcd-bootstrap.env" | "/etc/etcd-bootstrap/consumer.env" => {
                    file["append"] = json!([{ "source": options }]);
                }
                _ => {}
            }
        }
        if self.image.flavour == Flavour::Debian {
            self.for_etcd_service(&mut config)?;
        }
        Ok(config.to_string())
    }

    /// Puts these certificates and this key on every node from now on, where `member-tls.ign` expects them.
    ///
    /// # Errors
    /// When they cannot be read, or are none.
    pub fn use_tls(&mut self, files: &TlsFiles) -> io::Result<()> {
        let names = [("ca", &files.ca), ("server", &files.cert), ("server-key", &files.key)];
        let names = names.into_iter().chain([("peer-ca", &files.ca), ("peer", &files.cert), ("peer-key", &files.key)]);
        for (name, path) in names {
            self.files.push(json!({
                "path": format!("/etc/ssl/certs/etcd/{name}.pem"),
                "mode": 0o400,
                "user": { "name": "etcd" },
                "group": { "name": "etcd" },
                "contents": { "source": data_url(&std::fs::read_to_string(path)?) },
            }));
        }
        (self.judge, self.tls) = (files.judge()?, true);
        Ok(())
    }

    /// Makes the keys of KMS that `member.ign` and `consumer.ign` name. The judge has a certificate of a member.
    pub fn certify(&mut self) {
        let keys = tls::KEYS.map(|alias| self.cloud.change(|world| world.create_key(alias)));
        let key = self.cloud.now().keys[&keys[0]].clone();
        (self.judge, self.tls) = (tls::judge_of(&[&key], OWN), true);
    }

    /// Trusts a further authority of AWS's, and judges etcd by certificates of this judge's.
    pub fn rely_on(&mut self, authority: &str, judge: Judge) {
        self.authority.push_str(authority);
        (self.judge, self.tls) = (judge, true);
    }

    /// How etcd is spoken to.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The same for hosts whose unit is called `etcd.service`, as the README says: with the drop-ins for that unit.
    fn for_etcd_service(&self, config: &mut Value) -> Result<(), String> {
        let files = config["storage"]["files"].as_array_mut().ok_or("the config has no files")?;
        files.retain(|file| !file["path"].as_str().unwrap_or_default().ends_with("/10-etcd-bootstrap.conf"));
        for drop_in in ["etcd.service.d/10-etcd-bootstrap.conf", "etcd-bootstrap-ready.service.d/10-etcd-service.conf"]
        {
            let source = self.image.dist.join("systemd").join(drop_in);
            let text = std::fs::read_to_string(&source).map_err(|error| format!("{}: {error}", source.display()))?;
            files.push(json!({
                "path": format!("/etc/systemd/system/{drop_in}"),
                "mode": 0o644,
                "contents": { "source": data_url(&text) },
            }));
        }
        for unit in config["systemd"]["units"].as_array_mut().into_iter().flatten() {
            if unit["name"] == "etcd-member.service" {
                unit["name"] = "etcd.service".into();
            }
        }
        Ok(())
    }
}

/// Where the lab serves the binary, and the same with one bit changed.
pub const BINARY: &str = "/the-binary";
pub const TAMPERED: &str = "/tampered";

fn serve_binary(dist: &Path, listener: TcpListener) -> Result<http::Server, String> {
    let path = dist.join(format!("etcd-bootstrap-{}-unknown-linux-musl", std::env::consts::ARCH));
    let binary = std::fs::read(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let mut tampered = binary.clone();
    *tampered.last_mut().ok_or("the binary is empty")? ^= 1;
    let files = [(BINARY, bytes::Bytes::from(binary)), (TAMPERED, bytes::Bytes::from(tampered))];
    http::serve(listener, move |request| {
        let file = files.iter().find(|(path, _)| *path == request.path).map(|(_, file)| file.clone());
        async move {
            match file {
                None => Answer::text(404, "Not Found"),
                Some(body) => {
                    Answer::Reply { status: 200, content_type: "application/octet-stream", headers: Vec::new(), body }
                }
            }
        }
    })
    .map_err(|error| error.to_string())
}

/// AWS under its own names, and the authority that its certificate is from.
fn start_aws(cloud: &Cloud, listener: TcpListener, directory: &Path) -> io::Result<(String, Aws)> {
    let names = names::endpoints();
    let files = Authority::new().write(directory, &names.each_ref().map(String::as_str))?;
    let aws = Aws::start_with_tls(files.acceptor()?, cloud.clone(), listener)?;
    Ok((std::fs::read_to_string(&files.ca)?, aws))
}

/// Leads each machine to the metadata service of its own instance. Where that is unplugged, it hangs up.
async fn forward_metadata(listener: TcpListener) {
    listener.set_nonblocking(true).expect("a listener can be made non-blocking");
    let listener = tokio::net::TcpListener::from_std(listener).expect("this is the runtime's thread");
    while let Ok((mut machine, from)) = listener.accept().await {
        tokio::spawn(async move {
            let IpAddr::V4(address) = from.ip() else { return };
            let [a, b, c, host] = address.octets();
            let own = SocketAddr::from(([a, b, c, host.wrapping_add(METADATA_OFFSET)], imds::PORT));
            if let Ok(mut service) = TcpStream::connect(own).await {
                let _ = copy_bidirectional(&mut machine, &mut service).await;
            }
        });
    }
}

/// The device that swallows what is sent to it.
pub const VOID: &str = "void";

async fn build_network() -> Result<(), String> {
    run("ip", &["link", "set", "lo", "up"]).await?;
    // With an address of its own: else it takes the lowest of its cables', and is another one with each new machine.
    run("ip", &["link", "add", "lab", "address", "02:00:00:00:00:01", "type", "bridge"]).await?;
    for address in [format!("{OWN}/24"), format!("{RESOLVER}/32"), format!("{METADATA}/32")] {
        run("ip", &["addr", "add", &address, "dev", "lab"]).await?;
    }
    run("ip", &["addr", "add", &format!("{OWN_V6}/64"), "dev", "lab", "nodad"]).await?;
    run("ip", &["link", "set", "lab", "up"]).await?;
    // A router between the machines as a VPC has one: it answers for every address that is routed to the void, and what
    // comes for that address is lost without a word. The cable's other end forwards nothing.
    run("ip", &["link", "add", VOID, "type", "veth", "peer", "name", "void-end"]).await?;
    for end in [VOID, "void-end"] {
        run("ip", &["link", "set", end, "arp", "off", "up"]).await?;
    }
    for (setting, value) in [
        ("ipv4/conf/lab/forwarding", "1"),
        ("ipv4/conf/lab/proxy_arp", "1"),
        ("ipv4/neigh/lab/proxy_delay", "0"),
        // No machine is to be told a shorter way, past the router.
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/lab/send_redirects", "0"),
        ("ipv6/conf/all/forwarding", "1"),
    ] {
        std::fs::write(Path::new("/proc/sys/net").join(setting), value).map_err(|e| format!("{setting}: {e}"))?;
    }
    run("ip", &["route", "add", &format!("{}/96", names::NOWHERE), "dev", VOID]).await.map(drop)
}

fn already_there(why: String) -> Result<String, String> {
    if why.contains("already assigned") { Ok(String::new()) } else { Err(why) }
}

/// A `data:` URL of the text, as the source of a file in an Ignition config.
fn data_url(text: &str) -> String {
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("data:,{encoded}")
}

/// No command of the lab takes longer; one that hangs is a fault like any other.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or does not end.
pub async fn output(program: &str, arguments: &[&str]) -> Result<Output, String> {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).kill_on_drop(true).stdin(std::process::Stdio::null());
    let named = |why: String| format!("{program} {}: {why}", arguments.join(" "));
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(output) => output.map_err(|error| named(error.to_string())),
        Err(_) => Err(named(format!("no end after {PATIENCE:?}"))),
    }
}

/// Runs a command that has to succeed, and returns what it printed.
///
/// # Errors
/// When it fails, with what it said.
pub async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = output(program, arguments).await?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(said(&output.stdout));
    }
    let told = format!("{} {}", said(&output.stderr), said(&output.stdout));
    Err(format!("{program} {}: {}: {told}", arguments.join(" "), output.status))
}
