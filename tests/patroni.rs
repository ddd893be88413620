//! Patroni with PostgreSQL on a cluster with authentication, as docs/patroni.md has it, command by command.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::docs::read;
use crate::scenario::{GROUP, PATIENCE, form, on_both_ends, whole};
use crate::support::child::Child;
use crate::support::etcd::until;
use crate::support::node::Node;
use crate::support::rig::Rig;
use crate::support::skip;

on_both_ends!(patroni_keeps_its_primary_while_every_member_is_replaced);

const PATRONI: &str = "target/venv/bin/patroni";
const SECRETS: [(&str, &str); 2] = [("ROOT_PASSWORD", "of-the-agents"), ("PATRONI_PASSWORD", "of-patroni")];

async fn patroni_keeps_its_primary_while_every_member_is_replaced(mut rig: Rig) {
    let Some(postgres) = postgres() else {
        return skip("no PostgreSQL or no Patroni: tests/tools/install patroni");
    };
    let password = rig.directory.path().join("password");
    fs::write(&password, SECRETS[0].1).unwrap();
    let options = lines_of("options").replace("/etc/etcd/root-password", password.to_str().unwrap());
    let options = options.lines().map(|line| {
        let (variable, value) = line.split_once('=').unwrap();
        let option = variable.trim_start_matches("ETCD_BOOTSTRAP_").to_lowercase().replace('_', "-");
        format!("--{option}={value}")
    });
    rig.setup.agent_arguments.extend(options);

    let mut nodes = form(&rig, 3).await;
    carry_out(&nodes, &lines_of("users"));
    carry_out(&nodes, &lines_of("switch"));
    rig.group("postgres", 1);
    let consumer = rig.launch(Some("postgres")).unwrap();
    follow(&consumer).await;
    let database = Database::start(&rig, &consumer, &postgres);
    database.is_primary().await;
    let began = database.value("select pg_postmaster_start_time(), timeline_id from pg_control_checkpoint()");

    // Not one of those stays that Patroni began with, and each time the one goes that it talks to.
    for replaced in 1..=3 {
        let gone = nodes
            .iter()
            .position(|node| node.address.to_string() == database.server())
            .expect("it talks to one of them");
        rig.terminate(&nodes.remove(gone)).await;
        nodes.push(rig.launch(Some(GROUP)).unwrap());
        nodes[2].boot();
        whole(&rig, &nodes).await;
        follow(&consumer).await;
        database.writes_to_etcd(&nodes, replaced).await;
    }
    database.is_primary().await;
    let now = database.value("select pg_postmaster_start_time(), timeline_id from pg_control_checkpoint()");
    assert_eq!(now, began, "it was restarted or promoted anew: {}", database.log());
}

// ---------------------------------------------------------------- the page

/// What stands under a mark of the page.
fn lines_of(mark: &str) -> String {
    let page = read("docs/patroni.md");
    let rest = page.split(&format!("<!-- {mark} -->\n\n")).nth(1).unwrap_or_else(|| panic!("no <!-- {mark} -->"));
    let lines = rest.lines().take_while(|line| line.starts_with("    ") || line.is_empty());
    let lines: Vec<&str> = lines.map(|line| line.trim_start_matches("    ")).collect();
    lines.join("\n").trim_end().to_owned()
}

/// Runs commands on a member, and returns what they print.
fn carry_out(nodes: &[Node], commands: &str) -> String {
    let tools = std::path::absolute("target/tools").unwrap();
    let mut command = Command::new("bash");
    command.args(["-ec", commands]).envs(SECRETS).env("ETCDCTL_API", "3");
    command.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    command.env("ETCDCTL_ENDPOINTS", format!("http://{}:2379", nodes[0].address));
    // All that a node does, its process does without this thread.
    let done = command.output().unwrap();
    assert!(done.status.success(), "{commands}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

async fn follow(consumer: &Node) {
    let run = consumer.agent("run", &["--proxy-mode", "--scaling-group-name", GROUP]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

// ---------------------------------------------------------------- PostgreSQL

/// The directory of PostgreSQL's programs; None where it, or Patroni, is missing.
fn postgres() -> Option<PathBuf> {
    let versions =
        fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|version| Some(version.ok()?.path().join("bin")));
    versions.filter(|bin| bin.join("initdb").is_file() && Path::new(PATRONI).is_file()).max()
}

struct Database {
    _patroni: Child,
    home: PathBuf,
    programs: PathBuf,
    /// Of PostgreSQL, and of Patroni's REST API.
    ports: [u16; 2],
    http: reqwest::Client,
}

impl Database {
    /// Patroni as its unit starts it, in a namespace with which all of it ends.
    fn start(rig: &Rig, consumer: &Node, programs: &Path) -> Self {
        let home = rig.directory.path().join("postgres");
        fs::create_dir(&home).unwrap();
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listeners = [free(), free()];
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        drop(listeners);
        let config = home.join("config.yml");
        fs::write(&config, config_of(&home, programs, ports)).unwrap();

        let variables = consumer.environment().unwrap().unwrap();
        let drop_in = lines_of("drop-in");
        let start = drop_in.lines().rfind(|line| line.starts_with("ExecStart=")).expect("the page has it");
        let script = start.strip_prefix("ExecStart=/bin/sh -c '").and_then(|rest| rest.strip_suffix('\'')).unwrap();
        // As systemd reads it.
        let script = script.replace("$$", "$").replace("/etc/patroni/config.yml", config.to_str().unwrap());
        let script = script.replace("/usr/bin/patroni", std::path::absolute(PATRONI).unwrap().to_str().unwrap());
        let mut command = Command::new("unshare");
        // PostgreSQL does not run as root.
        command.args(["--user", "--map-user=1000", "--map-group=1000", "--pid", "--fork", "--kill-child=SIGKILL"]);
        command.args(["--mount-proc", "/bin/sh", "-c", &script]);
        command.env("ETCD_ENDPOINTS", &variables["ETCD_ENDPOINTS"]).env("PATRONI_ETCD3_PASSWORD", SECRETS[1].1);
        command.env("PATRONI_NAME", &consumer.instance);
        let log = File::create(home.join("patroni.log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let patroni = Child::spawn(command).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).pool_max_idle_per_host(0).build().unwrap();
        Self { _patroni: patroni, home, programs: programs.to_owned(), ports, http }
    }

    async fn is_primary(&self) {
        self.answers(|http, api| http.get(format!("{api}/primary"))).await;
    }

    /// Whether what is written by it arrives at the members that there are now.
    async fn writes_to_etcd(&self, nodes: &[Node], loop_wait: u32) {
        // Asked while it takes up the next member, Patroni closes the connection without an answer.
        self.answers(|http, api| http.patch(format!("{api}/config")).body(format!(r#"{{"loop_wait": {loop_wait}}}"#)))
            .await;
        let written = carry_out(nodes, r#"etcdctl --user="root:$ROOT_PASSWORD" get /service/main/config"#);
        assert!(written.contains(&format!(r#""loop_wait":{loop_wait}"#)), "{written}");
    }

    /// Asks Patroni's REST API until it answers well.
    async fn answers(&self, request: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder) {
        let api = format!("http://127.0.0.1:{}", self.ports[1]);
        let answer = until(PATIENCE, async || {
            let answer = request(&self.http, &api).send().await;
            let status = answer.map_err(|e| e.to_string())?.status();
            if status.is_success() { Ok(()) } else { Err(status.to_string()) }
        });
        if let Err(why) = answer.await {
            panic!("{why}\n{}", self.log());
        }
    }

    /// The address of the member that Patroni talks to, by its log.
    fn server(&self) -> String {
        let log = self.log();
        let last = log.rsplit("Selected new etcd server http://").next().unwrap_or_default();
        last.split(':').next().unwrap_or_default().to_owned()
    }

    /// What a query tells.
    fn value(&self, query: &str) -> String {
        let done = Command::new(self.programs.join("psql"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.ports[0].to_string(),
                "-U",
                "postgres",
                "-At",
                "-c",
                query,
                "postgres",
            ])
            .env("PGPASSWORD", "postgres")
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("patroni.log")).unwrap_or_default()
    }
}

/// The page's part, and the least that Patroni wants beside it.
fn config_of(home: &Path, programs: &Path, [port, api]: [u16; 2]) -> String {
    format!(
        "scope: main
restapi: {{listen: '127.0.0.1:{api}', connect_address: '127.0.0.1:{api}'}}
{}
bootstrap:
  dcs: {{ttl: 30}}
  initdb: [{{encoding: UTF8}}, data-checksums]
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {}
  bin_dir: {}
  pgpass: {}
  authentication:
    superuser: {{username: postgres, password: postgres}}
    replication: {{username: replicator, password: replicator}}
  parameters: {{unix_socket_directories: '{}'}}
",
        lines_of("config"),
        home.join("data").display(),
        programs.display(),
        home.join("pgpass").display(),
        home.display(),
    )
}
