//! Child processes that never outlive their parent, however it ends, SIGKILL included.
//!
//! All children are in the process group of one guardian, a shell that reads from a pipe which only
//! this process holds open. When the pipe ends, the guardian kills its whole group. It also sends
//! the signals, so that nothing here needs unsafe code or another crate.

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::lock;

/// What can be sent to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Kill,
    /// Stops it where it is: ports stay open, nothing is answered.
    Freeze,
    Thaw,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
            Self::Freeze => "STOP",
            Self::Thaw => "CONT",
        }
    }
}

/// A running child; dropping it kills it and waits until it is gone.
pub struct Child {
    pid: u32,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts the command with nothing on its stdin.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        let guardian = Guardian::get()?;
        let spawned = command.stdin(Stdio::null()).process_group(guardian.group).spawn();
        let mut child = spawned.map_err(|error| io::Error::new(error.kind(), format!("start {command:?}: {error}")))?;
        let pid = child.id();
        let (tell, exit) = watch::channel(None);
        std::thread::spawn(move || {
            let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0xff00));
            tell.send_replace(Some(status));
        });
        Ok(Self { pid, exit })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Waits for the end of the child. May be called any number of times.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = exit.wait_for(Option::is_some).await;
        status.ok().and_then(|status| *status).expect("the waiting thread tells the status before it ends")
    }

    /// Waits for the end of the child and returns its exit code, as a shell would, and the peak of
    /// its resident memory in bytes.
    ///
    /// The kernel's own figure (`ru_maxrss`) is no use: it begins with the parent's size at the
    /// moment of the fork. `VmHWM` belongs to the program itself, but goes with it, hence the polls.
    pub async fn exited_with_peak(&self) -> (i32, u64) {
        let mut peak = 0;
        loop {
            peak = self.peak_rss().unwrap_or_default().max(peak);
            tokio::select! {
                status = self.exited() => return (exit_code(status), peak),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }

    fn peak_rss(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes * 1024)
    }

    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Sends a signal; nothing happens when the child has ended.
    pub fn signal(&self, signal: Signal) {
        if self.is_running()
            && let Ok(guardian) = Guardian::get()
        {
            guardian.send(signal, self.pid);
        }
    }

    /// Ends the child with a signal, and by force when that does not help.
    pub async fn end(&self, signal: Signal) {
        // As long as a node of the tests may take to go down; systemd would wait for 90 s.
        const PATIENCE: Duration = Duration::from_secs(5);
        self.signal(signal);
        if tokio::time::timeout(PATIENCE, self.exited()).await.is_err() {
            self.signal(Signal::Kill);
            self.exited().await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
        // The files that it writes to are removed next. A killed process is gone in milliseconds.
        for _ in 0..1000 {
            if !self.is_running() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The exit code; 128 and the signal's number after a signal, as a shell tells it.
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

struct Guardian {
    group: i32,
    orders: Mutex<ChildStdin>,
}

impl Guardian {
    /// The one guardian of this process.
    fn get() -> io::Result<&'static Self> {
        static GUARDIAN: OnceLock<Guardian> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = lock(&STARTING);
        if GUARDIAN.get().is_none() {
            let _ = GUARDIAN.set(Self::start()?);
        }
        Ok(GUARDIAN.get().expect("it was set just now"))
    }

    fn start() -> io::Result<Self> {
        const SCRIPT: &str = "trap '' HUP INT TERM
            while read -r signal pid; do kill -s $signal $pid 2>/dev/null; done
            kill -s KILL 0";
        let mut shell = Command::new("/bin/sh").args(["-c", SCRIPT]).stdin(Stdio::piped()).process_group(0).spawn()?;
        let orders = shell.stdin.take().expect("stdin was asked to be a pipe");
        Ok(Self { group: i32::try_from(shell.id()).expect("process ids are below 2^22"), orders: Mutex::new(orders) })
    }

    fn send(&self, signal: Signal, pid: u32) {
        let order = format!("{} {pid}\n", signal.name());
        // One write, so that orders of several threads do not mix. A dead guardian took all along.
        let _ = lock(&self.orders).write_all(order.as_bytes());
    }
}
