//! A program of a consumer node that uses etcd all the time, and what it went through.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etcd_client::{Client, ConnectOptions};

use crate::support::child::Child;

/// Between two requests.
const PACE: Duration = Duration::from_millis(100);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts this program as a client, by a command that leads into a machine's network.
///
/// # Errors
/// When it cannot be started.
pub fn start(mut command: Command, log: &Path) -> Result<Child, String> {
    let started = std::env::current_exe().and_then(|own| {
        command.arg(own).args(["--client", "http://127.0.0.1:2379"]).stdout(File::create(log)?);
        Child::spawn(command)
    });
    started.map_err(|error| format!("start the client: {error}"))
}

/// Writes and reads one key until killed; prints the time and the result of each request.
///
/// # Errors
/// When the endpoint is none.
pub async fn run(endpoint: &str) -> Result<(), String> {
    let options = ConnectOptions::new().with_connect_timeout(REQUEST_TIMEOUT).with_timeout(REQUEST_TIMEOUT);
    let client = Client::connect([endpoint], Some(options)).await.map_err(|error| error.to_string())?;
    for number in 0_u64.. {
        let result = request(client.clone(), number).await;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        println!("{at} {}", result.err().unwrap_or_else(|| "ok".to_owned()).replace('\n', " "));
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

async fn request(mut client: Client, number: u64) -> Result<(), String> {
    let value = number.to_string();
    client.put("client", value.as_str(), None).await.map_err(|error| error.to_string())?;
    let reply = client.get("client", None).await.map_err(|error| error.to_string())?;
    let read = reply.kvs().first().map(|pair| pair.value().to_owned());
    if read.as_deref() == Some(value.as_bytes()) { Ok(()) } else { Err(format!("wrote {value}, read {read:?}")) }
}

/// How many requests succeeded, and the longest time between two that did.
///
/// # Errors
/// When there is no record.
pub fn record(path: &Path) -> Result<(usize, Duration), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let succeeded = |line: &str| line.strip_suffix(" ok")?.parse().ok();
    let times: Vec<u64> = text.lines().filter_map(succeeded).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    Ok((times.len(), Duration::from_millis(longest)))
}
