//! What comes from etcd, or goes to S3, over links that fail half-way.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{assert_whole, files, fill, snapshot};
use crate::scenario::{form, on_both_ends};
use crate::support::link::{Link, Trouble, Way};
use crate::support::rig::Rig;

on_both_ends!(r11_what_breaks_off_or_is_garbled_is_kept_by_nobody);

/// etcd's port as a link leads to it.
const PORT: u16 = 2999;

async fn r11_what_breaks_off_or_is_garbled_is_kept_by_nobody(rig: Rig) {
    let nodes = form(&rig, 1).await;
    fill(&rig, &nodes, 4).await;
    let directory = rig.directory.path().join("shared");
    std::fs::create_dir(&directory).unwrap();
    let to = directory.display().to_string();
    let by_link = format!("--etcd-client-port={PORT}");
    let (here, etcd): (SocketAddr, SocketAddr) = ((nodes[0].address, PORT).into(), (nodes[0].address, 2379).into());
    for (trouble, said) in
        [(Trouble::Cut, "snapshot-broke-off"), (Trouble::Garble, "it has another hash than etcd says")]
    {
        // In the middle of the database: the look before it takes some hundred bytes of its own connection.
        let link = Link::start(here, etcd, Way::Back, 2 << 20, trouble).unwrap();
        let run = snapshot(&nodes[0], &to, &[&by_link]).await;
        assert!(run.code == 75 && run.stderr.contains(said), "{trouble:?}: {}", run.stderr);
        assert_eq!(files(&directory), [] as [&str; 0], "{trouble:?}");
        link.close().await;
    }
    let link = Link::start(here, etcd, Way::Back, 2 << 20, Trouble::Stall).unwrap();
    let run = snapshot(&nodes[0], &to, &[&by_link]).await;
    assert!(run.code == 75 && run.stderr.contains("etcd sent nothing for 30 s"), "{}", run.stderr);
    assert!(run.took < Duration::from_secs(90), "{:?}", run.took);
    link.close().await;

    let run = snapshot(&nodes[0], &to, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let there = files(&directory);
    assert_eq!(there.len(), 1, "{there:?}");
    assert_whole(&std::fs::read(Path::new(&to).join(&there[0])).unwrap(), &there[0]);
}
