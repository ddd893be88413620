//! etcd with authentication, and a user's name and password, on real etcd.

use std::fs;
use std::path::{Path, PathBuf};

use crate::scenario::{GROUP, form, intact, on_both_ends, on_every_etcd, put, whole};
use crate::support::node::Node;
use crate::support::rig::{Rig, addresses};

on_every_etcd!(f125_a_user_by_name_and_password_replaces_a_member_and_takes_a_snapshot);

on_both_ends!(f126_what_etcd_or_a_file_refuses_a_user_is_said);

const PASSWORD: &str = "a-word-that-is-nowhere";

/// A file with this text, and the options that make it the password of this user.
fn options(rig: &Rig, user: &str, text: &str) -> Vec<String> {
    let file = rig.directory.path().join(format!("password-{text}"));
    fs::write(&file, format!("{text}\n")).unwrap();
    vec![format!("--user={user}"), format!("--password-file={}", file.display())]
}

/// Switches authentication on, with root and a user without any right; returns a client that is root.
async fn authentication(rig: &Rig, nodes: &[Node]) -> etcd_client::Client {
    let mut client = rig.judge.client(&addresses(nodes)).await.unwrap();
    for user in ["root", "nobody"] {
        client.user_add(user, PASSWORD, None).await.unwrap();
    }
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    client.update_user(Some(("root".to_owned(), PASSWORD.to_owned()))).await.unwrap();
    client
}

async fn f125_a_user_by_name_and_password_replaces_a_member_and_takes_a_snapshot(mut rig: Rig) {
    // They are set from the beginning, where there is no authentication yet.
    rig.setup.agent_arguments.extend(options(&rig, "root", PASSWORD));
    let mut nodes = form(&rig, 3).await;
    put(&rig, &nodes).await;
    let mut client = authentication(&rig, &nodes[1..]).await;
    rig.terminate(&nodes.remove(0)).await;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[2].boot();
    whole(&rig, &nodes).await;
    intact(&mut client).await;
    let to = rig.directory.path().join("snapshots");
    fs::create_dir(&to).unwrap();
    let run = nodes[2].agent("snapshot", &["--now", &format!("--snapshot-to={}", to.display())]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let status = nodes[2].agent("status", &["--output=json", "--v=2"]).await.unwrap();
    assert_eq!(status.code, 0, "{}{}", status.stdout, status.stderr);
    assert!(![run.stderr, status.stdout, status.stderr].concat().contains(PASSWORD), "it is printed");
    let holding = files_with(rig.directory.path(), PASSWORD);
    assert_eq!(holding, [rig.directory.path().join(format!("password-{PASSWORD}"))]);
}

async fn f126_what_etcd_or_a_file_refuses_a_user_is_said(rig: Rig) {
    let nodes = form(&rig, 1).await;
    authentication(&rig, &nodes).await;
    let joiner = rig.launch(Some(GROUP)).unwrap();
    let missing = vec!["--user=root".to_owned(), "--password-file=/nowhere/password".to_owned()];
    for (options, expected) in [
        (options(&rig, "root", "wrong"), "authentication failed, invalid user ID or password"),
        (options(&rig, "nobody", PASSWORD), "permission denied"),
        (options(&rig, "root", ""), "it is empty"),
        (missing, "/nowhere/password"),
    ] {
        let arguments: Vec<&str> = options.iter().map(String::as_str).chain(["--deadline=20s"]).collect();
        let run = joiner.agent("run", &arguments).await.unwrap();
        assert_eq!(run.code, 78, "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains("--password-file"), "what to do: {}", run.stderr);
        assert_eq!(joiner.environment(), Ok(None));
    }
    assert_eq!(rig.judge.members(nodes[0].address).await.unwrap().members.len(), 1);
    // A node with data needs neither (F51).
    let data = nodes[0].agent("run", &["--user=root", "--password-file=/nowhere/password"]).await.unwrap();
    assert_eq!(data.code, 0, "{}", data.stderr);
}

/// The files below a directory that hold this text, but for etcd's own data: 3.4 has new passwords in its log.
fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().filter_map(Result::ok) {
        let path = entry.path();
        if path.ends_with("data") {
            continue;
        }
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes())) {
            found.push(path);
        }
    }
    found
}
