//! A fleet of consumers on this machine: what it asks of AWS, and how soon it follows the cluster. Real etcds, real agents
//! on the members, and a fake AWS that throttles as AWS does; the consumers are the shipped command, each with its own
//! files, as tasks of one process. Ends with a table; fails where a consumer is left behind.
//!
//!     make consumers COUNT=10000

#[path = "consumers/fleet.rs"]
mod fleet;
#[path = "consumers/story.rs"]
mod story;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use support::etcd;
use support::node::Programs;

/// Lets a fleet of consumers follow a cluster that changes.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How many consumers
    #[arg(long, default_value_t = 10_000)]
    count: usize,

    /// Etcd to run [default: $ETCD, the newest in target/etcd/, or the one on PATH]
    #[arg(long, value_name = "PATH")]
    etcd: Option<PathBuf>,

    /// The agent of the members [default: etcd-bootstrap of this build]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,

    /// Be the fleet, with files in this directory and these options
    #[arg(long, value_name = "DIR", hide = true)]
    fleet: Option<PathBuf>,

    #[arg(last = true, hide = true)]
    options: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some(directory) = &options.fleet {
        return runtime.block_on(fleet::run(directory, options.count, &options.options));
    }
    let told = runtime.block_on(async {
        let programs = Programs { agent: find_agent(&options)?, etcd: find_etcd(&options)? };
        println!("etcd {}, {} consumers", etcd::version_of(&programs.etcd)?, options.count);
        story::tell(programs, options.count).await
    });
    match told {
        Ok(table) => {
            println!("\n{table}\nOK: everything is as it must be");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("\nFAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

fn find_etcd(options: &Options) -> Result<PathBuf, String> {
    match &options.etcd {
        Some(path) => Ok(path.clone()),
        None => etcd::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target")),
    }
}

fn find_agent(options: &Options) -> Result<PathBuf, String> {
    let beside = || {
        let own = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
        let profile = own.ancestors().nth(2).ok_or("this program is not in target/PROFILE/examples")?;
        Ok(profile.join("etcd-bootstrap"))
    };
    let agent = options.agent.clone().map_or_else(beside, Ok::<_, String>)?;
    if agent.is_file() { Ok(agent) } else { Err(format!("there is no {}: make consumers", agent.display())) }
}
