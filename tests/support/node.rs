//! One instance as a running machine: its metadata service, the real agent and a real etcd, tied
//! together as systemd ties them. What AWS thinks of the instance is in `cloud`.
//!
//! The rules of the shipped units that are followed here: the agent runs before every start of etcd,
//! its automatic restarts included; etcd starts only after exit code 0, and after any other code the
//! agent is run again; etcd must tell that it is ready within its start timeout (the `sd_notify`
//! protocol); the ready unit runs beside it, and codes 64 and 78 end its attempts alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::child::{Child, Signal, exit_code};
use super::cloud::InstanceId;
use super::imds::Imds;
use super::lock;
use super::network::Host;

/// The programs that a node runs.
#[derive(Clone, Debug)]
pub struct Programs {
    pub agent: PathBuf,
    pub etcd: PathBuf,
}

/// How nodes are set up. Change what a test is about.
#[derive(Clone)]
pub struct Setup {
    /// The schemes of client and peer URLs.
    pub schemes: (&'static str, &'static str),
    pub deadline: String,
    /// Added to every command line of the agent.
    pub agent_arguments: Vec<String>,
    /// Added to the agent's environment.
    pub agent_environment: BTreeMap<String, String>,
    /// Added to etcd's environment, for what no environment file of the agent holds.
    pub etcd_environment: BTreeMap<String, String>,
    /// `RestartSec=` of both units.
    pub restart_pause: Duration,
    /// `TimeoutStartSec=` of etcd's unit.
    pub start_timeout: Duration,
    /// Gets every event of every node.
    pub reports: Option<mpsc::UnboundedSender<(InstanceId, Event)>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            schemes: ("http", "http"),
            deadline: "infinity".to_owned(),
            agent_arguments: Vec::new(),
            agent_environment: BTreeMap::new(),
            etcd_environment: BTreeMap::new(),
            // systemd's default; what waits longer hides a slow agent.
            restart_pause: Duration::from_millis(100),
            start_timeout: Duration::from_secs(90),
            reports: None,
        }
    }
}

impl Setup {
    /// Lets [`Node::set_clock`] work, for the agent alone: etcd asks the kernel for the time, past every library.
    ///
    /// # Errors
    /// When there is no libfaketime.
    pub fn with_clocks(&mut self, target: &Path) -> Result<(), String> {
        let dirs = ["x86_64", "aarch64"].map(|arch| PathBuf::from(format!("/usr/lib/{arch}-linux-gnu/faketime")));
        let places = [target.join("tools")].into_iter().chain(dirs).map(|dir| dir.join("libfaketime.so.1"));
        let library = places.into_iter().find_map(|path| path.canonicalize().ok());
        let library = library.ok_or("no libfaketime: tests/tools/install clock")?;
        let variables = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // A clock that is set is CLOCK_REALTIME alone.
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        self.agent_environment.extend(variables.map(|(name, value)| (name.to_owned(), value)));
        Ok(())
    }
}

/// What happens on a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Booted,
    AgentStarted,
    AgentExited {
        code: i32,
        took: Duration,
        peak_rss: u64,
    },
    /// A program could not be run, or the agent's file could not be read: a fault of the test.
    GaveUp(String),
    EtcdStarted,
    /// etcd says that it is published and serves.
    EtcdReady,
    EtcdTooSlow,
    EtcdExited {
        code: i32,
    },
    ReadyExited {
        code: i32,
    },
    PoweredOff,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Booted => write!(f, "boots"),
            Self::AgentStarted => write!(f, "agent runs"),
            Self::AgentExited { code, took, .. } => write!(f, "agent exits {code} after {:.2} s", took.as_secs_f64()),
            Self::GaveUp(why) => write!(f, "gives up: {why}"),
            Self::EtcdStarted => write!(f, "etcd starts"),
            Self::EtcdReady => write!(f, "etcd serves"),
            Self::EtcdTooSlow => write!(f, "etcd takes too long to start, is stopped"),
            Self::EtcdExited { code } => write!(f, "etcd exits {code}"),
            Self::ReadyExited { code } => write!(f, "ready exits {code}"),
            Self::PoweredOff => write!(f, "is off"),
        }
    }
}

/// One finished run of the agent by hand.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    /// In bytes.
    pub peak_rss: u64,
}

/// One instance as a machine. It is off until booted; dropping it takes its power away.
pub struct Node {
    pub instance: InstanceId,
    pub address: Ipv4Addr,
    pub imds: Imds,
    machine: Arc<Machine>,
    life: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// A new machine with an empty disk in `dir`.
    ///
    /// # Errors
    /// When its directories cannot be made.
    pub fn new(
        programs: &Programs,
        setup: &Setup,
        (instance, address): (InstanceId, Ipv4Addr),
        imds: Imds,
        aws_url: &str,
        dir: &Path,
    ) -> io::Result<Self> {
        let machine = Machine {
            instance: instance.clone(),
            dir: dir.join(&instance),
            programs: programs.clone(),
            setup: setup.clone(),
            imds_url: imds.url(),
            host: imds.host.clone(),
            aws_url: aws_url.to_owned(),
            power: Mutex::default(),
            events: watch::Sender::default(),
        };
        fs::create_dir_all(machine.state_dir())?;
        Ok(Self { instance, address, imds, machine: Arc::new(machine), life: Mutex::default() })
    }

    /// Switches the machine on: `/run` is empty, then agent and etcd live their life.
    pub fn boot(&self) {
        self.begin(Box::pin(live(Arc::clone(&self.machine))));
    }

    /// Switches the machine on with an environment file written by hand and no agent.
    pub fn boot_by_hand(&self, environment: &str) {
        let machine = Arc::clone(&self.machine);
        let environment = environment.to_owned();
        self.begin(Box::pin(async move {
            match write_file(&machine.environment_file(), &environment) {
                Ok(()) => machine.etcd_turn().await,
                Err(error) => machine.happens(Event::GaveUp(error.to_string())),
            }
        }));
    }

    fn begin(&self, life: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) {
        let _ = fs::remove_dir_all(self.machine.run_dir());
        lock(&self.machine.power).on = true;
        self.machine.happens(Event::Booted);
        let before = lock(&self.life).replace(tokio::spawn(life));
        assert!(before.is_none(), "{} is already on", self.instance);
    }

    /// Stops agent and etcd as a shutdown does, with SIGTERM.
    pub async fn shut_down(&self) {
        self.power_off(Signal::Terminate).await;
    }

    /// Takes the power away: SIGKILL, no goodbye.
    pub async fn cut_power(&self) {
        self.power_off(Signal::Kill).await;
    }

    async fn power_off(&self, signal: Signal) {
        let life = lock(&self.life).take();
        if let Some(life) = life {
            life.abort();
            let _ = life.await;
        }
        let running = {
            let mut power = lock(&self.machine.power);
            power.on = false;
            std::mem::take(&mut power.running)
        };
        for child in running {
            child.end(signal).await;
        }
        self.machine.happens(Event::PoweredOff);
    }

    /// Shuts down and boots again with the same disk.
    pub async fn reboot(&self) {
        self.shut_down().await;
        self.boot();
    }

    /// Empties the disk of a machine that is off: etcd's data and the agent's state.
    ///
    /// # Errors
    /// When the disk cannot be emptied.
    pub fn wipe_disk(&self) -> io::Result<()> {
        assert!(!lock(&self.machine.power).on, "{} is still on", self.instance);
        for dir in [self.data_dir(), self.machine.state_dir()] {
            remove_dir(&dir)?;
        }
        fs::create_dir_all(self.machine.state_dir())
    }

    /// Copies the disk of a machine that is off, as a snapshot of its volume does; replaces what is in `to`.
    ///
    /// # Errors
    /// When the disk cannot be copied.
    pub fn copy_disk(&self, to: &Path) -> io::Result<()> {
        assert!(!lock(&self.machine.power).on, "{} is still on", self.instance);
        remove_dir(to)?;
        copy_dir(&self.data_dir(), &to.join("data"))?;
        copy_dir(&self.machine.state_dir(), &to.join("state"))
    }

    /// Puts a copy by [`Node::copy_disk`] in the place of the disk of a machine that is off.
    ///
    /// # Errors
    /// When the disk cannot be replaced.
    pub fn restore_disk(&self, from: &Path) -> io::Result<()> {
        self.wipe_disk()?;
        copy_dir(&from.join("data"), &self.data_dir())?;
        copy_dir(&from.join("state"), &self.machine.state_dir())
    }

    /// Sends a signal to everything that runs on the machine: freeze it, thaw it, kill its etcd to
    /// see it restarted.
    pub fn signal(&self, signal: Signal) {
        for child in &lock(&self.machine.power).running {
            child.signal(signal);
        }
    }

    /// Sets the agent's clock so many seconds off the true time; see [`Setup::with_clocks`].
    ///
    /// # Errors
    /// When the file that libfaketime reads in `HOME` cannot be written.
    pub fn set_clock(&self, seconds: i32) -> io::Result<()> {
        fs::write(self.machine.dir.join(".faketimerc"), format!("{seconds:+}\n"))
    }

    /// Runs the agent once by hand: `command`, the options of this node, then `more`. The machine
    /// may be on or off.
    ///
    /// # Errors
    /// When the agent cannot be started.
    pub async fn agent(&self, command: &str, more: &[&str]) -> io::Result<Run> {
        let mut arguments = vec![command.to_owned()];
        arguments.extend(self.machine.options());
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        self.agent_exactly(&arguments).await
    }

    /// Runs the agent once with exactly these arguments, in this node's environment.
    ///
    /// # Errors
    /// When the agent cannot be started.
    pub async fn agent_exactly(&self, arguments: &[String]) -> io::Result<Run> {
        let outputs = tempdir_in(&self.machine.dir)?;
        let (stdout, stderr) = (outputs.join("stdout"), outputs.join("stderr"));
        let mut command = self.machine.agent_command(arguments);
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let began = Instant::now();
        let (code, peak_rss) = self.machine.spawn(command)?.exited_with_peak().await;
        let run = Run {
            code,
            took: began.elapsed(),
            peak_rss,
            stdout: String::from_utf8_lossy(&fs::read(stdout)?).into_owned(),
            stderr: String::from_utf8_lossy(&fs::read(stderr)?).into_owned(),
        };
        fs::remove_dir_all(outputs)?;
        Ok(run)
    }

    /// The agent's command line on this node, to be shown to a person: environment, program, options.
    pub fn agent_command_line(&self, command: &str) -> String {
        let environment = self.machine.agent_environment();
        let environment = environment.iter().map(|(name, value)| format!("{name}={value}"));
        let program = self.machine.programs.agent.display().to_string();
        let words = environment.chain([program, command.to_owned()]).chain(self.machine.options());
        words.collect::<Vec<_>>().join(" ")
    }

    /// What happened since the last boot, with the time of each event.
    pub fn events(&self) -> Vec<(Instant, Event)> {
        self.machine.events.borrow().clone()
    }

    /// What happened since the last boot, and the ends of the logs: for a person who has to find the reason.
    pub fn story(&self) -> String {
        let history: Vec<String> = self.events().iter().map(|(_, event)| event.to_string()).collect();
        let tail = |name: &str, lines: usize| -> String {
            let log = self.log(name);
            log.lines().rev().take(lines).map(|line| format!("    {line}\n")).collect()
        };
        let logs = [tail("agent.log", 12), tail("ready.log", 2), tail("etcd.log", 4)].concat();
        format!("{} {}: {}\n{logs}", self.instance, self.address, history.join(", "))
    }

    /// Whether the machine was booted and not switched off since.
    pub fn is_on(&self) -> bool {
        lock(&self.machine.power).on
    }

    /// Whether a program could not be run, or the agent's file could not be read.
    pub fn has_given_up(&self) -> bool {
        self.events().iter().any(|(_, event)| matches!(event, Event::GaveUp(_)))
    }

    /// Waits until an event since the last boot fits, and returns its time.
    ///
    /// # Errors
    /// After `within`, with what happened instead.
    pub async fn wait_for(&self, within: Duration, fits: impl Fn(&Event) -> bool) -> Result<Instant, String> {
        let mut events = self.machine.events.subscribe();
        let found = |events: &Vec<(Instant, Event)>| events.iter().find(|(_, event)| fits(event)).map(|(at, _)| *at);
        let wait = events.wait_for(|events| found(events).is_some());
        if let Ok(Ok(events)) = tokio::time::timeout(within, wait).await {
            return Ok(found(&events).expect("that is what was waited for"));
        }
        let history: Vec<_> = self.events().iter().map(|(_, event)| event.to_string()).collect();
        Err(format!("{}: not within {within:?}, only: {}", self.instance, history.join(", ")))
    }

    /// The variables of the environment file; None when there is no file.
    ///
    /// # Errors
    /// When a line is not what systemd and docker both read as the same variable.
    pub fn environment(&self) -> Result<Option<BTreeMap<String, String>>, String> {
        match fs::read_to_string(self.machine.environment_file()) {
            Ok(text) => parse_environment(&text).map(Some),
            Err(_) => Ok(None),
        }
    }

    pub fn environment_file(&self) -> PathBuf {
        self.machine.environment_file()
    }

    /// Everything of this node lies here: data, state, run, and the logs `agent.log`, `etcd.log`
    /// and `ready.log`.
    pub fn dir(&self) -> &Path {
        &self.machine.dir
    }

    pub fn data_dir(&self) -> PathBuf {
        self.machine.data_dir()
    }

    /// One of the node's logs, whole; empty when it is not there.
    pub fn log(&self, name: &str) -> String {
        let text = fs::read(self.machine.dir.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(life) = lock(&self.life).take() {
            life.abort();
        }
        let mut power = lock(&self.machine.power);
        power.on = false;
        // A frozen process dies of SIGKILL too.
        power.running.iter().for_each(|child| child.signal(Signal::Kill));
        power.running.clear();
    }
}

/// The part of a node that its running life shares.
struct Machine {
    instance: InstanceId,
    dir: PathBuf,
    programs: Programs,
    setup: Setup,
    imds_url: String,
    /// Where its processes run; None on the loopback.
    host: Option<Arc<Host>>,
    aws_url: String,
    power: Mutex<Power>,
    events: watch::Sender<Vec<(Instant, Event)>>,
}

#[derive(Default)]
struct Power {
    on: bool,
    running: Vec<Arc<Child>>,
}

/// The life of a machine that is on. It ends when the power does, or when the agent cannot be run.
async fn live(machine: Arc<Machine>) {
    loop {
        match machine.agent_turn().await {
            Ok(0) => machine.etcd_turn().await,
            // Restart=always of etcd's unit: a refusal is asked again too.
            Ok(_) => {}
            Err(error) => return machine.happens(Event::GaveUp(error.to_string())),
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

    async fn etcd_turn(&self) {
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

    async fn agent_to_its_end(&self, command: &str, log: &str) -> io::Result<(i32, Duration, u64)> {
        let mut arguments = vec![command.to_owned()];
        arguments.extend(self.options());
        let mut command = self.agent_command(&arguments);
        let log = self.append_to(log)?;
        command.stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let (code, peak_rss) = self.start(command)?.exited_with_peak().await;
        Ok((code, began.elapsed(), peak_rss))
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

    fn spawn(&self, command: Command) -> io::Result<Child> {
        let spawn = || Child::spawn(command);
        match &self.host {
            Some(host) => host.enter(spawn),
            None => spawn(),
        }
    }

    fn agent_command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.programs.agent);
        command.args(arguments).env_clear().envs(self.basic_environment()).envs(self.agent_environment());
        command
    }

    fn agent_environment(&self) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::from([
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), self.imds_url.clone()),
            ("AWS_ENDPOINT_URL_AUTO_SCALING".to_owned(), self.aws_url.clone()),
            ("AWS_ENDPOINT_URL_EC2".to_owned(), self.aws_url.clone()),
        ]);
        environment.extend(self.setup.agent_environment.clone());
        environment
    }

    fn options(&self) -> Vec<String> {
        let (client, peer) = self.setup.schemes;
        let mut options = vec![
            "--private-addresses".to_owned(),
            format!("--etcd-client-schema={client}"),
            format!("--etcd-peer-scheme={peer}"),
            format!("--environment-file={}", self.environment_file().display()),
            format!("--data-dir={}", self.data_dir().display()),
            format!("--state-dir={}", self.state_dir().display()),
            format!("--etcd-binary={}", self.programs.etcd.display()),
            format!("--deadline={}", self.setup.deadline),
        ];
        options.extend(self.setup.agent_arguments.iter().cloned());
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

    fn happens(&self, event: Event) {
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
    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What is gone after a reboot, as /run is.
    fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    fn environment_file(&self) -> PathBuf {
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
fn parse_environment(text: &str) -> Result<BTreeMap<String, String>, String> {
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

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
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

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    fs::write(path, text)
}

fn tempdir_in(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join(format!("by-hand-{:08x}", fastrand::u32(..)));
    fs::create_dir(&path)?;
    Ok(path)
}
