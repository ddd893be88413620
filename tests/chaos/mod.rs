//! Weather: real etcds and real agents on the fake cloud, while instances die, are frozen and cut off, get older copies
//! of their disks, AWS fails and lags or lets nobody tag, and clients read and write. After each round of faults comes
//! calm, and then within a bound: one cluster id ever, exactly the group's instances as voters, no acknowledged write
//! lost, every register linearizable, and a whole snapshot of every member.
//!
//!     make chaos ROUNDS=200 SEED=7 NODES=5 ETCD=target/etcd/3.6.16/etcd
//!
//! A seed gives the schedule, not every thread's timing: a failure that does not come again is one all the same.

mod clients;
mod schedule;
mod weather;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use stateright::semantics::register::{RegisterOp, RegisterRet};

use crate::support::etcd;
use crate::support::node::Programs;

use clients::{Event, linearizable};
use schedule::{Fault, Schedule};
use weather::Weather;

/// A cluster lives so many rounds: forming in the weather is to be seen often too.
const LIFE: usize = 10;

/// What is to be played.
struct Play {
    programs: Programs,
    nodes: usize,
    rounds: usize,
    seed: u64,
}

/// What was survived.
#[derive(Default)]
struct Tally {
    rounds: usize,
    faults: BTreeMap<Fault, usize>,
    longest_calm: Duration,
    acknowledged: usize,
    unanswered: usize,
}

impl Play {
    /// Plays clusters of ten rounds each, the first with this seed, the second with the next one.
    async fn play(&self, tally: &mut Tally) -> Result<(), String> {
        let lives = (0..self.rounds).step_by(LIFE);
        for (seed, first) in (self.seed..).zip(lives) {
            self.live(seed, LIFE.min(self.rounds - first), tally).await?;
        }
        Ok(())
    }

    /// One cluster, from its forming on.
    async fn live(&self, seed: u64, rounds: usize, tally: &mut Tally) -> Result<(), String> {
        fastrand::seed(seed);
        let mut weather = Weather::begin(&self.programs, self.nodes)?;
        for round in 1..=rounds {
            let schedule = Schedule::draw(seed, round, self.nodes);
            let began = Instant::now();
            let calm = match weather.round(&schedule).await {
                Ok(calm) => calm,
                Err(why) => return Err(self.explain(&mut weather, seed, round, &schedule, &why)),
            };
            tally.rounds += 1;
            tally.longest_calm = tally.longest_calm.max(calm);
            schedule.faults.iter().for_each(|fault| *tally.faults.entry(*fault).or_default() += 1);
            let faults: Vec<_> = schedule.faults.iter().map(ToString::to_string).collect();
            let (took, calm) = (began.elapsed().as_secs_f64(), calm.as_secs_f64());
            let notes: String = weather.notes.iter().map(|note| format!("; {note}")).collect();
            println!(
                "seed {seed} round {round:2}: well after {took:5.1} s, {calm:5.1} s of calm: {}{notes}",
                faults.join(", ")
            );
        }
        let (acknowledged, unanswered) = weather.counts();
        tally.acknowledged += acknowledged;
        tally.unanswered += unanswered;
        Ok(())
    }

    fn explain(&self, weather: &mut Weather, seed: u64, round: usize, schedule: &Schedule, why: &str) -> String {
        let (etcd, nodes) = (self.programs.etcd.display(), self.nodes);
        format!(
            "seed {seed}, round {round}: {why}\n\
             again: make chaos SEED={seed} ROUNDS={round} NODES={nodes} ETCD={etcd}\n\
             schedule: {schedule}\n{}",
            weather.explain()
        )
    }

    fn print(&self, tally: &Tally, took: Duration) {
        println!("\netcd               {}", etcd::version_of(&self.programs.etcd).unwrap_or_default());
        println!("nodes              {}", self.nodes);
        println!("rounds survived    {} of {}", tally.rounds, self.rounds);
        println!("first seed         {}", self.seed);
        println!("seconds            {:.0}", took.as_secs_f64());
        println!("longest calm       {:.1} s until all was well", tally.longest_calm.as_secs_f64());
        println!("client operations  {} acknowledged, {} not", tally.acknowledged, tally.unanswered);
        for (fault, times) in &tally.faults {
            println!("{times:18} {fault}");
        }
    }
}

async fn play(play: Play) {
    let began = Instant::now();
    let mut tally = Tally::default();
    let played = play.play(&mut tally).await;
    play.print(&tally, began.elapsed());
    if let Err(why) = played {
        panic!("{why}");
    }
}

const AGENT: &str = env!("CARGO_BIN_EXE_etcd-bootstrap");

fn programs(agent: PathBuf, etcd: PathBuf) -> Programs {
    let absolute = |path: PathBuf| path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Programs { agent: absolute(agent), etcd: absolute(etcd) }
}

/// The value of an environment variable, which `make chaos` sets.
fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name).ok().filter(|text| !text.is_empty()) {
        None => default,
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not understood")),
    }
}

#[tokio::test]
async fn r25_four_rounds_of_weather_and_snapshots_leave_one_whole_cluster() {
    let etcd = etcd::find("target".as_ref()).expect("the tests need an etcd");
    play(Play { programs: programs(AGENT.into(), etcd), nodes: 3, rounds: 4, seed: 1 }).await;
}

#[tokio::test]
#[ignore = "takes as long as it is told to: make chaos"]
async fn as_many_rounds_as_asked() {
    let programs = programs(variable("AGENT", AGENT.into()), etcd::find("target".as_ref()).expect("an etcd"));
    let (nodes, rounds) = (variable("NODES", 3), variable("ROUNDS", 20));
    play(Play { programs, nodes, rounds, seed: variable("SEED", fastrand::u64(..1 << 32)) }).await;
}

#[test]
fn a_seed_gives_the_schedule_and_a_majority_keeps_its_data() {
    for (seed, round) in (0..500).flat_map(|seed| (1..=4).map(move |round| (seed, round))) {
        let schedule = Schedule::draw(seed, round, 5);
        assert_eq!(schedule, Schedule::draw(seed, round, 5));
        let mut destroyed: Vec<_> = schedule.steps.iter().filter_map(|(_, step)| step.destroys()).collect();
        destroyed.extend(schedule.restored.map(|restored| restored.slot));
        destroyed.sort_unstable();
        destroyed.dedup();
        assert!(destroyed.len() <= 2, "{schedule}");
    }
}

#[test]
fn a_restored_disk_is_the_only_one_lost_of_three_and_was_copied_before() {
    let mut ages = BTreeMap::<_, usize>::new();
    for (seed, round) in (0..500).flat_map(|seed| (1..=4).map(move |round| (seed, round))) {
        let schedule = Schedule::draw(seed, round, 3);
        let Some(restored) = schedule.restored else { continue };
        assert!(schedule.steps.iter().all(|(_, step)| step.destroys().is_none()), "{schedule}");
        if let Some(before) = round.checked_sub(restored.age).filter(|before| *before > 0) {
            assert!(Schedule::draw(seed, before, 3).copied.contains(&(round, restored.slot)), "{schedule}");
        }
        assert!(round > 1, "{schedule}");
        *ages.entry(restored.age).or_default() += 1;
    }
    assert_eq!(ages.len(), 3, "{ages:?}");
}

#[test]
fn a_stale_read_is_found() {
    let write = |client, value| {
        [Event::Invoked(client, RegisterOp::Write(Some(value))), Event::Returned(client, RegisterRet::WriteOk)]
    };
    let read =
        |client, value| [Event::Invoked(client, RegisterOp::Read), Event::Returned(client, RegisterRet::ReadOk(value))];
    assert!(linearizable(&[write(1, 10), read(2, Some(10)), write(1, 11), read(2, Some(11))].concat()));
    assert!(!linearizable(&[write(1, 10), write(1, 11), read(2, Some(10))].concat()));
    assert!(!linearizable(&[write(1, 10), read(2, None)].concat()));
    // Without an answer a write may have happened or not, but once it was seen it has.
    let unanswered = vec![Event::Invoked(3, RegisterOp::Write(Some(12)))];
    let with =
        |reads: &[[Event; 2]]| linearizable(&[write(1, 10).to_vec(), unanswered.clone(), reads.concat()].concat());
    assert!(with(&[read(2, Some(10)), read(2, Some(10))]));
    assert!(with(&[read(2, Some(10)), read(2, Some(12))]));
    assert!(!with(&[read(2, Some(12)), read(2, Some(10))]));
}
