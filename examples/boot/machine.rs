//! One instance as a machine: a root file system of its own, real Ignition, real systemd as process 1 in
//! systemd-nspawn, and a network cable. It makes no claim; those are in `story`.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::journal::Journal;
use crate::lab::{Ground, Image, OWN_V6, RESOLVER, VOID, output, run};
use crate::support::child::Child;
use crate::support::cloud::InstanceId;
use crate::support::etcd::until;
use crate::support::imds::Imds;

/// Which unit starts etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `etcd.service` of the package.
    Debian,
    /// `etcd-member.service`, by a wrapper and in a container's environment.
    Flatcar,
}

impl Flavour {
    pub fn etcd_unit(self) -> &'static str {
        match self {
            Self::Debian => "etcd.service",
            Self::Flatcar => "etcd-member.service",
        }
    }
}

pub const AGENT: &str = "etcd-bootstrap.service";
pub const READY: &str = "etcd-bootstrap-ready.service";
pub const WATCH: &str = "etcd-bootstrap-watch.service";
pub const CERTIFICATE: &str = "etcd-bootstrap-certificate.service";
pub const CERTIFICATE_TIMER: &str = "etcd-bootstrap-certificate.timer";
pub const SNAPSHOT: &str = "etcd-bootstrap-snapshot.service";
pub const SNAPSHOT_TIMER: &str = "etcd-bootstrap-snapshot.timer";

/// Runs systemd-nspawn in the cgroup of its first argument. With --keep-unit a reboot inside ends it with 133: it is
/// started again.
const POWER: &str = r#"
    until (echo $BASHPID >"$0/cgroup.procs" && exec systemd-nspawn --quiet --boot --register=no --keep-unit \
        --settings=no --link-journal=no --console=read-only --resolv-conf=off --timezone=off \
        --capability=CAP_NET_ADMIN "$@")
    do [ $? = 133 ] || exit; done"#;

/// One machine. It is off until it is powered on.
pub struct Machine {
    pub instance: InstanceId,
    pub address: Ipv4Addr,
    pub imds: Imds,
    pub etcd_unit: &'static str,
    /// Names its namespace, its container and the end of its cable in the lab.
    name: String,
    dir: PathBuf,
    cgroups: PathBuf,
    lower: String,
    nspawn: Vec<String>,
    /// Whether the image's /etc/resolv.conf is a link, to a file that systemd-resolved writes.
    links_resolv_conf: bool,
    ignition: PathBuf,
    /// Counts the disks that it had, and the times that it was powered on.
    disks: AtomicU32,
    lives: AtomicU32,
    life: Mutex<Option<Child>>,
}

impl Machine {
    /// A machine with its cable plugged in and the image on its disk, in layers, the lowest first.
    ///
    /// # Errors
    /// When its network or its disk cannot be made.
    pub async fn assemble(
        image: &Image,
        layers: &[PathBuf],
        ground: &Ground,
        (instance, address): (InstanceId, Ipv4Addr),
        imds: Imds,
    ) -> Result<Self, String> {
        let name = format!("n{}-{}", address.octets()[3], &instance[instance.len() - 4..]);
        let etcd = image.etcd.as_ref().map(|etcd| format!("--bind-ro={}:/usr/bin/etcd", etcd.display()));
        let machine = Self {
            etcd_unit: image.flavour.etcd_unit(),
            dir: ground.directory.join(&name),
            cgroups: ground.cgroup.clone(),
            lower: layers.iter().rev().map(|layer| layer.display().to_string()).collect::<Vec<_>>().join(":"),
            nspawn: [
                format!("--machine={name}"),
                format!("--hostname={name}"),
                format!("--network-namespace-path=/run/netns/{name}"),
            ]
            .into_iter()
            .chain(etcd)
            .chain([format!("--bind-ro={}:/opt/bin/etcdutl", image.restore_tool.display())])
            .collect(),
            links_resolv_conf: image.root.join("etc/resolv.conf").is_symlink(),
            ignition: image.ignition.clone(),
            disks: AtomicU32::new(0),
            lives: AtomicU32::new(0),
            life: Mutex::default(),
            instance,
            address,
            imds,
            name,
        };
        machine.lay_cable().await?;
        machine.new_disk().await?;
        Ok(machine)
    }

    /// A network namespace, and a cable from its `host0` to the lab's bridge.
    async fn lay_cable(&self) -> Result<(), String> {
        let (name, cable) = (self.name.as_str(), self.cable());
        run("ip", &["netns", "add", name]).await?;
        run("ip", &["link", "add", &cable, "type", "veth", "peer", "name", "host0", "netns", name]).await?;
        run("ip", &["link", "set", &cable, "master", "lab"]).await?;
        run("ip", &["-n", name, "link", "set", "lo", "up"]).await?;
        self.plug().await
    }

    pub async fn take_network_away(&self) -> Result<(), String> {
        run("ip", &["link", "del", &self.cable()]).await?;
        run("ip", &["netns", "del", &self.name]).await.map(drop)
    }

    fn cable(&self) -> String {
        format!("v-{}", self.name)
    }

    /// Pulls the network cable. Its address then answers nothing and refuses nothing, as any that the VPC delivers to
    /// nobody.
    ///
    /// # Errors
    /// When it cannot be pulled.
    pub async fn unplug(&self) -> Result<(), String> {
        run("ip", &["link", "set", &self.cable(), "down"]).await?;
        run("ip", &["route", "replace", &format!("{}/32", self.address), "dev", VOID]).await.map(drop)
    }

    /// Plugs the network cable in again.
    ///
    /// # Errors
    /// When it cannot be plugged in.
    pub async fn plug(&self) -> Result<(), String> {
        // Not `del`, which fails where there is no such route.
        run("ip", &["route", "flush", &format!("{}/32", self.address), "dev", VOID]).await?;
        run("ip", &["link", "set", &self.cable(), "up"]).await.map(drop)
    }

    /// A disk with the image and nothing else on it: the root volume of a launch, or one that replaces it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn new_disk(&self) -> Result<(), String> {
        self.disks.fetch_add(1, Ordering::Relaxed);
        let (root, upper, work) = (self.root(), self.disk().join("upper"), self.disk().join("work"));
        let prepare = || {
            [&root, &upper, &work].into_iter().try_for_each(fs::create_dir_all)?;
            let network_dir = upper.join("etc/systemd/network");
            fs::create_dir_all(&network_dir)?;
            fs::write(network_dir.join("10-host0.network"), self.network())?;
            // Where systemd-resolved writes this file, the image has a link to it.
            if self.links_resolv_conf {
                return Ok(());
            }
            fs::write(upper.join("etc/resolv.conf"), format!("nameserver {RESOLVER}\n"))
        };
        prepare().map_err(|error| format!("make the disk of {}: {error}", self.name))?;
        let layers = format!("lowerdir={},upperdir={},workdir={}", self.lower, upper.display(), work.display());
        run("mount", &["-t", "overlay", "overlay", "-o", &layers, &root.display().to_string()]).await.map(drop)
    }

    /// What a real node would be told by DHCP, for systemd-networkd.
    fn network(&self) -> String {
        let mut address_v6 = OWN_V6.segments();
        address_v6[7] = self.address.octets()[3].into();
        format!(
            "[Match]\nName=host0\n\
             [Network]\nAddress={}/24\nDNS={RESOLVER}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\
             [Address]\nAddress={}/64\nDuplicateAddressDetection=none\n\
             [Route]\nDestination=169.254.169.254/32\nScope=link\n\
             [Route]\nDestination=::/0\nGateway={OWN_V6}\n",
            self.address,
            Ipv6Addr::from(address_v6),
        )
    }

    fn disk(&self) -> PathBuf {
        self.dir.join(format!("disk-{}", self.disks.load(Ordering::Relaxed)))
    }

    /// The root file system, as seen from the lab.
    pub fn root(&self) -> PathBuf {
        self.disk().join("root")
    }

    /// A first boot: Ignition, then systemd.
    ///
    /// # Errors
    /// When one of them fails.
    pub async fn first_boot(&self) -> Result<(), String> {
        self.provision().await?;
        self.power_on().await
    }

    /// The first half of a first boot: Ignition fetches its config from the metadata service, and the binary.
    ///
    /// # Errors
    /// When Ignition fails, with what it said last: a real node then does not boot.
    pub async fn provision(&self) -> Result<(), String> {
        self.plug().await?;
        let initramfs = self.disk().join("initramfs");
        fs::create_dir_all(&initramfs).map_err(|error| error.to_string())?;
        // Ignition would relabel what it wrote, as on a host with SELinux.
        let setfiles = initramfs.join("setfiles");
        let _ = symlink("/bin/true", setfiles);
        self.configure_network("up").await?;
        let path = |name: &str| initramfs.join(name).display().to_string();
        let (root, cache, state, neednet) = (self.root(), path("ignition.json"), path("state"), path("neednet"));
        let search = format!("PATH={}:{}", initramfs.display(), std::env::var("PATH").unwrap_or_default());
        let (ignition, root) = (self.ignition.display().to_string(), root.display().to_string());
        for stage in ["fetch", "files"] {
            let within = ["netns", "exec", &self.name, "env", &search, &ignition];
            let what = ["-log-to-stdout", "-platform", "aws", "-stage", stage, "-root", &root];
            let files = ["-config-cache", &cache, "-state-file", &state, "-neednet", &neednet];
            run("ip", &[within.as_slice(), &what, &files].concat()).await.map_err(|told| {
                let critical: Vec<_> = told.lines().filter(|line| line.starts_with("CRITICAL")).collect();
                format!("Ignition, stage {stage}: {}", if critical.is_empty() { told } else { critical.join(" ") })
            })?;
        }
        // As the initramfs does before it hands over: networkd begins with a bare interface.
        self.configure_network("down").await
    }

    async fn configure_network(&self, state: &str) -> Result<(), String> {
        let name = self.name.as_str();
        run("ip", &["-n", name, "addr", "flush", "dev", "host0"]).await?;
        run("ip", &["-n", name, "link", "set", "host0", state]).await?;
        if state == "up" {
            run("ip", &["-n", name, "addr", "add", &format!("{}/24", self.address), "dev", "host0"]).await?;
            run("ip", &["-n", name, "route", "add", "169.254.169.254/32", "dev", "host0"]).await?;
        }
        Ok(())
    }

    /// Powers the machine on; systemd takes over.
    ///
    /// # Errors
    /// When systemd-nspawn cannot be started.
    pub async fn power_on(&self) -> Result<(), String> {
        self.plug().await?;
        // A new cgroup for each life: a container in one that was ever killed as a whole dies again (systemd 257).
        self.lives.fetch_add(1, Ordering::Relaxed);
        let cgroup = self.cgroup();
        let console = self.dir.join("console.log");
        let started = fs::create_dir_all(&cgroup)
            .and_then(|()| fs::OpenOptions::new().create(true).append(true).open(console))
            .and_then(|console| {
                let mut command = Command::new("bash");
                command.args(["-c", POWER]).arg(&cgroup).args(&self.nspawn);
                command.arg(format!("--directory={}", self.root().display()));
                command.stdout(Stdio::from(console.try_clone()?)).stderr(console);
                Child::spawn(command)
            });
        let child = started.map_err(|error| format!("power {} on: {error}", self.name))?;
        let before = self.life.lock().unwrap_or_else(PoisonError::into_inner).replace(child);
        assert!(before.is_none(), "{} is already on", self.name);
        Ok(())
    }

    /// Adds a line to the agent's options, as a person would.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_option(&self, line: &str) -> Result<(), String> {
        let path = self.root().join("etc/etcd-bootstrap/etcd-bootstrap.env");
        let before = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        fs::write(&path, format!("{before}{line}\n")).map_err(|error| error.to_string())
    }

    fn cgroup(&self) -> PathBuf {
        let lives = self.lives.load(Ordering::Relaxed);
        self.cgroups.join(format!("{}-{lives}", self.name))
    }

    /// Pulls the power plug: everything on the machine is gone in one moment, and said no goodbye.
    ///
    /// # Errors
    /// When its address cannot be made silent.
    pub async fn cut_power(&self) -> Result<(), String> {
        let life = self.life.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(life) = life {
            // First: the kernel, which lives on, would close every connection.
            self.unplug().await?;
            let _ = fs::write(self.cgroup().join("cgroup.kill"), "1");
            life.exited().await;
            let gone =
                || fs::read_to_string(self.cgroup().join("cgroup.events")).is_ok_and(|e| e.contains("populated 0"));
            let _ = until(Duration::from_secs(5), async || if gone() { Ok(()) } else { Err(String::new()) }).await;
        }
        Ok(())
    }

    /// Hangs: nothing on the machine runs any more, and its connections stay open.
    ///
    /// # Errors
    /// When its cgroup cannot be frozen.
    pub fn hang(&self) -> Result<(), String> {
        fs::write(self.cgroup().join("cgroup.freeze"), "1").map_err(|error| format!("freeze {}: {error}", self.name))
    }

    /// Shuts down as at the press of its power button, and is off in the end. False where it does not answer.
    ///
    /// # Errors
    /// As [`Machine::cut_power`].
    pub async fn power_off(&self) -> Result<bool, String> {
        let asked = tokio::time::timeout(Duration::from_secs(2), self.inside(&["systemctl", "poweroff"])).await;
        let off = async || if self.process_1().is_none() { Ok(()) } else { Err("it is on".to_owned()) };
        let off = asked.is_ok() && until(Duration::from_secs(30), off).await.is_ok();
        self.cut_power().await.map(|()| off)
    }

    /// Reboots from inside, and returns once the new boot is under way.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn reboot(&self) -> Result<(), String> {
        let before = self.process_1();
        // The connection may go before the answer is there.
        let _ = self.inside(&["systemctl", "reboot"]).await;
        let rebooted = async || match self.process_1() {
            Some(now) if Some(now) != before => Ok(()),
            _ => Err(format!("{} does not come back", self.name)),
        };
        until(Duration::from_secs(30), rebooted).await.map(drop)
    }

    /// The machine's process 1, by its number in the lab; None while it is off.
    fn process_1(&self) -> Option<u32> {
        let processes = fs::read_to_string(self.cgroup().join("payload/init.scope/cgroup.procs")).ok()?;
        processes.lines().filter_map(|pid| pid.parse().ok()).find(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            inner.split_whitespace().count() > 1 && inner.split_whitespace().last() == Some("1")
        })
    }

    /// Runs a command on the machine and returns what it printed, whatever its exit status.
    ///
    /// # Errors
    /// When the machine is off, or the command does not end.
    pub async fn inside(&self, command: &[&str]) -> Result<String, String> {
        let pid = self.process_1().ok_or_else(|| format!("{} is off", self.name))?.to_string();
        let enter = ["-t", &pid, "--mount", "--uts", "--ipc", "--net", "--pid", "-r", "-w", "--"];
        let output = output("nsenter", &[enter.as_slice(), command].concat()).await?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned())
    }

    /// One property of a unit, as `systemctl show` prints it.
    ///
    /// # Errors
    /// As [`Machine::inside`].
    pub async fn property(&self, unit: &str, property: &str) -> Result<String, String> {
        self.inside(&["systemctl", "show", "--value", "-p", property, unit]).await
    }

    /// Starts a command in the machine's network, not on the machine.
    pub fn in_its_network(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command
    }

    /// The machine's journal, of all its boots; it may be on or off.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn journal(&self) -> Result<Journal, String> {
        let directory = self.root().join("var/log/journal").display().to_string();
        run("journalctl", &["--directory", &directory, "--output=json", "--all"])
            .await
            .map(|text| Journal::parse(&text))
    }

    /// Copies what is left of it to look at: journal as text, console, units.
    pub async fn leave_traces(&self, to: &Path) {
        let to = to.join(format!("{}-{}", self.name, self.instance));
        let directory = self.root().join("var/log/journal").display().to_string();
        let _ = fs::create_dir_all(&to);
        let journal = run("journalctl", &["--directory", &directory, "--output=short-iso-precise"]).await;
        let _ = fs::write(to.join("journal"), journal.unwrap_or_else(|why| why));
        let _ = fs::copy(self.dir.join("console.log"), to.join("console"));
        if let Ok(units) =
            self.inside(&["systemctl", "status", "--no-pager", "--full", self.etcd_unit, AGENT, READY, WATCH]).await
        {
            let _ = fs::write(to.join("status"), units);
        }
    }
}
