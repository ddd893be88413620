//! Observations that real runs have saved, decided again. A file is named after what is decided of it, `wait-no-quorum`; where
//! there are several, what is special follows: `wait-no-quorum@two-of-five`. What went wrong on somebody's node becomes a
//! file here, and files of older versions stay readable.

use std::path::{Path, PathBuf};

use etcd_bootstrap::decide::decide;
use etcd_bootstrap::files::saved::{Record, read_record};
use etcd_bootstrap::report::name;

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn read(file: &Path) -> Record {
    read_record(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

#[test]
fn what_was_seen_is_decided_as_it_was() {
    let files = files("tests/observations");
    assert!(files.len() >= 40, "{files:?}");
    for file in files {
        let Record { policy, observation, .. } = read(&file);
        let decided = decide(&observation, &policy);
        let stem = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let expected = stem.split('@').next().unwrap_or_default();
        let is = format!("{}-{}", name(&decided.action), decided.reason.code());
        assert_eq!(is, expected, "{stem}: {decided:#?}");
    }
}

/// A mutation of what is not understood in the first place finds nothing.
#[test]
fn the_seeds_of_the_fuzz_target_are_saved_observations() {
    for seed in files("fuzz/corpus/observation") {
        read(&seed);
    }
}
