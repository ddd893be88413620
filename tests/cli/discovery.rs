//! The command lines of gambol99/etcd-discovery.

use std::fs;
use std::path::Path;

use etcd_bootstrap::cli;

use super::{GROUP, json, rig};
use crate::scenario::form;
use crate::support::node::{Node, Run};
use crate::support::rig::Rig;

// ---------------------------------------------------------------- gambol99/etcd-discovery

/// Its flags (config.go and glog), each with a value that is not the default and what it sets.
const FLAGS: [(&str, &str); 16] = [
    ("environment-file", "/etc/sysconfig/etcd-discovery"),
    ("etcd-client-port", "4001"),
    ("etcd-client-schema", "http"),
    ("etcd-peer-port", "7001"),
    ("etcd-peer-scheme", "http"),
    ("private-addresses", "true"),
    ("private-hostnames", "false"),
    ("proxy-mode", "true"),
    ("scaling-group-name", "etcd-a"),
    ("logtostderr", "true"),
    ("alsologtostderr", "true"),
    ("v", "10"),
    ("vmodule", "aws=3"),
    ("stderrthreshold", "INFO"),
    ("log_dir", "/tmp"),
    ("log_backtrace_at", "a.go:1"),
];

fn parse(arguments: &[String]) -> cli::Options {
    let arguments = ["etcd-bootstrap".to_owned()].into_iter().chain(arguments.iter().cloned());
    cli::parse(arguments.map(Into::into)).unwrap_or_else(|e| panic!("{e}")).options
}

#[test]
fn every_flag_of_etcd_discovery_works_with_one_dash_and_with_two() {
    let forms: [fn(&str, &str) -> Vec<String>; 2] =
        [|flag, value| vec![format!("-{flag}={value}")], |flag, value| vec![format!("--{flag}={value}")]];
    let lines = forms.map(|form| FLAGS.iter().flat_map(|(flag, value)| form(flag, value)).collect::<Vec<_>>());
    // Go's flag package takes a value as the next argument too, but for those of a bool.
    let bools = ["private-addresses", "private-hostnames", "proxy-mode", "logtostderr", "alsologtostderr"];
    let apart = FLAGS.iter().flat_map(|(flag, value)| match bools.contains(flag) {
        true => vec![format!("-{flag}={value}")],
        false => vec![format!("-{flag}"), (*value).to_owned()],
    });
    for line in [lines[0].clone(), lines[1].clone(), apart.collect()] {
        let options = parse(&line);
        assert_eq!(options.node.environment_file, Path::new("/etc/sysconfig/etcd-discovery"));
        assert_eq!((options.ports.etcd_client_port, options.ports.etcd_peer_port), (4001, 7001));
        assert_eq!(options.ports.etcd_client_schema.to_string(), "http");
        assert_eq!(options.ports.etcd_peer_scheme.to_string(), "http");
        assert_eq!((options.ports.private_addresses, options.ports.private_hostnames), (true, Some(false)));
        assert_eq!((options.group.proxy_mode, options.group.scaling_group_name.as_deref()), (true, Some(GROUP)));
        assert_eq!(options.output.v, 10);
        // What does nothing here is said, each flag by its name; -logtostderr=true is what we do.
        let warnings = options.warnings().join("\n");
        for flag in ["-alsologtostderr", "-vmodule", "-stderrthreshold", "-log_dir", "-log_backtrace_at"] {
            assert!(warnings.contains(flag), "{flag}: {warnings}");
        }
        assert!(!warnings.contains("-logtostderr"), "{warnings}");
    }
}

#[test]
fn a_flag_given_twice_counts_as_it_was_given_last_as_in_go() {
    let options = parse(&["-v=2", "-proxy-mode", "-proxy-mode=false", "-v=10"].map(str::to_owned));
    assert_eq!((options.output.v, options.group.proxy_mode), (10, false));
}

#[test]
fn bools_take_the_words_of_go() {
    let truths = ["", "=true", "=1", "=t", "=T", "=TRUE", "=True"];
    let lies = ["=false", "=0", "=f", "=F", "=FALSE", "=False"];
    let given = truths.map(|word| (word, true)).into_iter().chain(lies.map(|word| (word, false)));
    for (word, expected) in given {
        for dash in ["-", "--"] {
            let options = parse(&[format!("{dash}private-addresses{word}"), format!("{dash}private-hostnames{word}")]);
            assert_eq!(
                (options.ports.private_addresses, options.ports.private_hostnames),
                (expected, Some(expected)),
                "{word}"
            );
        }
    }
}

#[tokio::test]
async fn the_members_command_line_of_etcd_discovery_works_unchanged() {
    let rig = discovery_rig("https");
    rig.group(GROUP, 1);
    let node = rig.launch(Some(GROUP)).unwrap();
    let file = node.dir().join("sysconfig/etcd-discovery");
    let run = exactly(&node, &format!("-environment-file={} -logtostderr -v=10", file.display())).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let world = rig.cloud.now();
    let (id, arn, ip) = (&node.instance, &world.groups[GROUP].arn, node.address);
    let host = world.instance(id).unwrap().dns_name().unwrap();
    let written = fs::read_to_string(&file).unwrap();
    let founding = written.split_once(&format!("{arn}/")).unwrap_or_else(|| panic!("{written}")).1;
    let founding = &founding[..16];
    let data = rig.directory.path().join("etcd").display().to_string();
    let expected = format!(
        "ETCD_ADVERTISE_CLIENT_URLS=https://{host}:2379\n\
         ETCD_CONFIG_FILE=\n\
         ETCD_DATA_DIR={data}\n\
         ETCD_DISCOVERY=\n\
         ETCD_DISCOVERY_ENDPOINTS=\n\
         ETCD_DISCOVERY_SRV=\n\
         ETCD_DISCOVERY_SRV_NAME=\n\
         ETCD_DISCOVERY_TOKEN=\n\
         ETCD_FORCE_NEW_CLUSTER=\n\
         ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{host}:2380\n\
         ETCD_INITIAL_CLUSTER={id}=https://{host}:2380\n\
         ETCD_INITIAL_CLUSTER_STATE=new\n\
         ETCD_INITIAL_CLUSTER_TOKEN={arn}/{founding}\n\
         ETCD_LISTEN_CLIENT_URLS=https://{ip}:2379\n\
         ETCD_LISTEN_PEER_URLS=https://{ip}:2380\n\
         ETCD_NAME={id}\n\
         ETCD_PROXY=\n\
         ETCD_WAL_DIR=\n"
    );
    assert_eq!(written, expected);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.lines().count() > 2 && run.stderr.lines().all(is_glog), "{}", run.stderr);
    let saved = file.with_extension("observation.json");
    assert!(saved.is_file(), "the observation is saved beside the file");
}

#[tokio::test]
async fn f81_the_consumers_command_line_of_etcd_discovery_works_unchanged() {
    let mut rig = discovery_rig("http");
    let members = form(&rig, 1).await;
    rig.setup.agent_environment.insert("ETCD_BOOTSTRAP_PRIVATE_ADDRESSES".into(), "true".into());
    rig.group("consumers", 1);
    let node = rig.launch(Some("consumers")).unwrap();
    let file = node.dir().join("sysconfig/etcd-discovery");
    let line =
        format!("-scaling-group-name={GROUP} -proxy-mode=true -environment-file={} -logtostderr -v=10", file.display());
    let run = exactly(&node, &line).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let url = format!("http://{}:2379", members[0].address);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("ETCDCTL_ENDPOINTS={url}\nETCD_ENDPOINTS={url}\n"));
    assert!(run.stderr.lines().all(is_glog), "{}", run.stderr);
    // For etcd 3.5 and older, the form that the old tool wrote.
    let run = exactly(&node, &format!("{line} --proxy-style=v2 --etcd-peer-scheme=http")).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let peer = format!("http://{}:2380", members[0].address);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("ETCD_INITIAL_CLUSTER=member-0={peer}\nETCD_PROXY=on\n"));
}

#[tokio::test]
async fn f29_private_addresses_alone_switch_and_so_does_no_to_hostnames() {
    let rig = discovery_rig("https");
    rig.group(GROUP, 1);
    let node = rig.launch(Some(GROUP)).unwrap();
    let host = rig.cloud.now().instance(&node.instance).unwrap().dns_name().unwrap();
    let address = node.address.to_string();
    let cases = [
        ("-private-addresses", &address),
        ("-private-hostnames=false", &address),
        ("-private-addresses=true -private-hostnames=false", &address),
        ("-private-addresses=true -private-hostnames=true", &address),
        ("-private-hostnames", &host),
        ("-private-addresses=false", &host),
    ];
    for (flags, expected) in cases {
        let run = exactly(&node, &format!("{flags} --dry-run --output=json")).await;
        let file = json(&run)["file"].as_str().unwrap_or_else(|| panic!("{flags}: {}", run.stdout)).to_owned();
        // One form for all of them.
        for key in
            ["INITIAL_ADVERTISE_PEER_URLS=", "ADVERTISE_CLIENT_URLS=", &format!("INITIAL_CLUSTER={}=", node.instance)]
        {
            assert!(file.contains(&format!("ETCD_{key}https://{expected}:")), "{flags}: {file}");
        }
    }
}

#[tokio::test]
async fn f58_variables_that_newer_etcds_ignore_are_warned_of_and_written_empty() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    for name in ["ETCD_PROXY", "ETCD_DISCOVERY"] {
        rig.setup.agent_environment.insert(name.into(), "on".into());
    }
    let node = rig.launch(Some(GROUP)).unwrap();
    let run = node.agent("run", &["-log_dir=/tmp", "-vmodule=a=1"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    for name in ["ETCD_PROXY", "ETCD_DISCOVERY", "-log_dir", "-vmodule"] {
        assert!(run.stderr.lines().any(|l| l.starts_with('W') && l.contains(name)), "{name}: {}", run.stderr);
    }
    let written = node.environment().unwrap().unwrap();
    assert_eq!([&written["ETCD_PROXY"], &written["ETCD_DISCOVERY"]], ["", ""], "{written:?}");
}

#[tokio::test]
async fn r03_force_new_cluster_is_warned_of_and_passed_on_to_nobody() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    rig.setup.agent_environment.insert("ETCD_FORCE_NEW_CLUSTER".into(), "true".into());
    let node = rig.launch(Some(GROUP)).unwrap();
    let run = node.agent("run", &[]).await.unwrap();
    let warned = run.stderr.lines().any(|l| l.starts_with('W') && l.contains("ETCD_FORCE_NEW_CLUSTER"));
    assert!(run.code == 0 && warned, "{}", run.stderr);
    assert_eq!(node.environment().unwrap().unwrap()["ETCD_FORCE_NEW_CLUSTER"], "");
}

// ---------------------------------------------------------------- what tests are made of

/// A rig whose agents get from their environment what a test must redirect, and nothing else: the command lines stay
/// as they are.
pub fn discovery_rig(scheme: &str) -> Rig {
    let mut rig = rig();
    let dir = rig.directory.path().display().to_string();
    let variables = [
        ("DATA_DIR", format!("{dir}/etcd")),
        ("STATE_DIR", format!("{dir}/state")),
        ("ETCD_CLIENT_SCHEMA", scheme.to_owned()),
    ];
    let variables = variables.map(|(name, value)| (format!("ETCD_BOOTSTRAP_{name}"), value));
    rig.setup.agent_environment.extend(variables);
    rig
}

pub async fn exactly(node: &Node, line: &str) -> Run {
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    node.agent_exactly(&arguments).await.unwrap()
}

/// `I1121 08:44:00.123456   1234 decide.rs:42] message`
fn is_glog(line: &str) -> bool {
    let shape = "L0000 00:00:00.000000 ";
    let fits = |(c, form): (char, char)| match form {
        'L' => "IWEF".contains(c),
        '0' => c.is_ascii_digit(),
        other => c == other,
    };
    let head = line.len() > shape.len() && line.chars().zip(shape.chars()).all(fits);
    let rest = line.get(shape.len()..).and_then(|rest| rest.split_once("] "));
    let Some((place, _)) = rest.filter(|_| head) else { return false };
    let mut words = place.split_whitespace();
    let process = words.next().is_some_and(|id| id.parse::<u32>().is_ok());
    let caller =
        words.next().and_then(|caller| caller.split_once(".rs:")).is_some_and(|(_, n)| n.parse::<u32>().is_ok());
    process && caller && words.next().is_none()
}
