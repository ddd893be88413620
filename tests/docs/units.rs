//! Files, units and Ignition.

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory;
use etcd_bootstrap::cli::Cli;
use etcd_bootstrap::model::{Class, EtcdVersion};

use super::{files, read, root, table, tokens, told, values, words};

// ---------------------------------------------------------------- exit codes and reasons

/// What the rest of the agent's safety hangs on: no etcd without it, and nothing that runs when etcd stops.
#[test]
fn f01_f40_f64_f83_the_units_start_no_etcd_without_the_agent_and_do_nothing_at_its_stop() {
    for unit in ["etcd", "etcd-member"] {
        let drop_in = read(&format!("systemd/{unit}.service.d/10-etcd-bootstrap.conf"));
        let before = values(&drop_in, "ExecStartPre");
        assert_eq!(before[0], "+/usr/bin/systemctl start etcd-bootstrap.service", "no '-': its failure is etcd's");
        assert_eq!(values(&drop_in, "Restart"), ["always"]);
    }
    let agent = read("systemd/etcd-bootstrap.service");
    assert_eq!(values(&agent, "ExecStart"), ["/opt/bin/etcd-bootstrap run"], "no '-' here either");
    assert!(values(&agent, "SuccessExitStatus").is_empty() && values(&agent, "RemainAfterExit").is_empty());
    assert!(values(&agent, "After").iter().any(|units| units.contains("network-online.target")));
    for file in files().into_iter().filter(|file| file.starts_with("systemd/")) {
        let text = read(&file);
        assert!(["ExecStop", "ExecStopPost"].iter().all(|key| values(&text, key).is_empty()), "{file}");
    }
    assert!(read("README.md").contains("locksmith"), "who reboots Flatcar is told what its strategy cannot do");
}

#[test]
fn the_units_try_again_after_the_codes_that_the_table_says() {
    let unit = read("systemd/etcd-bootstrap-ready.service");
    let prevented = values(&unit, "RestartPreventExitStatus").concat();
    let rows = table("## Exit codes");
    let not_again = rows.iter().filter(|row| row[4] == "not tried again").map(|row| row[0].as_str());
    assert_eq!(prevented, not_again.collect::<Vec<_>>().join(" "));
    let again = format!("again after {} s", values(&unit, "RestartSec").concat());
    assert!(rows.iter().any(|row| row[4] == again), "the ready unit's RestartSec=");
    for drop_in in DROP_INS {
        let drop_in = read(drop_in);
        assert_eq!(values(&drop_in, "Restart"), ["always"]);
        let again = format!("agent again after {} s", values(&drop_in, "RestartSec").concat());
        assert!(rows.iter().any(|row| row[3].ends_with(&again)), "the drop-in's RestartSec=");
    }
}

const DROP_INS: [&str; 2] =
    ["systemd/etcd-member.service.d/10-etcd-bootstrap.conf", "systemd/etcd.service.d/10-etcd-bootstrap.conf"];

// ---------------------------------------------------------------- files, units, Ignition

#[test]
fn the_defaults_of_the_command_line_are_the_units_directories() {
    let command = Cli::command();
    let default = |name: &str| {
        let option = command.get_arguments().find(|a| a.get_long() == Some(name)).expect("the option is there");
        option.get_default_values()[0].to_string_lossy().into_owned()
    };
    let unit = read("systemd/etcd-bootstrap.service");
    assert_eq!(format!("/var/lib/{}", values(&unit, "StateDirectory").concat()), default("state-dir"));
    let written = [format!("-{}", default("data-dir")), format!("-{}", default("certificate-dir"))];
    assert_eq!(values(&unit, "ReadWritePaths"), written);
    for other in ["consumer", "certificate"] {
        let unit = read(&format!("systemd/etcd-bootstrap-{other}.service"));
        assert_eq!(values(&unit, "ReadWritePaths"), written[1..], "{other}");
    }
    let timer = values(&read("systemd/etcd-bootstrap-certificate.timer"), "ConditionPathExists").concat();
    assert_eq!(timer, format!("{}/node.pem", default("certificate-dir")));
    assert_eq!(values(&unit, "RequiresMountsFor"), [default("data-dir")]);
    let file = default("environment-file");
    assert!(file.starts_with(&format!("/run/{}/", values(&unit, "RuntimeDirectory").concat())));
    for drop_in in DROP_INS {
        assert_eq!(values(&read(drop_in), "EnvironmentFile"), [format!("-{file}")], "{drop_in}");
    }
    let consumer = read("systemd/etcd-bootstrap-consumer.service");
    let written = values(&consumer, "ExecStart").concat();
    let written = written.split("--environment-file=").nth(1).expect("the consumer says where it writes");
    assert_eq!(values(&read("systemd/etcd-grpc-proxy.path"), "PathChanged"), [written]);
    assert_eq!(values(&read("systemd/etcd-grpc-proxy.service"), "EnvironmentFile")[0], written);
}

#[test]
fn b35_the_drop_in_for_another_data_directory_has_what_the_unit_has_for_its_own() {
    let unit = read("systemd/etcd-bootstrap.service");
    let example = read("README.md").replace("\n      ", "\n");
    for (directive, own) in [("RequiresMountsFor", "/var/lib/etcd"), ("ReadWritePaths", "-/var/lib/etcd")] {
        assert_eq!(values(&unit, directive)[0], own);
        assert_eq!(values(&example, directive), ["/data/etcd"], "README.md's drop-in");
    }
}

/// Each class has its own prefix, because a rule of S3 knows no other difference: where snapshots end and nobody notices,
/// those of the last days expire, and the daily ones do not.
#[test]
fn r14_the_buckets_rules_outlive_a_backup_that_has_stopped() {
    let text = read("README.md");
    let text = text.split("<!-- bucket lifecycle -->\n```json\n").nth(1).expect("README.md has the rules");
    let rules: serde_json::Value = serde_json::from_str(text.split("```").next().unwrap()).expect("they are JSON");
    let rules = rules["Rules"].as_array().expect("a list").iter();
    let expiring = rules
        .clone()
        .filter_map(|rule| Some((rule["Filter"]["Prefix"].as_str()?.to_owned(), rule["Expiration"]["Days"].as_u64()?)));
    let prefix = |class: Class| format!("PREFIX/{}/", class.as_str());
    let expiring: BTreeMap<String, u64> = expiring.collect();
    let (recent, daily) = (expiring[&prefix(Class::Recent)], expiring[&prefix(Class::Daily)]);
    assert!(recent < daily && daily > 365, "{expiring:?}");
    assert_eq!(expiring.len(), 2, "what is taken by hand stays: {expiring:?}");
    assert!(rules.into_iter().any(|rule| rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1));
}

/// The timer runs several times in the shortest slot, and its service reads and writes what the others do.
#[test]
fn the_snapshot_timer_comes_in_every_slot_and_etcd_comes_first() {
    let (unit, agent) = (read("systemd/etcd-bootstrap-snapshot.service"), read("systemd/etcd-bootstrap.service"));
    assert_eq!(values(&unit, "ExecStart"), ["/opt/bin/etcd-bootstrap snapshot"]);
    for key in ["EnvironmentFile", "User", "StateDirectory", "SystemCallFilter", "ProtectSystem", "PrivateUsers"] {
        assert_eq!(values(&unit, key), values(&agent, key), "{key}");
    }
    assert_eq!(values(&unit, "Nice"), ["10"]);
    let timer = read("systemd/etcd-bootstrap-snapshot.timer");
    assert_eq!(
        (values(&timer, "OnCalendar"), values(&timer, "WantedBy")),
        (vec!["*:0/10".into()], vec!["timers.target".into()])
    );
    for drop_in in DROP_INS {
        assert!(!read(drop_in).contains("snapshot"), "etcd's start does not wait for a snapshot");
    }
}

#[test]
fn the_readme_installs_every_unit_of_a_member_and_lists_every_command() {
    let text = read("README.md");
    let of_a_member = |file: &String| file.starts_with("systemd/etcd-bootstrap") && !file.contains("consumer");
    for unit in files().into_iter().filter(of_a_member) {
        assert!(text.contains(&format!("target/dist/{unit}")), "{unit} is not installed on Debian");
    }
    let commands = text.split("\nCommands: ").nth(1).and_then(|rest| rest.split("`--help`").next()).expect("the list");
    for command in Cli::command().get_subcommands() {
        assert!(commands.contains(&format!("`{}", command.get_name())), "{}", command.get_name());
    }
}

#[test]
fn b25_the_consumers_proxy_sees_the_certificates_in_its_container() {
    let config = read("ignition/consumer.bu");
    let command = config.lines().find(|line| line.contains("docker run")).expect("Flatcar's etcd is an image");
    assert!(command.contains(" --volume=/etc/ssl/certs:/etc/ssl/certs:ro "), "{command}");
}

#[test]
fn every_path_of_ours_is_in_the_table_of_files_and_the_other_way_round() {
    let documented: BTreeSet<String> = table("## Files").iter().map(|row| words(&row[0]).concat()).collect();
    let ours = ["/opt/bin/", "/etc/etcd-bootstrap/", "/run/etcd-bootstrap/", "/var/lib/etcd", "/etc/ssl/certs/etcd"];
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for (file, text) in told() {
        for path in ours.iter().flat_map(|prefix| tokens(&text, prefix)) {
            named.entry(path.trim_end_matches(['.', '/', ':']).to_owned()).or_insert(file.clone());
        }
    }
    // A directory stands for what is in it, and the old tool's binary and Debian's own directory are not ours.
    let of_others = ["/opt/bin", "/var/lib/etcd/default", "/etc/etcd-bootstrap", "/run/etcd-bootstrap"];
    for (path, file) in &named {
        let known = documented.contains(path)
            || of_others.contains(&path.as_str())
            || documented.iter().any(|d| d.starts_with(&format!("{path}/")))
            || documented.contains("/etc/ssl/certs/etcd") && path.starts_with("/etc/ssl/certs/etcd/");
        assert!(known, "{file} names {path}, which is not in README.md's table of files");
    }
    let derived = |path: &str| {
        // Named in the code by their parts.
        let extension = ["observation.json", "cluster.json", "moved"].iter().any(|extension| {
            read("src/config.rs").contains(&format!("with_extension(\"{extension}\")"))
                && path.ends_with(&format!(".{extension}"))
        });
        let kept = |room: &str, file: &str| {
            read(room).contains(&format!("join(\"{file}\")")) && path.ends_with(&format!("/{file}"))
        };
        extension
            || kept("src/files/saved.rs", "identity.json")
            || kept("src/files/saved.rs", "left.json")
            || kept("src/files/saved.rs", "snapshot.json")
            || kept("src/issue/trust.rs", "authorities.json")
    };
    for path in &documented {
        let elsewhere = told().iter().any(|(file, text)| file != "README.md" && text.contains(path.as_str()));
        assert!(
            elsewhere || derived(path),
            "README.md's table has {path}, which no unit, no Ignition source and no code has"
        );
    }
}

#[test]
fn what_ignition_and_the_readme_install_is_shipped_and_ends_where_systemd_looks() {
    let mut installed = BTreeSet::new();
    for (file, text) in told().into_iter().filter(|(file, _)| file.ends_with(".bu")) {
        let mut target = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(path) = line.strip_prefix("- path: ") {
                target = path.to_owned();
            }
            if let Some(source) = line.strip_prefix("local: ") {
                assert!(root().join(source).is_file(), "{file} takes {source}, which is not there");
                let place = source.strip_prefix("systemd/").expect("units come from systemd/");
                assert_eq!(target, format!("/etc/systemd/system/{place}"), "{file}");
                installed.insert(source.to_owned());
            }
        }
    }
    for word in read("README.md").split([' ', '\n', '`']).filter_map(|word| word.strip_prefix("target/dist/systemd/")) {
        assert!(root().join("systemd").join(word).is_file(), "README.md installs {word}, which is not there");
        installed.insert(format!("systemd/{word}"));
    }
    let shipped: BTreeSet<String> = files().into_iter().filter(|file| file.starts_with("systemd/")).collect();
    assert_eq!(installed, shipped, "a unit that nothing installs, or the other way round");
}

/// `etcd-bootstrap.service` says the reason of each line, and the others refer to it.
#[test]
fn the_units_of_the_agent_have_one_sandbox() {
    // Which directories each writes to besides its own is another matter.
    let sandbox = |unit: &str| -> Vec<String> {
        let text = read(&format!("systemd/{unit}.service"));
        let lines = text.lines().skip_while(|line| !line.starts_with("ProtectSystem="));
        let lines = lines.take_while(|line| !line.starts_with('['));
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.filter(|line| !line.starts_with("ReadWritePaths=")).map(str::to_owned).collect()
    };
    let shared = sandbox("etcd-bootstrap");
    assert!(shared.len() > 25, "{shared:#?}");
    for other in ["certificate", "consumer", "ready", "snapshot", "watch"] {
        assert_eq!(sandbox(&format!("etcd-bootstrap-{other}")), shared, "{other}");
    }
}

#[test]
fn every_unit_says_where_to_read_on() {
    let ours = "https://github.com/etcd-bootstrap/etcd-bootstrap";
    for file in files().into_iter().filter(|file| file.starts_with("systemd/") && !file.ends_with(".conf")) {
        assert!(values(&read(&file), "Documentation").concat().starts_with(ours), "{file}");
    }
}

#[test]
fn the_drop_ins_of_both_etcds_say_the_same() {
    let [member, etcd] = DROP_INS.map(|drop_in| {
        let text = read(drop_in);
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    // Flatcar's unit says this by itself.
    let data_dir = "Environment=ETCD_DATA_DIR=/var/lib/etcd".to_owned();
    assert_eq!(etcd, [member, vec![data_dir]].concat());
}

/// On Flatcar the agent cannot ask an image.
#[test]
fn f89_the_agent_is_told_the_version_of_the_image_that_ignition_names() {
    for config in ["ignition/member.bu", "ignition/member-tls.bu"] {
        let text = read(config);
        let value = |name: &str| text.lines().find_map(|line| line.split_once(name)).map(|(_, value)| value.to_owned());
        let told = value("ETCD_BOOTSTRAP_ETCD_VERSION=").expect("the agent is told");
        assert_eq!(Some(&told), value("Environment=ETCD_IMAGE_TAG=").as_ref(), "{config}");
        told.parse::<EtcdVersion>().unwrap_or_else(|why| panic!("{config}: {why}"));
    }
}

#[test]
fn units_that_are_named_exist() {
    let ours: BTreeSet<String> = files().iter().filter_map(|f| f.strip_prefix("systemd/")).map(str::to_owned).collect();
    for (file, text) in told() {
        for name in tokens(&text, "etcd-bootstrap").into_iter().chain(tokens(&text, "etcd-grpc-proxy")) {
            let name = name.trim_end_matches(['.', '/']);
            let unit = [".service", ".timer", ".path"].iter().any(|kind| name.ends_with(kind));
            assert!(!unit || ours.contains(name), "{file} names {name}, which is not in systemd/");
        }
    }
}
