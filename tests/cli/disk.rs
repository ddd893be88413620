//! Files and directories that cannot be written or read.

use std::fs;
use std::path::Path;

use super::{GROUP, Scene, refuses, with_data};
use crate::support::skip;

#[tokio::test]
async fn f77_an_unwritable_environment_file_is_found_before_etcd_is_asked() {
    let scene = Scene::new().await;
    let file = scene.rig.directory.path().join("file");
    fs::write(&file, "a file").unwrap();
    let below_file = file.join("etcd.env");
    for place in [below_file.as_path(), Path::new("/proc/etcd.env"), scene.rig.directory.path()] {
        scene.node.imds.heal();
        let asked = scene.node.imds.exchanges().len();
        let option = format!("--environment-file={}", place.display());
        scene.refuses_with(&[&option], 78, &["write the environment file", &place.display().to_string()]).await;
        assert_eq!(scene.node.imds.exchanges().len(), asked, "nothing was asked");
    }
    let option = format!("--environment-file={}", below_file.display());
    scene.refuses_with(&[&option], 78, &["ot a directory"]).await;
}

#[tokio::test]
async fn f77_a_full_disk_is_found_before_etcd_is_asked() {
    let mut scene = Scene::new().await;
    let dir = scene.rig.directory.path().join("full");
    let agent = scene.rig.programs.agent.clone();
    // A file system of one page, which the old file fills; the namespace and the mount end with the script.
    let script = format!(
        "#!/bin/sh\nmkdir -p {dir} && mount -t tmpfs -o size=4k none {dir} || exit 99\necho KEPT=yes >{dir}/etcd.env\n\
         {agent} \"$@\"\ncode=$?\nls -A {dir}\ncat {dir}/etcd.env\nexit $code\n",
        dir = dir.display(),
        agent = agent.display(),
    );
    let inner = scene.rig.directory.script("inner", &script).unwrap();
    let outer = format!("#!/bin/sh\nexec unshare --mount {} \"$@\"\n", inner.display());
    scene.rig.programs.agent = scene.rig.directory.script("outer", &outer).unwrap();
    scene.rig.cloud.change(|world| world.set_desired(GROUP, 3));
    let node = scene.rig.launch(Some(GROUP)).unwrap();
    let option = format!("--environment-file={}/etcd.env", dir.display());
    let run = node.agent("run", &[&option]).await.unwrap();
    if run.code == 99 || run.stderr.contains("unshare") {
        return skip(format_args!("this machine lets nobody mount a small file system: {}", run.stderr.trim()));
    }
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("No space left on device"), "{}", run.stderr);
    assert_eq!(run.stdout, "etcd.env\nKEPT=yes\n");
    assert_eq!(scene.members().await, scene.before);
}

#[tokio::test]
async fn f46_an_unreadable_data_directory_is_never_an_empty_one() {
    let scene = Scene::new().await;
    let data = scene.node.data_dir();
    fs::write(&data, "no directory").unwrap();
    scene.refuses(78, &[&data.display().to_string(), "move it away"]).await;
    fs::remove_file(&data).unwrap();
    fs::create_dir_all(data.join("member")).unwrap();
    fs::write(data.join("member/wal"), "no directory").unwrap();
    scene.refuses(78, &[&data.display().to_string(), "move it away"]).await;
}

#[tokio::test]
async fn f46_a_torn_write_ahead_log_is_never_an_empty_one() {
    let (_rig, node) = with_data().await;
    let wal = node.data_dir().join("member/wal");
    let segment = fs::read_dir(&wal).unwrap().flatten().find(|e| e.file_name().to_string_lossy().ends_with(".wal"));
    let segment = segment.unwrap().path();
    let whole = fs::read(&segment).unwrap();
    for torn in [&whole[..0], &whole[..20], &[b"xxxxxxxxxxxxxxxx", &whole[16..]].concat()] {
        fs::write(&segment, torn).unwrap();
        refuses(&node, &[], 78, &[&wal.display().to_string(), "move it away"]).await;
        assert_eq!(fs::read(&segment).unwrap(), torn, "the data is as it was");
    }
}
