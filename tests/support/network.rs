//! A network of its own for one rig: a switch, and behind it each host with a network stack of its own, so that what
//! passes between two hosts can be cut, in one direction too. On the loopback all hosts are one.
//!
//! A packet is lost by a neighbour entry that leads nowhere: the sender notices nothing, and no firewall is needed.
//! Needs root, or the capabilities in a user namespace of one's own (`unshare -r`), and `ip` and `tc`
//! (iproute2).

use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::child::Child;

/// The first three numbers of every address: each network is alone with them.
pub const BLOCK: [u8; 3] = [10, 77, 0];

/// Nobody's: the switch delivers it to nobody.
const NOWHERE: &str = "02:00:00:00:00:00";

/// The switch, and the thread that made it behind it: its sockets and its children are in this network from then on.
pub struct Network {
    outside: File,
    inside: Stack,
}

impl Network {
    /// Moves the calling thread into a new network. Everything that uses it must stay on this thread.
    ///
    /// # Errors
    /// When this process may not, or `ip` is missing.
    pub fn enter() -> io::Result<Self> {
        let network = Self { outside: own_stack()?, inside: Stack::new()? };
        network.inside.move_in()?;
        let [a, b, c] = BLOCK;
        ip(&format!(
            "link set lo up\n\
             link add switch type bridge\n\
             address add {a}.{b}.{c}.1/24 dev switch\n\
             link set switch up\n"
        ))?;
        Ok(network)
    }

    /// Plugs in a host.
    ///
    /// # Errors
    /// When its network stack cannot be made.
    pub fn host(&self, address: Ipv4Addr) -> io::Result<Host> {
        let stack = Stack::new()?;
        let number = address.octets()[3];
        // A second host on an address takes over its link address too: the others need not find out.
        let link = format!("02:00:00:00:01:{number:02x}");
        // What an earlier host on this address has left goes with its stack, but not at once.
        let port = format!("port{}", stack.holder.id());
        ip(&format!(
            "link add {port} type veth peer name eth0 address {link} netns {}\n\
             link set {port} master switch up\n",
            stack.holder.id()
        ))?;
        let host = Host { stack, port, inside: own_stack()? };
        host.run(&format!(
            "link set lo up\n\
             address add {address}/24 dev eth0\n\
             link set eth0 up\n"
        ))?;
        Ok(host)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = move_in(&self.outside);
    }
}

/// One host of a network.
pub struct Host {
    stack: Stack,
    /// The switch's end of its cable.
    port: String,
    /// The network's, to come back to.
    inside: File,
}

impl Host {
    /// Does something on this host: sockets opened and children started meanwhile are the host's.
    ///
    /// # Panics
    /// When this thread cannot come back: all that follows would happen on the wrong host.
    pub fn enter<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.stack.move_in()?;
        let done = work();
        move_in(&self.inside).expect("this thread came from there");
        done
    }

    /// From now on nothing that this host sends reaches the other.
    ///
    /// # Errors
    /// When `ip` says so.
    pub fn cut(&self, to: Ipv4Addr) -> io::Result<()> {
        self.run(&format!("neighbour replace {to} lladdr {NOWHERE} nud permanent dev eth0\n"))
    }

    /// Takes back every cut.
    ///
    /// # Errors
    /// When `ip` says so.
    pub fn mend(&self) -> io::Result<()> {
        self.run("neighbour flush nud permanent dev eth0\n")
    }

    /// Pulls its cable out, for good.
    ///
    /// # Errors
    /// When `ip` says so.
    pub fn unplug(&self) -> io::Result<()> {
        self.run("link set eth0 down\n")
    }

    /// From now on what others send to this host arrives at this rate at most.
    ///
    /// # Errors
    /// When `tc` says so.
    pub fn slow_down(&self, megabits_a_second: u32) -> io::Result<()> {
        let script = format!(
            "qdisc replace dev {} root tbf rate {megabits_a_second}mbit burst 256kb latency 400ms\n",
            self.port
        );
        batch("tc", &script)
    }

    fn run(&self, script: &str) -> io::Result<()> {
        self.enter(|| ip(script))
    }
}

/// A network stack, which lasts as long as the process that holds it.
struct Stack {
    holder: Child,
    file: File,
}

impl Stack {
    fn new() -> io::Result<Self> {
        let own = name_of("thread-self")?;
        let mut sleep = Command::new("unshare");
        sleep.args(["--net", "sleep", "infinity"]);
        let holder = Child::spawn(sleep)?;
        let pid = holder.id().to_string();
        // The stack is new once `unshare` has done its work, a few milliseconds after the fork.
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(5));
            if !holder.is_running() {
                break;
            }
            if name_of(&pid)? != own {
                return Ok(Self { file: File::open(format!("/proc/{pid}/ns/net"))?, holder });
            }
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "unshare --net: this process may not make a network"))
    }

    fn move_in(&self) -> io::Result<()> {
        move_in(&self.file)
    }
}

fn own_stack() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

fn name_of(process: &str) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/net"))
}

fn move_in(stack: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(stack.as_fd(), Some(LinkNameSpaceType::Network))?)
}

fn ip(script: &str) -> io::Result<()> {
    batch("ip", script)
}

/// Runs lines of `ip` or `tc` on the host that this thread is on.
fn batch(program: &str, script: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    let command = command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().expect("stdin was asked to be a pipe").write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("{program}: {}", said.trim()))) }
}
