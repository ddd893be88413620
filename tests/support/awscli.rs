//! The real AWS CLI, whose AWS is moto, and the CloudFormation template as moto takes it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// moto knows real regions only.
pub const REGION: &str = "eu-west-1";

/// The CLI, and where it is called.
pub struct AwsCli {
    /// moto.
    pub url: String,
    pub directory: PathBuf,
}

impl AwsCli {
    /// A program that calls moto where it would call AWS.
    pub fn command(&self, program: &str) -> Command {
        let path = format!("{}:{}", tool("").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .env("PATH", path)
            .env("AWS_ENDPOINT_URL", &self.url)
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_DEFAULT_REGION", REGION)])
            .envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"), ("AWS_PAGER", "")]);
        command
    }

    /// One call, its words with blanks between them; null where it prints nothing.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn call(&self, words: &str) -> Result<Value, String> {
        let mut command = self.command(&tool("aws").to_string_lossy());
        let done = command.args(words.split_whitespace()).args(["--output", "json"]).output();
        let done = done.map_err(|error| format!("aws {words}: {error}"))?;
        if !done.status.success() {
            return Err(format!("aws {words}: {}", String::from_utf8_lossy(&done.stderr)));
        }
        Ok(serde_json::from_slice(&done.stdout).unwrap_or_default())
    }
}

/// A program of `tests/tools/install moto aws`, or their directory.
pub fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin").join(name)
}

/// The template as `make dist` makes it.
///
/// # Panics
/// When it cannot be made.
pub fn template() -> String {
    let done = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("cloudformation/render")).output();
    let done = done.expect("cloudformation/render can be run");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("it is text")
}

/// The same without its listener: moto takes every load balancer for an application's, and refuses TCP.
///
/// # Panics
/// When it has none.
pub fn template_for_moto() -> String {
    let template = template();
    let (before, rest) = template.split_once("  Listener:\n").expect("it has a listener");
    let after = rest.find("\n\n").expect("there is more behind the listener");
    format!("{before}{}", &rest[after..]).replace("    DependsOn: Listener\n", "")
}
