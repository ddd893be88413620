//! The part of a node that its running life shares: the turns of agent, etcd and ready unit, and the files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;
use tokio::sync::watch;

use super::{Event, Programs, Setup};
use crate::support::child::{Child, Signal, exit_code};
use crate::support::cloud::InstanceId;
use crate::support::lock;
use crate::support::network::Host;

/// The part of a node that its running life shares.
pub struct Machine {
    pub instance: InstanceId,
    pub dir: PathBuf,
    pub programs: Programs,
    pub setup: Setup,
    pub imds_url: String,
    /// Where its processes run; None on the loopback.
    pub host: Option<Arc<Host>>,
    pub aws_url: String,
    pub power: Mutex<Power>,
    /// Options that were added since its launch, as to `etcd-bootstrap.env`.
    pub configured: Mutex<Vec<String>>,
    /// The process of the watch unit; None before its first.
    pub watch: Mutex<Option<Arc<Child>>>,
    pub events: watch::Sender<Vec<(Instant, Event)>>,
}

#[derive(Default)]
pub struct Power {
    pub on: bool,
    pub running: Vec<Arc<Child>>,
    /// The process of etcd's unit; None before its first.
    pub etcd: Option<Arc<Child>>,
    /// etcd's unit was stopped by hand.
    pub etcd_stopped: bool,
}

/// The life of a machine that is on. It ends when the power does, or when the agent cannot be run.
pub async fn live(machine: Arc<Machine>) {
    tokio::join!(serve(&machine), machine.watch_unit());
}

async fn serve(machine: &Machine) {
    loop {
        match machine.agent_turn().await {
            Ok(0) => machine.etcd_turn().await,
            // Restart=always of etcd's unit: a refusal is asked again too.
            Ok(_) => {}
            Err(error) => return machine.happens(Event::GaveUp(error.to_string())),
        }
        if lock(&machine.power).etcd_stopped {
            return;
        }
        tokio::time::sleep(machine.setup.restart_pause).await;
    }
}

impl Machine {
    async fn agent_turn(&self) -> io::Result<i32> {
        self.happens(Event::AgentStarted);
        let (code, took, peak_rss) = self.agent_to_its_end("run", "agent.log").await?;
        self.happens(Event::AgentExited { code, took, peak_rss });
        Ok(code)
    }

    pub async fn etcd_turn(&self) {
        let code = match self.try_etcd_turn().await {
            Ok(code) => code,
            Err(error) => return self.happens(Event::GaveUp(error.to_string())),
        };
        self.happens(Event::EtcdExited { code });
    }

    async fn try_etcd_turn(&self) -> io::Result<i32> {
        let socket = self.dir.join("notify");
        let _ = fs::remove_file(&socket);
        let notifications = UnixDatagram::bind(&socket)?;
        let etcd = self.start(self.etcd_command(&socket)?)?;
        lock(&self.power).etcd = Some(Arc::clone(&etcd));
        self.happens(Event::EtcdStarted);
        let beside = async { tokio::join!(self.follow_etcd(&etcd, &notifications), self.ready_unit()) };
        let status = tokio::select! {
            status = etcd.exited() => status,
            _ = beside => etcd.exited().await,
        };
        Ok(exit_code(status))
    }

    async fn follow_etcd(&self, etcd: &Child, notifications: &UnixDatagram) {
        let ready = tokio::time::timeout(self.setup.start_timeout, told_ready(notifications));
        if ready.await.is_err() {
            self.happens(Event::EtcdTooSlow);
            return etcd.end(Signal::Terminate).await;
        }
        self.happens(Event::EtcdReady);
    }

    /// Started as etcd is, not after it.
    async fn ready_unit(&self) {
        if self.programs.agent.as_os_str().is_empty() {
            return;
        }
        while let Ok((code, _, _)) = self.agent_to_its_end("ready", "ready.log").await {
            self.happens(Event::ReadyExited { code });
            // RestartPreventExitStatus= of the ready unit.
            if matches!(code, 0 | 64 | 78) {
                return;
            }
            tokio::time::sleep(self.setup.restart_pause).await;
        }
    }

    async fn watch_unit(&self) {
        if !self.setup.watches {
            return;
        }
        while let Ok(watch) = self.start_agent("watch", "watch.log") {
            *lock(&self.watch) = Some(Arc::clone(&watch));
            let code = exit_code(watch.exited().await);
            self.happens(Event::WatchExited { code });
            // RestartPreventExitStatus= of the watch unit.
            if code == 64 {
                return;
            }
            tokio::time::sleep(self.setup.restart_pause).await;
        }
    }

    async fn agent_to_its_end(&self, command: &str, log: &str) -> io::Result<(i32, Duration, u64)> {
        let began = Instant::now();
        let (code, peak_rss) = self.start_agent(command, log)?.exited_with_peak().await;
        Ok((code, began.elapsed(), peak_rss))
    }

    fn start_agent(&self, command: &str, log: &str) -> io::Result<Arc<Child>> {
        let mut arguments = vec![command.to_owned()];
        arguments.extend(self.options());
        let mut command = self.agent_command(&arguments);
        let log = self.append_to(log)?;
        command.stdout(log.try_clone()?).stderr(log);
        self.start(command)
    }

    /// Starts a process that goes when the power goes.
    fn start(&self, command: Command) -> io::Result<Arc<Child>> {
        let mut power = lock(&self.power);
        if !power.on {
            return Err(io::Error::other("the power is off"));
        }
        let child = Arc::new(self.spawn(command)?);
        power.running.retain(|child| child.is_running());
        power.running.push(Arc::clone(&child));
        Ok(child)
    }

    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        let spawn = || Child::spawn(command);
        match &self.host {
            Some(host) => host.enter(spawn),
            None => spawn(),
        }
    }

    pub fn agent_command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.programs.agent);
        command.args(arguments).env_clear().envs(self.basic_environment()).envs(self.agent_environment());
        command
    }

    pub fn agent_environment(&self) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::from([
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), self.imds_url.clone()),
            ("AWS_ENDPOINT_URL_AUTO_SCALING".to_owned(), self.aws_url.clone()),
            ("AWS_ENDPOINT_URL_EC2".to_owned(), self.aws_url.clone()),
            ("AWS_ENDPOINT_URL_KMS".to_owned(), self.aws_url.clone()),
        ]);
        environment.extend(self.setup.agent_environment.clone());
        environment
    }

    pub fn options(&self) -> Vec<String> {
        let (client, peer) = self.setup.schemes;
        let mut options = vec![
            "--private-addresses".to_owned(),
            format!("--etcd-client-schema={client}"),
            format!("--etcd-peer-scheme={peer}"),
            format!("--environment-file={}", self.environment_file().display()),
            format!("--data-dir={}", self.data_dir().display()),
            format!("--state-dir={}", self.state_dir().display()),
            format!("--certificate-dir={}", self.certificates().display()),
            format!("--etcd-binary={}", self.programs.etcd.display()),
            format!("--deadline={}", self.setup.deadline),
        ];
        options.extend(self.setup.agent_arguments.iter().cloned());
        options.extend(lock(&self.configured).iter().cloned());
        options
    }

    fn etcd_command(&self, notify_socket: &Path) -> io::Result<Command> {
        let text = fs::read_to_string(self.environment_file())?;
        let environment = parse_environment(&text).map_err(io::Error::other)?;
        let log = self.append_to("etcd.log")?;
        let mut command = Command::new(&self.programs.etcd);
        command
            .env_clear()
            .envs(self.basic_environment())
            .env("ETCD_DATA_DIR", self.data_dir())
            .env("NOTIFY_SOCKET", notify_socket)
            // The default of etcd 3.4 is the old format, which has no machine-readable times.
            .env("ETCD_LOGGER", "zap")
            .env("ETCD_LOG_OUTPUTS", "stderr")
            .envs(&self.setup.etcd_environment)
            .envs(environment)
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    fn basic_environment(&self) -> [(&'static str, OsString); 3] {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        // The times in etcd's log are local ones.
        [("PATH", path), ("HOME", self.dir.clone().into()), ("TZ", "UTC".into())]
    }

    fn append_to(&self, log: &str) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.dir.join(log))
    }

    pub fn happens(&self, event: Event) {
        if let Some(reports) = &self.setup.reports {
            // Nobody listening is no reason to stop.
            let _ = reports.send((self.instance.clone(), event.clone()));
        }
        self.events.send_modify(|events| {
            if event == Event::Booted {
                events.clear();
            }
            events.push((Instant::now(), event));
        });
    }

    /// What is on the disk and survives a reboot.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Where the agent puts the certificate that it has issued.
    pub fn certificates(&self) -> PathBuf {
        self.dir.join("certificates")
    }

    /// What is gone after a reboot, as /run is.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub fn environment_file(&self) -> PathBuf {
        self.run_dir().join("etcd-bootstrap/etcd.env")
    }
}

/// Waits for `READY=1` in the `sd_notify` protocol.
async fn told_ready(notifications: &UnixDatagram) {
    let mut buffer = [0; 4096];
    while let Ok(length) = notifications.recv(&mut buffer).await {
        let message = String::from_utf8_lossy(&buffer[..length]);
        if message.lines().any(|line| line == "READY=1") {
            return;
        }
    }
}

/// Reads bare `KEY=value` lines, the common part of what systemd and `docker --env-file` read.
pub fn parse_environment(text: &str) -> Result<BTreeMap<String, String>, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (key, value) = line.split_once('=').ok_or_else(|| format!("no variable: '{line}'"))?;
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if key.is_empty() || !key.chars().all(is_name) || value.contains(['"', '\'', ' ', '\\']) {
            return Err(format!("not read alike by systemd and docker: '{line}'"));
        }
        Ok((key.to_owned(), value.to_owned()))
    });
    parsed.collect()
}

pub fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

pub fn write_file(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    fs::write(path, text)
}

pub fn tempdir_in(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join(format!("by-hand-{:08x}", fastrand::u32(..)));
    fs::create_dir(&path)?;
    Ok(path)
}
