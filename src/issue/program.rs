//! Somebody else's signer, as a program: the request on its standard input, the certificate on its standard output.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::Trouble;
use crate::certificate::Purpose;
use crate::config::Issuing;
use crate::model::Identity;

/// A signer that takes longer is not answering.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A certificate and its intermediates have a few KB each.
const MAX_ANSWER: u64 = 1 << 20;

/// The texts of authorities that its certificates have to be of.
pub fn authorities(issuing: &Issuing, purpose: Purpose) -> Result<Vec<String>, String> {
    let files = match purpose {
        Purpose::Member => vec![&issuing.peer_trusted, &issuing.trusted],
        Purpose::Client => vec![&issuing.trusted],
    };
    let read = |file: &PathBuf| fs::read_to_string(file).map_err(|e| format!("read {}: {e}", file.display()));
    files.into_iter().flatten().map(read).collect()
}

/// Has the program sign a request, PKCS#10 in PEM. What it gives is not checked here.
pub async fn sign(issuing: &Issuing, me: &Identity, request: &str) -> Result<String, Trouble> {
    let words = issuing.program.as_deref().unwrap_or_default();
    let Some((program, arguments)) = words.split_first() else {
        return Err(Trouble::Wrong("there is nobody to sign a certificate".to_owned()));
    };
    let failed = |why: String| Trouble::Unavailable(format!("have {program} sign a certificate: {why}"));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("CERTIFICATE_LIFE", humantime::format_duration(issuing.life).to_string())
        .env("CERTIFICATE_INSTANCE", me.instance.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().map_err(|e| Trouble::Wrong(format!("start {program}: {e}")))?;
    answer(child, request, TIMEOUT).await.map_err(failed)
}

/// What a program answers. One that does not within that time is killed.
async fn answer(mut child: Child, request: &str, within: Duration) -> Result<String, String> {
    let told = child.stdin.take();
    let signed = async {
        if let Some(mut stdin) = told {
            // One that reads nothing says by its answer what is wrong.
            let _ = stdin.write_all(request.as_bytes()).await;
        }
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_ANSWER).read_to_end(&mut said).await.map_err(|e| e.to_string())?;
        }
        if said.len() as u64 == MAX_ANSWER {
            return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
        }
        let status = child.wait().await.map_err(|e| e.to_string())?;
        if !status.success() {
            return Err(status.to_string());
        }
        String::from_utf8(said).map_err(|_| "its answer is no text".to_owned())
    };
    let signed = tokio::time::timeout(within, signed).await;
    signed.unwrap_or_else(|_| Err(format!("no answer within {} s", within.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command.spawn().expect("there is a shell")
    }

    /// The minute that a program has is none that a test has.
    #[tokio::test]
    async fn c20_a_program_that_hangs_is_killed_after_its_time() {
        // One that reads and says nothing; one that does not even read; and one whose child keeps its output open.
        for script in ["cat >/dev/null; exec sleep 600", "exec sleep 600", "echo half; sleep 30 & exit 0"] {
            let child = shell(script);
            let process = format!("/proc/{}", child.id().expect("it runs"));
            let request = "more than a pipe holds ".repeat(10_000);
            let why = answer(child, &request, Duration::from_secs(1)).await.expect_err(script);
            assert_eq!(why, "no answer within 1 s", "{script}");
            let began = std::time::Instant::now();
            let runs = || fs::read_to_string(format!("{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
            while runs() && began.elapsed() < Duration::from_secs(5) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(!runs(), "{script}");
        }
    }

    #[tokio::test]
    async fn c20_a_program_that_reads_nothing_may_answer() {
        let request = "more than a pipe holds ".repeat(10_000);
        let said = answer(shell("echo signed"), &request, TIMEOUT).await;
        assert_eq!(said, Ok("signed\n".to_owned()));
    }

    #[tokio::test]
    async fn c20_a_program_that_never_ends_its_answer_is_not_listened_to() {
        let why = answer(shell("exec yes"), "a request", TIMEOUT).await.expect_err("it is no certificate");
        assert_eq!(why, "its answer is longer than 1048576 bytes");
    }
}
