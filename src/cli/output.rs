//! The options of what is printed, and where.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::compat::go_bool;
use crate::config::Output;
use crate::log;

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct OutputOptions {
    /// Print what was seen, the decision and the file; write nothing, change nothing
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_DRY_RUN", value_name = "BOOL", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub dry_run: bool,

    /// How commands that only look print: `text`, or `json` on one line
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_OUTPUT", value_enum, default_value = "text")]
    pub output: Output,

    /// Where `watch` writes metrics, as Prometheus's textfile collector reads them; `run`, `ready` and a consumer write theirs
    /// beside it, as NAME.run.prom and the like [default: nowhere]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_METRICS_FILE", value_name = "PATH")]
    pub metrics_file: Option<PathBuf>,

    /// `glog` lines, `json` lines, or lines with the priority prefix of `journald`, on stderr
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_LOG_FORMAT", value_enum, default_value = "glog")]
    pub log_format: log::Format,

    /// Verbosity, as glog counts: 2 says more of this program, 10 of its libraries too; never a token or a key
    #[arg(long = "v", short = 'v', global = true, env = "ETCD_BOOTSTRAP_V", value_name = "N", default_value = "0")]
    pub v: u8,
}

/// Flags of glog that make no sense on stderr under journald: accepted, so that old unit files work, and named in a
/// warning.
#[derive(Debug, Clone, Args)]
pub struct GlogFlags {
    #[arg(long, global = true, hide = true, value_parser = go_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    logtostderr: Option<bool>,
    #[arg(long, global = true, hide = true, value_parser = go_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    alsologtostderr: Option<bool>,
    #[arg(long, global = true, hide = true)]
    vmodule: Option<String>,
    #[arg(long, global = true, hide = true)]
    stderrthreshold: Option<String>,
    #[arg(long = "log_dir", global = true, hide = true)]
    log_dir: Option<String>,
    #[arg(long = "log_backtrace_at", global = true, hide = true)]
    log_backtrace_at: Option<String>,
}

impl GlogFlags {
    /// What is set and has no effect, one sentence each.
    pub(super) fn ignored(&self) -> impl Iterator<Item = String> + use<> {
        let set = [
            (self.alsologtostderr == Some(true), "-alsologtostderr"),
            (self.logtostderr == Some(false), "-logtostderr=false"),
            (self.vmodule.is_some(), "-vmodule"),
            (self.stderrthreshold.is_some(), "-stderrthreshold"),
            (self.log_dir.is_some(), "-log_dir"),
            (self.log_backtrace_at.is_some(), "-log_backtrace_at"),
        ];
        let ignored = set.into_iter().filter(|(set, _)| *set);
        ignored.map(|(_, flag)| format!("{flag} has no effect: the log goes to stderr, ignoring it"))
    }
}
