//! The main job on one machine without an AWS account: a fake cloud that speaks the real protocols,
//! the real agent, real etcds. It tells the story of a cluster and ends with a table; it fails when
//! anything is not as it must be.
//!
//!     cargo run --example sandbox -- --nodes 5 --json report.json
//!
//! The cloud is `tests/support`, the story `sandbox/story.rs`; here is what can be changed (`--help`) and how it ends.

#[path = "sandbox/crowd.rs"]
mod crowd;
#[path = "sandbox/disaster.rs"]
mod disaster;
#[path = "sandbox/losses.rs"]
mod losses;
#[path = "sandbox/report.rs"]
mod report;
#[path = "sandbox/rollout.rs"]
mod rollout;
#[path = "sandbox/stage.rs"]
mod stage;
#[path = "sandbox/story.rs"]
mod story;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;

use report::Benchmark;
use rollout::RolloutOptions;
use story::Story;
use support::aws::Action;
use support::etcd;
use support::node::Programs;

/// Plays the life of an etcd cluster in a fake cloud on this machine.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Instances in the group at first; of fewer than three, none may be lost
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=60))]
    nodes: u32,

    /// What is told: the life of a cluster, an instance refresh while clients write, or how it is recovered from two losses
    #[arg(long, value_name = "NAME", value_enum, default_value = "life")]
    story: Which,

    /// How etcd's ports speak: https by certificates that each node has signed by a key of KMS, or in the clear
    #[arg(long, value_name = "SCHEME", value_enum, default_value = "https")]
    scheme: Scheme,

    #[command(flatten)]
    rollout: RolloutOptions,

    /// Leave everything running at the end, until Ctrl-C, and say how to look at it
    #[arg(long)]
    keep: bool,

    /// Write the numbers to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Etcd to run [default: $ETCD, the newest in target/etcd/, or the one on PATH]
    #[arg(long, value_name = "PATH")]
    etcd: Option<PathBuf>,

    /// Agent to run [default: etcd-bootstrap of this build]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,

    /// Only what is measured, so many times, and print medians
    #[arg(long, value_name = "N")]
    runs: Option<usize>,

    /// What `--runs` measures: formations alone, or replacements too, of whoever is lost
    #[arg(long, value_name = "WHAT", value_enum, default_value = "replacements")]
    measure: Measure,

    /// Boot the first instances this far apart
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    skew: Duration,

    /// Wait this long before a change that is measured: etcd refuses changes in its first 5 s
    #[arg(long, value_name = "DURATION", default_value = "6s", value_parser = humantime::parse_duration)]
    settle: Duration,

    /// How long each scene may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    patience: Duration,

    /// The agents' deadline
    #[arg(long, value_name = "DURATION", default_value = "infinity")]
    deadline: String,

    /// Option passed on to every run of the agent (repeatable)
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    agent_option: Vec<String>,

    /// AWS throttles this part of the calls, 0 to 1
    #[arg(long, value_name = "PART", help_heading = "Faults")]
    throttle: Option<f64>,

    /// AWS closes the connection on this part of the calls
    #[arg(long, value_name = "PART", help_heading = "Faults")]
    drop: Option<f64>,

    /// AWS answers this part of the calls with HTTP 500
    #[arg(long, value_name = "PART", help_heading = "Faults")]
    fail: Option<f64>,

    /// AWS answers this much later
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Faults")]
    delay: Option<Duration>,

    /// AWS shows the groups as they were this long ago
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Faults")]
    stale: Option<Duration>,

    /// AWS gives at most so many entries a page
    #[arg(long, value_name = "N", help_heading = "Faults")]
    page_size: Option<usize>,

    /// The role may not call this action (repeatable)
    #[arg(long, value_name = "ACTION", value_parser = parse_action, help_heading = "Faults")]
    deny: Vec<Action>,
}

/// How etcd's ports speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    #[default]
    Https,
    Http,
}

/// What a benchmark measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Measure {
    Formations,
    Replacements,
}

/// The stories that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    Life,
    Rollout,
    Disaster,
}

fn parse_action(name: &str) -> Result<Action, String> {
    let names = Action::ALL.map(Action::name).join(", ");
    Action::named(name).ok_or_else(|| format!("not one of {names}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let played = tokio::select! {
        played = play(&options) => played,
        _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
    };
    match played {
        Ok(story) => {
            println!("\nOK: everything is as it must be");
            if let Some(story) = story {
                story.keep().await;
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("\nFAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Plays what was asked for; returns the story where it is to be kept.
async fn play(options: &Options) -> Result<Option<Story<'_>>, String> {
    let programs = Programs { agent: find_agent(options)?, etcd: find_etcd(options)? };
    let version = etcd::version_of(&programs.etcd)?;
    println!("etcd {version} ({}), agent {}", programs.etcd.display(), programs.agent.display());
    if options.story == Which::Rollout {
        write_json(options, &rollout::play(options, &programs, version).await?)?;
        return Ok(None);
    }
    if options.story == Which::Disaster {
        write_json(options, &disaster::play(options, &programs, version).await?)?;
        return Ok(None);
    }
    if let Some(runs) = options.runs {
        write_json(options, &benchmark(options, &programs, version, runs).await?)?;
        return Ok(None);
    }
    let story = tell_story(options, &programs, version).await?;
    write_json(options, &story.report)?;
    Ok(options.keep.then_some(story))
}

fn write_json(options: &Options, report: &impl serde::Serialize) -> Result<(), String> {
    let Some(path) = &options.json else { return Ok(()) };
    let json = serde_json::to_string_pretty(report).expect("a report is plain data") + "\n";
    std::fs::write(path, json).map_err(|error| format!("write {}: {error}", path.display()))
}

async fn tell_story<'a>(options: &'a Options, programs: &Programs, version: String) -> Result<Story<'a>, String> {
    let mut story = Story::begin(options, programs, version)?;
    if let Err(why) = story.play_all().await {
        return Err(story.explain(&why));
    }
    println!("\n{}", story.report);
    Ok(story)
}

async fn benchmark(options: &Options, programs: &Programs, version: String, runs: usize) -> Result<Benchmark, String> {
    let mut reports = Vec::new();
    for run in 1..=runs {
        println!("\n--- run {run} of {runs}");
        let mut story = Story::begin(options, programs, version.clone())?;
        if let Err(why) = story.compare().await {
            return Err(format!("run {run}: {}", story.explain(&why)));
        }
        reports.push(story.report.clone());
    }
    let benchmark = Benchmark::of(reports);
    println!("\n{benchmark}");
    Ok(benchmark)
}

fn find_etcd(options: &Options) -> Result<PathBuf, String> {
    match &options.etcd {
        Some(path) => Ok(path.clone()),
        None => etcd::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target")),
    }
}

/// The agent beside this example. Under `cargo run` it is built first: cargo does that for tests,
/// not for examples, and an old one would tell an old story.
fn find_agent(options: &Options) -> Result<PathBuf, String> {
    if let Some(path) = &options.agent {
        return Ok(path.clone());
    }
    let own = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let profile = own.ancestors().nth(2).ok_or("this program is not in target/PROFILE/examples")?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        build_agent(Path::new(&cargo), profile.ends_with("release"))?;
    }
    let agent = profile.join("etcd-bootstrap");
    if agent.is_file() { Ok(agent) } else { Err(format!("there is no {}: cargo build --release", agent.display())) }
}

fn build_agent(cargo: &Path, release: bool) -> Result<(), String> {
    let mut build = Command::new(cargo);
    // Together with the example, so that dependencies are built with the same features, once.
    build.args(["build", "--quiet", "--bin", "etcd-bootstrap", "--example", "sandbox"]);
    build.args(release.then_some("--release")).current_dir(env!("CARGO_MANIFEST_DIR"));
    match build.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("build the agent: {status}")),
        Err(error) => Err(format!("build the agent: {error}")),
    }
}
