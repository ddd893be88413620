//! The fuzz targets over their corpora, and over a few thousand mutations of them: what libFuzzer does for hours with
//! `make fuzz`, for a moment. What it finds is kept as a further seed.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::Path;
use std::time::{Duration, Instant};

/// Mutations of each seed.
const MUTATIONS: u64 = 300;

/// Far more than any input of a few KB takes on a busy machine: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(5);

macro_rules! every_input_is_survived {
    ($($target:ident),+) => {
        $(
            #[test]
            fn $target() {
                try_all(stringify!($target), targets::$target);
            }
        )+
    };
}

every_input_is_survived!(wal, database, identity, peer, file, options, observation, authorities, answer, listing);

fn try_all(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let seeds = std::fs::read_dir(&corpus).expect("every target has a corpus").map(|seed| seed.unwrap().path());
    let mut seeds: Vec<_> = seeds.map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty(), "{} is empty", corpus.display());
    seeds.sort();
    for (seed, number) in seeds.iter().flat_map(|seed| (0..MUTATIONS).map(move |number| (seed, number))) {
        let mut rng = fastrand::Rng::with_seed(number);
        let input = if number == 0 { seed.clone() } else { mutate(seed, &mut rng) };
        let began = Instant::now();
        let survived = std::panic::catch_unwind(|| target(&input)).is_ok() && began.elapsed() < PATIENCE;
        assert!(survived, "{name} does not survive: {}", input.escape_ascii());
    }
}

/// One to four of the changes that programs get wrong.
fn mutate(seed: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    const EXTREMES: [&[u8]; 10] =
        [b"0", b"-1", b"4294967295", b"18446744073709551615", b"1e999", b"null", b"[]", b"\xff\xff", b"\0", b"[::1]:0"];
    let mut bytes = seed.to_vec();
    for _ in 0..rng.usize(1..=4) {
        let place = rng.usize(..=bytes.len());
        match rng.u8(..6) {
            0 => bytes.truncate(place),
            1 => bytes.splice(place..place, EXTREMES[rng.usize(..EXTREMES.len())].iter().copied()).for_each(drop),
            2 => replace_number(&mut bytes, place, EXTREMES[rng.usize(..EXTREMES.len())]),
            3 => drop(bytes.drain(place..(place + rng.usize(..16)).min(bytes.len())).collect::<Vec<_>>()),
            4 => bytes.extend_from_within(place..),
            _ => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << rng.u8(..8)),
        }
    }
    bytes
}

/// The first number after a place becomes another.
fn replace_number(bytes: &mut Vec<u8>, place: usize, by: &[u8]) {
    let Some(start) = (place..bytes.len()).find(|i| bytes[*i].is_ascii_digit()) else { return };
    let end = (start..bytes.len()).find(|i| !bytes[*i].is_ascii_digit()).unwrap_or(bytes.len());
    bytes.splice(start..end, by.iter().copied()).for_each(drop);
}
