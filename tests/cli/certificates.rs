//! Certificates and keys that cannot be used.

use std::fs;
use std::time::Duration;

use super::{GROUP, alone, as_str, json, refuses, rig, starts, tls_options, with_data};
use crate::support::tls::{Authority, P521_KEY, TlsFiles};

#[tokio::test]
async fn f79_certificates_that_cannot_be_used_are_found_before_anything_is_asked() {
    let (rig, node) = alone();
    let dir = rig.directory.path();
    let good = Authority::new().write(dir, &[&node.address.to_string()]).unwrap();
    let other_dir = dir.join("other");
    fs::create_dir(&other_dir).unwrap();
    let other = Authority::new().write(&other_dir, &[&node.address.to_string()]).unwrap();
    let (garbage, missing) = (dir.join("garbage.pem"), dir.join("missing.pem"));
    fs::write(&garbage, "no PEM").unwrap();
    let cases = [
        (TlsFiles { ca: missing.clone(), ..good.clone() }, &missing),
        (TlsFiles { ca: garbage.clone(), ..good.clone() }, &garbage),
        (TlsFiles { cert: missing.clone(), ..good.clone() }, &missing),
        (TlsFiles { cert: garbage.clone(), ..good.clone() }, &garbage),
        (TlsFiles { key: missing.clone(), ..good.clone() }, &missing),
        (TlsFiles { key: garbage.clone(), ..good.clone() }, &garbage),
        (TlsFiles { key: other.key.clone(), ..good }, &other.key),
    ];
    for (files, named) in cases {
        for port in ["", "peer-"] {
            let arguments = tls_options(port, &files);
            refuses(&node, &as_str(&arguments), 78, &[&named.display().to_string()]).await;
        }
    }
    assert!(node.imds.exchanges().is_empty() && rig.aws.calls().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn f80_a_certificate_that_the_others_refuse_keeps_the_node_out_before_the_add() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    let ca = Authority::new();
    rig.setup.schemes = ("http", "https");
    let address = rig.fresh_address();
    // etcd compares it with the address that a connection comes from too, which is 127.0.0.1 on every node here.
    let files = ca.write(rig.directory.path(), &[&address.to_string(), "127.0.0.1"]).unwrap();
    rig.setup.agent_arguments = files.options_of("peer-");
    let member = rig.launch_at(Some(GROUP), address).unwrap();
    member.boot();
    rig.judge.all_healthy(&[address], Duration::from_secs(60)).await.unwrap();
    let mut client = rig.judge.client(&[address]).await.unwrap();

    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    rig.setup.agent_arguments = Vec::new();
    rig.setup.deadline = "2s".into();
    let node = rig.launch(Some(GROUP)).unwrap();
    let own = node.address.to_string();
    let dir = rig.directory.path().join("joining");
    fs::create_dir(&dir).unwrap();
    for (host, until, word) in
        [(own.as_str(), 2021, "expired"), ("127.0.0.99", 2099, "not valid for"), ("a.b", 2099, "not valid for")]
    {
        let arguments = tls_options("peer-", &ca.write_until(&dir, &[host, "127.0.0.1"], until).unwrap());
        refuses(&node, &as_str(&arguments), 78, &["own certificate", &own, word]).await;
        assert_eq!(client.member_list().await.unwrap().members().len(), 1);
    }
    let arguments = tls_options("peer-", &ca.write(&dir, &[&own, "127.0.0.1"]).unwrap());
    let good = [&["--dry-run", "--output=json"], &as_str(&arguments)[..]].concat();
    let run = node.agent("run", &good).await.unwrap();
    assert_eq!(json(&run)["decision"], "add", "a good one lets it in: {}", run.stdout);
}

/// etcd's unit may have one of its own, as with etcd-discovery.
#[tokio::test]
async fn f80_https_without_a_certificate_is_warned_of() {
    let mut rig = rig();
    rig.group(GROUP, 2);
    for (schemes, option) in
        [(("http", "https"), "--etcd-peer-scheme=http"), (("https", "http"), "--etcd-client-scheme=http")]
    {
        rig.setup.schemes = schemes;
        let node = rig.launch(Some(GROUP)).unwrap();
        let run = node.agent("run", &[]).await.unwrap();
        let warning = run.stderr.lines().find(|line| line.starts_with('W') && line.contains("etcd ends"));
        let names = |word: &&str| warning.is_some_and(|warning| warning.contains(*word));
        assert!(["--member-authority", option].iter().all(names), "{}", run.stderr);
        let doctor = node.agent("doctor", &[]).await.unwrap();
        assert!(doctor.stdout.contains("does not listen on https without a certificate"), "{}", doctor.stdout);
    }
}

/// Go refuses both, and rustls notices neither of a certificate that it only presents.
#[tokio::test]
async fn b19_f102_an_expired_authority_and_a_certificate_for_servers_alone_are_found() {
    let (rig, node) = alone();
    let (own, dir) = (node.address.to_string(), rig.directory.path());
    let expired = || Authority::until(2021).write(dir, &[&own]);
    let for_servers = || Authority::new().write_for_servers(dir, &[&own]);
    let cases: [(&dyn Fn() -> std::io::Result<TlsFiles>, &str); 2] =
        [(&expired, "authority has expired"), (&for_servers, "usage")];
    for (write, word) in cases {
        let files = write().unwrap();
        for port in ["", "peer-"] {
            refuses(&node, &as_str(&tls_options(port, &files)), 78, &["own certificate", &own, word]).await;
        }
    }
}

/// Also while an old authority is still in the file, as in the middle of a change to another one.
#[tokio::test]
async fn b19_f102_an_expired_authority_beside_the_own_one_is_no_fault() {
    let (rig, node) = alone();
    let (own, dir) = (node.address.to_string(), rig.directory.path());
    let old = fs::read_to_string(Authority::until(2021).write(dir, &[&own]).unwrap().ca).unwrap();
    let files = Authority::new().write(dir, &[&own]).unwrap();
    let new = fs::read_to_string(&files.ca).unwrap();
    fs::write(&files.ca, old + &new).unwrap();
    let run = node.agent("run", &as_str(&tls_options("peer-", &files))).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// As a container's bare image: what needs no authority goes on, and who shows a certificate is not believed.
#[tokio::test]
async fn a_system_that_trusts_nobody_is_no_fault() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    let nobody = [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/var/empty")];
    rig.setup.agent_environment.extend(nobody.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let node = rig.launch(Some(GROUP)).unwrap();
    let https = ["--etcd-client-schema=https", "--etcd-peer-scheme=https", "--dry-run", "--output=json"];
    let run = node.agent("run", &https).await.unwrap();
    assert_eq!((run.code, &json(&run)["decision"]), (0, &"start".into()), "{}", run.stderr);
}

#[tokio::test]
async fn b20_f51_f103_keys_and_authorities_that_the_agent_cannot_use_keep_no_data_down() {
    let (rig, node) = with_data().await;
    let (own, dir) = (node.address.to_string(), rig.directory.path());
    let good = Authority::new().write(dir, &[&own]).unwrap();
    let (key, bundle) = (dir.join("p521.pem"), dir.join("bundle.pem"));
    fs::write(&key, P521_KEY).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    fs::write(&bundle, fs::read_to_string(&good.ca).unwrap() + broken).unwrap();
    // A certificate that is its own authority: Go takes it, webpki does not.
    let itself = TlsFiles { cert: good.ca.clone(), key: dir.join("ca-key.pem"), ..good.clone() };
    let cases = [
        (TlsFiles { key, ..good.clone() }, "p521.pem"),
        (TlsFiles { ca: bundle, ..good }, "bundle.pem"),
        (itself, "own certificate"),
    ];
    let mut fresh_rig = self::rig();
    fresh_rig.setup.deadline = "2s".into();
    fresh_rig.group(GROUP, 1);
    let fresh = fresh_rig.launch(Some(GROUP)).unwrap();
    for (files, word) in cases {
        for port in ["", "peer-"] {
            let arguments = tls_options(port, &files);
            let run = starts(&node, &as_str(&arguments)).await;
            let warned = run.stderr.lines().any(|line| line.starts_with('W') && line.contains(word));
            assert!(warned, "{word}: {}", run.stderr);
            refuses(&fresh, &as_str(&arguments), 78, &[word]).await;
        }
    }
}
