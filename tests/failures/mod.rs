//! Entries of the failure catalogue that rest on what etcd does when something goes wrong at a bad moment: the real
//! agent and real etcds, of every version where etcd's own behaviour is part of the entry. The main job is in `e2e`.

mod change;
mod death;
mod disk;
mod found;

use std::path::Path;

use crate::scenario::etcd_of;
use crate::support::skip;

/// The first scenario of all again, on a machine that has no network but its loopback.
#[test]
fn f12_nothing_but_aws_and_the_nodes_is_needed() {
    let Some(etcd) = etcd_of("3.6") else { return };
    let tests = std::env::current_exe().unwrap();
    let scenario = "e2e::f05_f24_f50_f74_forms_and_replaces_a_terminated_instance::v3_6";
    let script = "ip link set lo up || exit 99; [ -z \"$(ip route)\" ] || exit 98; exec \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", script, "sh"]).arg(tests);
    let Ok(output) = command.args(["--exact", scenario]).output() else {
        return skip("there is no unshare");
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if said.contains("unshare failed") || output.status.code() == Some(99) {
        return skip(format_args!("this machine lets nobody make a network: {}", said.trim()));
    }
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    println!("etcd {}", crate::support::etcd::version_of(Path::new(&etcd)).unwrap());
}
