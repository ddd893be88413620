//! The ground that a run stands on: a /24 of addresses and a directory, both its own, both given
//! back at the end. Nothing here knows what they are used for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpSocket;

/// A /24 that no other run on this machine uses, of 127.0.0.0/8 or in a network of its own.
///
/// A block is taken by listening on its first address: that holds between threads and between
/// processes, and ends with the process. The listener is not wasted, it becomes the AWS endpoint.
pub struct Block([u8; 3]);

/// The port of the AWS endpoint on the first address of a block.
const CLAIM_PORT: u16 = 4566;

impl Block {
    /// Takes a free block and returns it with the listener that holds it.
    ///
    /// # Errors
    /// When a few hundred random blocks were all taken, with the last reason.
    pub fn claim() -> io::Result<(Self, TcpListener)> {
        let mut last = None;
        for _ in 0..300 {
            // 127.0.0.0/10 is left to what else may run on this machine.
            match Self::claim_this([127, fastrand::u8(64..=254), fastrand::u8(..)]) {
                Ok(claimed) => return Ok(claimed),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("at least one block was tried"))
    }

    /// Takes this block.
    ///
    /// # Errors
    /// When it is taken, or its first address is not this machine's.
    pub fn claim_this(prefix: [u8; 3]) -> io::Result<(Self, TcpListener)> {
        let block = Self(prefix);
        let listener = TcpListener::bind((block.address(1), CLAIM_PORT))?;
        Ok((block, listener))
    }

    /// The address of host `host` in the block.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, host)
    }
}

/// An address whose ports answer nothing, as a terminated instance's on AWS: what is sent there is lost. On the loopback
/// a port that nobody has refuses; here each has a listener whose queue is full, and the kernel drops what comes.
pub struct Silence {
    _held: Vec<(tokio::net::TcpListener, Option<TcpStream>)>,
}

impl Silence {
    /// Silences ports of an address that nobody listens on.
    ///
    /// # Errors
    /// When somebody does.
    pub fn at(address: Ipv4Addr, ports: &[u16]) -> io::Result<Self> {
        let silence = |&port: &u16| {
            let place = SocketAddr::from((address, port));
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(place)?;
            let listener = socket.listen(0)?;
            // The one connection that a queue of length 0 holds: this one, or that of an etcd which has dialled just now.
            // On the loopback it is there at once, or never.
            Ok((listener, TcpStream::connect_timeout(&place, Duration::from_millis(100)).ok()))
        };
        Ok(Self { _held: ports.iter().map(silence).collect::<io::Result<_>>()? })
    }
}

/// A directory that is removed, with all that is in it, when dropped.
pub struct Directory {
    path: PathBuf,
    keep: bool,
    #[cfg(test)]
    _watched: Option<std::sync::mpsc::Sender<()>>,
}

impl Directory {
    /// Makes a new directory under the system's temporary one. The name is short because sockets
    /// lie in it and a socket's path is limited to 108 bytes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> io::Result<Self> {
        // The process id says whose it is: what a killed run has left can be told from what is in use.
        let name = format!("etcd-bootstrap-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self {
            #[cfg(test)]
            _watched: std::env::var_os("CI").map(|_| watch(path.clone())),
            path,
            keep: false,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes an executable script.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn script(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Leaves the directory where it is when this value goes.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Ends all tests where the one that this directory is of does not end, and says which it is: where nobody looks on, one
/// that hangs would be cut off without a name, hours later.
#[cfg(test)]
fn watch(path: PathBuf) -> std::sync::mpsc::Sender<()> {
    use std::io::Write;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    const ENDLESS: Duration = Duration::from_secs(900);
    let (alive, gone) = channel();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::spawn(move || {
        if gone.recv_timeout(ENDLESS) == Err(RecvTimeoutError::Timeout) {
            let logs = "tail -n 20 \"$0\"/*.log \"$0\"/*/*.log";
            // Not by eprintln, which the tests' harness keeps to itself.
            let _ = std::process::Command::new("sh").args(["-c", logs]).arg(path).stdout(std::io::stderr()).status();
            let _ = writeln!(std::io::stderr(), "{test} has not ended after {ENDLESS:?}: so all tests end");
            std::process::exit(101);
        }
    });
    alive
}
