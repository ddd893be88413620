//! versitygw: S3 over a directory, which checks the signature of every call.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::Child;
use super::etcd::until;
use super::ground::Directory;

/// What `tests/tools/install s3` made.
const SERVER: &str = "target/tools/versitygw";

pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub use super::cloud::REGION;
pub const BUCKET: &str = "snapshots";

/// A running server with one bucket; dropping it ends it.
pub struct S3 {
    pub address: SocketAddr,
    /// What is in the bucket.
    pub files: PathBuf,
    _server: Child,
    _directory: Directory,
}

impl S3 {
    /// Starts it at this address.
    ///
    /// # Errors
    /// When it is not there, or does not start.
    pub async fn start(address: Ipv4Addr) -> io::Result<Self> {
        let directory = Directory::new()?;
        let [root, sidecar] = ["root", "sidecar"].map(|name| directory.path().join(name));
        let files = root.join(BUCKET);
        std::fs::create_dir_all(&files)?;
        std::fs::create_dir_all(&sidecar)?;
        let address = SocketAddr::from((address, 7070));
        let log = std::fs::File::create(directory.path().join("s3.log"))?;
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(SERVER));
        command.args(["--port", &address.to_string(), "--region", REGION]);
        command.args(["--access", ACCESS_KEY, "--secret", SECRET_KEY]);
        // Not every file system of a test has extended attributes.
        command.args(["posix", "--sidecar"]).args([&sidecar, &root]);
        command.stdout(log.try_clone()?).stderr(log);
        let server = Child::spawn(command)?;
        let up = async || tokio::net::TcpStream::connect(address).await.map(drop).map_err(|e| e.to_string());
        until(Duration::from_secs(60), up).await.map_err(io::Error::other)?;
        Ok(Self { address, files, _server: server, _directory: directory })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The environment of an agent that puts its snapshots into this S3.
pub fn environment(url: &str) -> [(String, String); 3] {
    [("AWS_ENDPOINT_URL_S3", url), ("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
}
