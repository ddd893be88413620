//! One instance as a running machine: its metadata service, the real agent and a real etcd, tied
//! together as systemd ties them. What AWS thinks of the instance is in `cloud`.
//!
//! The rules of the shipped units that are followed here: the agent runs before every start of etcd,
//! its automatic restarts included; etcd starts only after exit code 0, and after any other code the
//! agent is run again; etcd must tell that it is ready within its start timeout (the `sd_notify`
//! protocol); the ready unit runs beside it, and codes 64 and 78 end its attempts alone; the watch unit runs
//! as long as the machine is on.

mod machine;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::support::child::Signal;
use crate::support::cloud::InstanceId;
use crate::support::imds::Imds;
use crate::support::lock;
use machine::{Machine, copy_dir, live, parse_environment, remove_dir, tempdir_in, write_file};

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
    /// Whether `etcd-bootstrap-watch.service` runs too.
    pub watches: bool,
    /// Gets every event of every node.
    pub reports: Option<mpsc::UnboundedSender<(InstanceId, Event)>>,
}

/// No run by hand takes as long, on the busiest machine.
const ENDLESS: Duration = Duration::from_secs(600);

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
            watches: false,
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
    WatchExited {
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
            Self::WatchExited { code } => write!(f, "watch exits {code}"),
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
            configured: Mutex::default(),
            watch: Mutex::default(),
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
        let mut power = lock(&self.machine.power);
        (power.on, power.etcd_stopped) = (true, false);
        drop(power);
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

    /// Puts these lines, `ETCD_BOOTSTRAP_<OPTION>=value`, in the place of those of the last time: the agent's next start
    /// reads them.
    pub fn configure(&self, lines: &str) {
        let option = |line: &str| {
            let (name, value) = line.trim().strip_prefix("ETCD_BOOTSTRAP_")?.split_once('=')?;
            Some(format!("--{}={value}", name.to_lowercase().replace('_', "-")))
        };
        *lock(&self.machine.configured) = lines.lines().filter_map(option).collect();
    }

    /// Empties the disk of a machine that is off: etcd's data, the agent's state and its certificate.
    ///
    /// # Errors
    /// When the disk cannot be emptied.
    pub fn wipe_disk(&self) -> io::Result<()> {
        assert!(!lock(&self.machine.power).on, "{} is still on", self.instance);
        for dir in [self.data_dir(), self.machine.state_dir(), self.certificates()] {
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

    /// Stops etcd's unit, as a person does; it stays down until the next boot.
    pub async fn stop_etcd(&self) {
        let etcd = {
            let mut power = lock(&self.machine.power);
            power.etcd_stopped = true;
            power.etcd.clone()
        };
        if let Some(etcd) = etcd {
            etcd.end(Signal::Terminate).await;
        }
    }

    /// Sends a signal to the watch unit's process alone.
    pub fn signal_watch(&self, signal: Signal) {
        if let Some(watch) = lock(&self.machine.watch).as_ref() {
            watch.signal(signal);
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
    /// When the agent cannot be started, or has no end: it waits for ever where it is told to.
    pub async fn agent_exactly(&self, arguments: &[String]) -> io::Result<Run> {
        let outputs = tempdir_in(&self.machine.dir)?;
        let (stdout, stderr) = (outputs.join("stdout"), outputs.join("stderr"));
        let mut command = self.machine.agent_command(arguments);
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let began = Instant::now();
        let child = self.machine.spawn(command)?;
        let Ok((code, peak_rss)) = tokio::time::timeout(ENDLESS, child.exited_with_peak()).await else {
            let said = String::from_utf8_lossy(&fs::read(stderr)?).into_owned();
            return Err(io::Error::other(format!("{arguments:?} has not ended after {ENDLESS:?}: {said}")));
        };
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
        let logs = [tail("agent.log", 12), tail("ready.log", 2), tail("watch.log", 6), tail("etcd.log", 4)].concat();
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

    /// Where the agent keeps what outlives a reboot.
    pub fn state_dir(&self) -> PathBuf {
        self.machine.state_dir()
    }

    /// Where the agent puts the certificate that it has issued.
    pub fn certificates(&self) -> PathBuf {
        self.machine.certificates()
    }

    pub fn environment_file(&self) -> PathBuf {
        self.machine.environment_file()
    }

    /// Everything of this node lies here: data, state, run, and the logs `agent.log`, `etcd.log`,
    /// `ready.log` and `watch.log`.
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
