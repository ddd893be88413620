//! `--certificate-command`: somebody else's signer, made of openssl, as it is and as it should not be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use etcd_bootstrap::tls::{self, Usage};

use super::common::node_pem;
use crate::cli;
use crate::scenario::{GROUP, on_one_etcd, whole};
use crate::support::node::{Node, Run};
use crate::support::rig::Rig;
use crate::support::tls::Authority;

on_one_etcd!(c20_a_cluster_and_a_consumer_by_a_program_with_an_intermediate);

/// Signs the request on its standard input, as its first word says.
const SIGNER: &str = r#"#!/bin/sh
cd "$DIR" || exit 9
request=$(mktemp "$DIR/request.XXXXXX"); cat >"$request"
names=$(openssl req -in "$request" -noout -text | grep -A1 'Subject Alternative Name' | tail -n 1 | sed 's/IP Address/IP/g')
sign() { # CA, days, further arguments
    ca=$1 days=$2; shift 2
    openssl x509 -req -in "$request" -CA "$ca.pem" -CAkey "$ca-key.pem" -set_serial "0x$(openssl rand -hex 8)" \
        -days "$days" "$@" 2>>"$DIR/openssl.log"
}
with() { printf '%s\n' "$@" >"$request.extensions"; sign between 14 -extfile "$request.extensions"; cat between.pem; }
both=extendedKeyUsage=serverAuth,clientAuth
case $1 in
good) sign between 14 -copy_extensions copyall | tee last.pem; cat between.pem ;;
ends-with-1) sign between 14 -copy_extensions copyall; cat between.pem; exit 1 ;;
junk) echo junk ;;
nothing) ;;
bytes) head -c 1000 /dev/urandom ;;
torn) sign between 14 -copy_extensions copyall | head -n 5 ;;
another-key) cat last.pem between.pem ;;
wrong-ca) sign stranger 14 -copy_extensions copyall ;;
no-chain) sign between 14 -copy_extensions copyall ;;
short) sign between 3 -copy_extensions copyall; cat between.pem ;;
no-names) with "$both" ;;
other-names) with "$both" 'subjectAltName=IP:10.9.9.9,DNS:elsewhere.example' ;;
server-only) with extendedKeyUsage=serverAuth "subjectAltName=$names" ;;
client-only) with extendedKeyUsage=clientAuth "subjectAltName=$names" ;;
same) with "$both" "subjectAltName=$names" ;;
says) env >says.env; openssl req -in "$request" -noout -text -verify >says.request 2>&1; sign between 14 -copy_extensions copyall; cat between.pem ;;
esac
"#;

/// An authority, one below it that signs, and a stranger, in a directory of their own.
struct Signer {
    root: Authority,
    directory: PathBuf,
    program: PathBuf,
}

impl Signer {
    fn new(rig: &Rig) -> Self {
        let directory = rig.directory.path().join("signer");
        let root = Authority::new();
        for (authority, name) in [(&root, "root"), (&Authority::new(), "stranger")] {
            let place = directory.join(name);
            fs::create_dir_all(&place).unwrap();
            authority.write(&place, &["127.0.0.1"]).unwrap();
            for (file, copy) in [("ca.pem", ".pem"), ("ca-key.pem", "-key.pem")] {
                fs::copy(place.join(file), directory.join(format!("{name}{copy}"))).unwrap();
            }
        }
        let extensions = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n";
        fs::write(directory.join("between.extensions"), extensions).unwrap();
        openssl(
            &directory,
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout between-key.pem -out between.request \
             -subj /CN=between",
        );
        openssl(
            &directory,
            "x509 -req -in between.request -CA root.pem -CAkey root-key.pem -set_serial 2 -days 3000 \
             -extfile between.extensions -out between.pem",
        );
        let program = SIGNER.replace("$DIR", &directory.display().to_string());
        let program = rig.directory.script("sign", &program).unwrap();
        Self { root, directory, program }
    }

    fn options(&self, how: &str) -> Vec<String> {
        let ca = self.directory.join("root.pem");
        let ca = ca.display();
        let program = format!("--certificate-command={} {how}", self.program.display());
        vec![program, format!("--trusted-ca-file={ca}"), format!("--peer-trusted-ca-file={ca}")]
    }

    /// `certificate --force` with a signer that does so.
    async fn force(&self, node: &Node, how: &str, more: &[&str]) -> Run {
        let options = self.options(how);
        let options: Vec<&str> =
            options.iter().map(String::as_str).chain(["--force"]).chain(more.iter().copied()).collect();
        node.agent("certificate", &options).await.unwrap()
    }

    fn check(&self, node: &Node, usage: Usage<'_>) -> Result<(), String> {
        let root = fs::read_to_string(self.directory.join("root.pem")).unwrap();
        tls::check(&node_pem(node), &root, usage, SystemTime::now())
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let done = Command::new("openssl").args(arguments.split_whitespace()).current_dir(directory).output().unwrap();
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A node whose etcd never runs.
fn one() -> (Rig, Node, Signer) {
    let mut rig = cli::rig();
    rig.setup.schemes = ("https", "https");
    rig.group(GROUP, 1);
    let signer = Signer::new(&rig);
    let node = rig.launch(Some(GROUP)).unwrap();
    (rig, node, signer)
}

/// What is refused, the exit code, and what is said of it.
const REFUSED: [(&str, i32, &str); 12] = [
    ("ends-with-1", 69, "exit status: 1"),
    ("bytes", 69, "no text"),
    ("junk", 78, "certificate"),
    ("nothing", 78, "certificate"),
    ("torn", 78, "certificate"),
    ("another-key", 78, "key"),
    ("wrong-ca", 78, "BadSignature"),
    ("no-chain", 78, "UnknownIssuer"),
    ("short", 78, "less than half of its life"),
    ("no-names", 78, "not valid for"),
    ("other-names", 78, "not valid for"),
    ("server-only", 78, "usage"),
];

#[tokio::test]
async fn c20_what_a_member_cannot_use_is_refused_and_the_old_file_stays() {
    let (rig, node, signer) = one();
    let good = signer.force(&node, "good", &[]).await;
    assert_eq!(good.code, 0, "{}", good.stderr);
    let before = node_pem(&node);
    for (how, code, said) in REFUSED.into_iter().chain([("client-only", 78, "usage")]) {
        let run = signer.force(&node, how, &[]).await;
        assert_eq!(run.code, code, "{how}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{how}: '{said}' is not in: {}", run.stderr);
        assert_eq!(node_pem(&node), before, "{how}");
    }
    let missing = ["--certificate-command=/no/such/program with words", "--force"];
    let options = signer.options("good");
    let options: Vec<&str> = options[1..].iter().map(String::as_str).chain(missing).collect();
    let run = node.agent("certificate", &options).await.unwrap();
    assert_eq!((run.code, node_pem(&node)), (78, before.clone()), "{}", run.stderr);
    assert!(run.stderr.contains("start /no/such/program"), "{}", run.stderr);
    // The last of them in the one form that differs from a good one in nothing: it is what was wrong that was refused.
    let run = signer.force(&node, "same", &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_ne!(node_pem(&node), before);
    assert!(rig.aws.calls().is_empty(), "nothing of AWS is needed");
    // Without a certificate, and without a signer that gives one, nothing begins.
    fs::remove_file(node.certificates().join("node.pem")).unwrap();
    for (how, code, reason) in [("ends-with-1", 69, "certificate-unavailable"), ("wrong-ca", 78, "certificate-denied")]
    {
        let options = signer.options(how);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        cli::refuses(&node, &options, code, &[reason]).await;
        assert!(!node.certificates().join("node.pem").exists());
    }
}

#[tokio::test]
async fn c20_a_program_is_told_the_instance_the_life_and_all_that_is_wanted() {
    let (_rig, node, signer) = one();
    let run = signer.force(&node, "says", &["--certificate-life=10d", "--certificate-names=balancer.example"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let read = |name: &str| fs::read_to_string(signer.directory.join(name)).unwrap();
    let environment = read("says.env");
    for variable in [format!("CERTIFICATE_INSTANCE={}", node.instance), "CERTIFICATE_LIFE=10days".to_owned()] {
        assert!(environment.lines().any(|line| line == variable), "{variable}: {environment}");
    }
    let request = read("says.request");
    let own = format!("IP Address:{}", node.address);
    let wanted =
        ["verify OK", "CN = root", &own, "DNS:balancer.example", "DNS:localhost", "TLS Web Server", "TLS Web Client"];
    for said in wanted {
        assert!(request.contains(said), "{said}: {request}");
    }
    assert_eq!(signer.check(&node, Usage::Both("balancer.example")), Ok(()));
    // The key has stayed here.
    assert!(!cli::contents(&signer.directory).contains(node_pem(&node).lines().nth(1).unwrap()));
}

#[tokio::test]
async fn c20_a_consumers_certificate_is_for_clients_alone() {
    let (rig, _member, signer) = one();
    rig.group("consumers", 1);
    let consumer = rig.launch(Some("consumers")).unwrap();
    let more = ["--proxy-mode=true", "--scaling-group-name", GROUP];
    let run = signer.force(&consumer, "good", &more).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(signer.check(&consumer, Usage::Client), Ok(()));
    assert!(signer.check(&consumer, Usage::Both(&consumer.address.to_string())).is_err());
    let before = node_pem(&consumer);
    // A consumer is called by nobody: names are no matter.
    let refused = REFUSED.into_iter().filter(|(how, ..)| !how.ends_with("-names"));
    for (how, code, said) in refused {
        let run = signer.force(&consumer, how, &more).await;
        assert_eq!(run.code, code, "{how}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{how}: '{said}' is not in: {}", run.stderr);
        assert_eq!(node_pem(&consumer), before, "{how}");
    }
}

async fn c20_a_cluster_and_a_consumer_by_a_program_with_an_intermediate(mut rig: Rig) {
    let signer = Signer::new(&rig);
    rig.setup.schemes = ("https", "https");
    rig.setup.agent_arguments = signer.options("good");
    let judges = rig.directory.path().join("judge");
    fs::create_dir(&judges).unwrap();
    rig.judge = signer.root.write(&judges, &["127.0.0.1"]).unwrap().judge().unwrap();
    rig.group(GROUP, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    for node in &nodes {
        assert_eq!(signer.check(node, Usage::Both(&node.address.to_string())), Ok(()));
        let written = node.environment().unwrap().unwrap();
        let own = node.certificates().join("node.pem").display().to_string();
        let root = signer.directory.join("root.pem").display().to_string();
        for port in ["", "PEER_"] {
            assert_eq!(written[&format!("ETCD_{port}CERT_FILE")], own);
            assert_eq!(written[&format!("ETCD_{port}KEY_FILE")], own);
            assert_eq!(written[&format!("ETCD_{port}TRUSTED_CA_FILE")], root);
        }
    }
    // One of three is renewed under the others.
    let run = nodes[0].agent("certificate", &["--force"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    whole(&rig, &nodes).await;
    rig.group("consumers", 1);
    let consumer = rig.launch(Some("consumers")).unwrap();
    let run =
        consumer.agent("run", &["--proxy-mode=true", "--scaling-group-name", GROUP, "--deadline=20s"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(signer.check(&consumer, Usage::Client), Ok(()));
    let written = consumer.environment().unwrap().unwrap();
    assert_eq!(written["ETCD_ENDPOINTS"].split(',').count(), 3, "{written:?}");
}
