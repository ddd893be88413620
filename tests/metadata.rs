//! The identity read from AWS's own mock of the metadata service, so that our own fake is not the only judge. It tells
//! an example instance and takes tokens only (IMDSv2).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use etcd_bootstrap::files::saved::Record;

use crate::support::child::{Child, exit_code};
use crate::support::etcd::until;
use crate::support::ground::{Block, Directory};
use crate::support::skip;

const SERVER: &str = "target/tools/ec2-metadata-mock";
const PORT: &str = "1338";

#[tokio::test]
async fn f62_the_identity_is_what_awss_own_metadata_mock_tells() {
    if !Path::new(SERVER).is_file() {
        return skip(format_args!("there is no {SERVER}: tests/tools/install metadata"));
    }
    let (block, _claim) = Block::claim().unwrap();
    let directory = Directory::new().unwrap();
    let host = block.address(2).to_string();
    let mut command = Command::new(SERVER);
    let log = std::fs::File::create(directory.path().join("mock.log")).unwrap();
    command.args(["--imdsv2", "--hostname", &host, "--port", PORT]);
    command.env("HOME", directory.path()).stdout(log.try_clone().unwrap()).stderr(log);
    let _server = Child::spawn(command).unwrap();
    let listens = async || match tokio::net::TcpStream::connect((host.as_str(), 1338)).await {
        Ok(_) => Ok(()),
        Err(e) => Err(e.to_string()),
    };
    until(Duration::from_secs(60), listens).await.unwrap();

    let file = |name: &str| directory.path().join(name).display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-bootstrap"));
    command
        .args(["run", "--private-addresses", "--etcd-peer-scheme=http", "--deadline=3s"])
        .args([format!("--environment-file={}", file("etcd.env")), format!("--data-dir={}", file("data"))])
        .arg(format!("--state-dir={}", file("state")))
        .env_clear()
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{host}:{PORT}"))
        // Nobody listens there: what is seen of the metadata is all that is asked here.
        .env("AWS_ENDPOINT_URL", format!("http://{host}:1"))
        .stderr(std::fs::File::create(file("agent.log")).unwrap());
    let status = Child::spawn(command).unwrap().exited().await;

    let said = std::fs::read_to_string(file("agent.log")).unwrap();
    assert_eq!(exit_code(status), 69, "{said}");
    let record = std::fs::read(file("etcd.observation.json")).expect(&said);
    let record: Record = serde_json::from_slice(&record).unwrap();
    let me = record.observation.me.ok().expect("the mock tells an identity");
    assert_eq!(
        (me.instance.as_str(), me.region.as_str(), me.zone.as_str()),
        ("i-1234567890abcdef0", "us-east-1", "us-east-1f")
    );
    assert_eq!(me.addresses.ip().unwrap().to_string(), "10.0.7.10");
    assert_eq!(me.addresses.dns_name.as_deref(), Some("ip-172-16-34-43.ec2.internal"));
    let ranges: Vec<String> = me.vpc_ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["192.0.2.0/24", "2001:db8::/32"]);
    assert_eq!(me.target_lifecycle_state, Some("Terminated".into()));
}
