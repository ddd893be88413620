//! Owns the form of log lines on stderr and which of them are shown. What is logged is up to `main` and `run`.
//!
//! Must not let the wire speak: requests of hyper, h2 and the AWS SDK carry tokens and credentials
//! in their headers, so beyond warnings only the targets named here are ever shown.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::process;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{LookupSpan, Registry};

/// The targets of our own library and binary.
const OURS: &str = "etcd_bootstrap";

/// What others may say at the highest verbosity: connections and handshakes, never what goes over them.
/// hyper, h2, tonic and everything of AWS is left out: aws-smithy-runtime's debug lines hold whole requests.
const OTHERS_WITHOUT_SECRETS: [&str; 3] = ["hyper_util::client::legacy::connect", "reqwest::connect", "rustls"];

/// Their warnings come with every call and say what the error of the call says too.
const SAID_BY_OURS: [&str; 2] = ["aws_config::imds::credentials", "aws_config::meta::credentials"];

/// The verbosities from which more is shown, as `-v=N` of gambol99/etcd-discovery used them.
const VERBOSE: u8 = 2;
const VERY_VERBOSE: u8 = 10;

const GLOG_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[month][day] [hour]:[minute]:[second].[subsecond digits:6]");
const JSON_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `I1121 08:44:00.123456   1234 decide.rs:42] message key=value`, times in UTC.
    Glog,
    /// One object a line: `ts`, `level`, `caller`, `msg`, then the fields.
    Json,
    /// `<6>message key=value`: journald reads the priority and has time and process itself
    /// (sd-daemon(3); SyslogLevelPrefix= of systemd.exec(5)).
    Journald,
}

/// Sends all log lines of the process to stderr from now on.
///
/// Verbosity 0 shows info of ours and warnings of others, 2 our debug lines too, 10 those of others that
/// are known to hold no secrets. May be called once.
pub fn init(format: Format, verbosity: u8) {
    tracing::subscriber::set_global_default(subscriber(format, verbosity, std::io::stderr))
        .expect("main alone sets up the log, and once");
}

fn subscriber<W>(format: Format, verbosity: u8, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().event_format(Lines(format)).with_writer(writer);
    Registry::default().with(lines.with_filter(filter(verbosity)))
}

fn filter(verbosity: u8) -> Targets {
    let ours = if verbosity >= VERBOSE { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let targets = Targets::new().with_default(LevelFilter::WARN).with_target(OURS, ours);
    let targets = targets.with_targets(SAID_BY_OURS.map(|target| (target, LevelFilter::ERROR)));
    if verbosity < VERY_VERBOSE {
        return targets;
    }
    targets.with_targets(OTHERS_WITHOUT_SECRETS.map(|target| (target, LevelFilter::DEBUG)))
}

struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let line = Line::of(event, OffsetDateTime::now_utc());
        let text = match self.0 {
            Format::Glog => line.render_glog(process::id()),
            Format::Json => line.render_json(),
            Format::Journald => line.render_journald(),
        };
        writeln!(out, "{text}")
    }
}

/// One event, taken apart.
struct Line {
    at: OffsetDateTime,
    level: Level,
    /// File name without directories, and line.
    caller: String,
    parts: Parts,
}

impl Line {
    fn of(event: &Event<'_>, at: OffsetDateTime) -> Self {
        let metadata = event.metadata();
        let file = Path::new(metadata.file().unwrap_or("unknown")).file_name().unwrap_or_default();
        let caller = format!("{}:{}", file.to_string_lossy(), metadata.line().unwrap_or(0));
        let mut parts = Parts::default();
        event.record(&mut parts);
        Self { at, level: *metadata.level(), caller, parts }
    }

    fn render_glog(&self, process: u32) -> String {
        let letter = match self.level {
            Level::ERROR => 'E',
            Level::WARN => 'W',
            // glog has no letter below I: what its V() lets through is printed as I.
            _ => 'I',
        };
        let at = render_time(self.at, GLOG_TIME);
        format!("{letter}{at} {process:>6} {}] {}", self.caller, self.parts.render())
    }

    fn render_journald(&self) -> String {
        // syslog(3): 3 error, 4 warning, 6 informational, 7 debug.
        let priority = match self.level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        format!("<{priority}>{}", self.parts.render())
    }

    fn render_json(&self) -> String {
        let head = [
            ("ts", render_time(self.at, JSON_TIME)),
            ("level", self.level.as_str().to_ascii_lowercase()),
            ("caller", self.caller.clone()),
            ("msg", self.parts.message.clone()),
        ];
        let is_head = |name: &str| head.iter().any(|(taken, _)| *taken == name);
        let mut members: Vec<String> =
            head.iter().map(|(name, text)| format!("\"{name}\":{}", Value::from(text.as_str()))).collect();
        for (name, value) in &self.parts.fields {
            // A key that comes twice is lost in most readers.
            let mark = if is_head(name) { "_" } else { "" };
            members.push(format!("{}:{value}", Value::from(format!("{name}{mark}"))));
        }
        format!("{{{}}}", members.join(","))
    }
}

fn render_time(at: OffsetDateTime, format: &[BorrowedFormatItem<'_>]) -> String {
    at.format(format).expect("a date with all of its parts can be printed in these formats")
}

/// The message and the fields of an event, in the order of the call.
#[derive(Default)]
struct Parts {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Parts {
    /// `message key=value …` on one line, whatever is in them.
    fn render(&self) -> String {
        let mut text = escape_controls(&self.message);
        for (name, value) in &self.fields {
            if !text.is_empty() {
                text.push(' ');
            }
            let value = match value {
                Value::String(value) => quote_if_needed(value),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    value.to_string()
                }
            };
            text.extend([name, "=", &value]);
        }
        text
    }

    fn push(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.extend([": ", &error.to_string()]);
            cause = error.source();
        }
        self.push(field, Value::from(text));
    }
}

/// Nobody may begin a line of our log by putting a line break into a name.
fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn quote_if_needed(text: &str) -> String {
    let is_quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let needs_none = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
    // The Debug form of a text comes with its quotes and without line breaks.
    if needs_none || (is_quoted && !text.contains(char::is_control)) {
        return text.to_owned();
    }
    let mut quoted = String::new();
    write!(quoted, "{text:?}").expect("writing to a String never fails");
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use time::macros::datetime;
    use tracing::{debug, error, info, trace, warn};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics while it holds this").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Buffer {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(format: Format, verbosity: u8, act: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        tracing::subscriber::with_default(subscriber(format, verbosity, buffer.clone()), act);
        let bytes = buffer.0.lock().expect("no test panics while it holds this").clone();
        String::from_utf8(bytes).expect("log lines are text")
    }

    fn line(level: Level, message: &str, fields: Vec<(&'static str, Value)>) -> Line {
        let at = datetime!(2026-11-21 08:44:00.123456789 UTC);
        let parts = Parts { message: message.to_owned(), fields };
        Line { at, level, caller: "decide.rs:42".to_owned(), parts }
    }

    #[test]
    fn a_glog_line_is_exactly_this() {
        let fields = vec![("seen", Value::from("1/3")), ("why", Value::from("no leader")), ("n", Value::from(3))];
        assert_eq!(
            line(Level::INFO, "message", fields).render_glog(1234),
            "I1121 08:44:00.123456   1234 decide.rs:42] message seen=1/3 why=\"no leader\" n=3"
        );
        let letters = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE]
            .map(|level| line(level, "m", vec![]).render_glog(1).chars().next());
        assert_eq!(letters, ['E', 'W', 'I', 'I', 'I'].map(Some));
    }

    #[test]
    fn the_longest_process_id_stays_a_word_of_its_own() {
        let text = line(Level::INFO, "m", vec![]).render_glog(4_194_304);
        assert_eq!(text, "I1121 08:44:00.123456 4194304 decide.rs:42] m");
    }

    #[test]
    fn a_json_line_is_exactly_this() {
        let fields = vec![("level", Value::from("x")), ("n", Value::from(3)), ("ok", Value::from(true))];
        assert_eq!(
            line(Level::WARN, "say \"a\"\n", fields).render_json(),
            "{\"ts\":\"2026-11-21T08:44:00.123456Z\",\"level\":\"warn\",\"caller\":\"decide.rs:42\",\
             \"msg\":\"say \\\"a\\\"\\n\",\"level_\":\"x\",\"n\":3,\"ok\":true}"
        );
    }

    #[test]
    fn a_journald_line_begins_with_its_priority() {
        let priorities = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE]
            .map(|level| line(level, "m", vec![("k", Value::from("v"))]).render_journald());
        assert_eq!(priorities, ["<3>m k=v", "<4>m k=v", "<6>m k=v", "<7>m k=v", "<7>m k=v"]);
    }

    #[test]
    fn events_keep_their_caller_message_and_fields() {
        let here = line!() + 2;
        let text = logged(Format::Glog, 0, || {
            info!(decision = "wait", count = 2, name = ?"a b", path = %"/x", "group unsettled");
        });
        let head = format!(" log.rs:{here}] group unsettled decision=wait count=2 name=\"a b\" path=/x\n");
        assert!(text.ends_with(&head), "{text}");
        assert!(text.starts_with('I') && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("list members")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let outer = Outer(io::Error::other("refused"));
        let text = logged(Format::Journald, 0, || error!(error = &outer as &dyn Error, "giving up"));
        assert_eq!(text, "<3>giving up error=\"list members: refused\"\n");
    }

    #[test]
    fn a_line_break_in_a_name_begins_no_line() {
        let name = "i-1\n<0>all is lost";
        for format in [Format::Glog, Format::Json, Format::Journald] {
            let text = logged(format, 0, || warn!(name, debug = ?name, "found '{name}'"));
            assert_eq!(text.matches('\n').count(), 1, "{text}");
        }
    }

    #[test]
    fn verbosity_widens_what_is_shown_but_never_to_the_wire() {
        let speak = || {
            trace!("own trace");
            debug!("own debug");
            info!("own info");
            info!(target: "rustls::client", "other info");
            debug!(target: "rustls::client", "other debug");
            warn!(target: "aws_config::imds", "other warning");
            debug!(target: "hyper::proto::h1", "header");
            debug!(target: "h2::codec", "header");
            debug!(target: "aws_smithy_runtime::client::orchestrator", "x-amz-security-token");
            trace!(target: "rustls::client", "bytes");
        };
        let shown = |verbosity| -> Vec<String> {
            logged(Format::Journald, verbosity, speak).lines().map(|line| line[3..].to_owned()).collect()
        };
        assert_eq!(shown(0), ["own info", "other warning"]);
        assert_eq!(shown(1), shown(0));
        assert_eq!(shown(2), ["own debug", "own info", "other warning"]);
        assert_eq!(shown(9), shown(2));
        assert_eq!(shown(10), ["own debug", "own info", "other info", "other debug", "other warning"]);
        assert_eq!(shown(255), shown(10));
    }
}
