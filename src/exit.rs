//! The exit codes.

/// Exit codes, an interface for units: see sysexits.h and systemd.exec(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The file is written, or the dry run was printed.
    Done = 0,
    /// EX_USAGE: the command line is wrong.
    Usage = 64,
    /// EX_UNAVAILABLE: AWS or the instance metadata.
    Unavailable = 69,
    /// EX_TEMPFAIL: not now, try again.
    TryAgain = 75,
    /// EX_CONFIG: a person must look.
    NeedsOperator = 78,
}
