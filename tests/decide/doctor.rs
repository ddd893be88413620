//! What `doctor` says of what it saw: a node that lacks nothing, and each thing that a node may lack.

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_bootstrap::decide::doctor::examine;
use etcd_bootstrap::model::{
    Absence, Action, Blind, BlindKind, Check, Checkup, Database, Decision, Disk, DiskKind, Hook, PeerAnswer, Probe,
    Reason, Scheme, Seen, Settings, Severity, Transition, Unit, Wanted,
};

use super::scene::Scene;
use super::{blind, id, no_answer, peer, voter};
use crate::docs::read;

/// As systemd 257 prints them on a node of the boot test, `target/boot/logs/trixie/life/units.txt`.
const UNITS: &str = "tests/decide/units.txt";

/// A member of a sound cluster of three, and all that is right about its node.
fn well() -> (Scene, Checkup) {
    let scene = Scene::group(3).serving(&[voter(1), voter(2), voter(3)], 1..=3);
    let scene = scene.policy(|p| (p.peer_scheme, p.client_scheme) = (Scheme::Https, Scheme::Https));
    let hook = |name: &str, transition| Hook { name: name.to_owned(), transition, timeout: Duration::from_secs(120) };
    let hooks = vec![
        hook("etcd-bootstrap-launch", Transition::Launching),
        hook("etcd-bootstrap-terminate", Transition::Terminating),
    ];
    let checkup = Checkup {
        first_call: Some(Duration::from_millis(300)),
        settings: Seen::Yes(Settings {
            max: 4,
            health_checks: words(&["EC2"]),
            suspended: BTreeSet::new(),
            zones: words(&["a", "b", "c"]),
            min_healthy_percentage: Some(100),
        }),
        hooks: Seen::Yes(hooks),
        disk: Seen::Yes(Disk {
            path: "/var/lib/etcd".to_owned(),
            mode: 0o700,
            sync_p99: Duration::from_millis(4),
            free: 20 << 30,
            kind: DiskKind::Local,
        }),
        certificate_until: Some(scene.o.taken_at + Duration::from_secs(15 * 86_400)),
        issues: false,
        decision: Decision { action: Action::Wait, reason: Reason::FreshReplyNeeded },
        units: Some(Unit::read_all(&read(UNITS))),
        wanted: Wanted {
            environment_file: "/run/etcd-bootstrap/etcd.env".to_owned(),
            directories: vec!["/var/lib/etcd".to_owned()],
            deadline: Some(Duration::from_secs(300)),
            variables: words(&["ETCD_NAME", "ETCD_DATA_DIR"]),
        },
    };
    (scene, checkup)
}

fn words(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The worst of each check, with all that it says.
fn told(scene: &Scene, checkup: &Checkup) -> Vec<(Check, Severity, String)> {
    let findings = examine(&scene.o, &scene.p, checkup);
    let of = |check: &Check| {
        let own = findings.iter().filter(|finding| finding.id == *check);
        let texts = own.clone().map(|f| format!("{} -> {}", f.says, f.fix.clone().unwrap_or_default()));
        let worst = own.clone().map(|finding| finding.severity).max().expect("each check says something");
        (*check, worst, texts.collect::<Vec<_>>().join("; "))
    };
    Check::ALL.iter().map(of).collect()
}

/// One thing that is wrong, and what is said of it. All that the other checks say is no worse than before, and what
/// they could not see is unknown: one cause is one failure.
#[track_caller]
fn is_told(check: Check, severity: Severity, word: &str, change: impl FnOnce(Scene, &mut Checkup) -> Scene) {
    let (scene, mut checkup) = well();
    let before = told(&scene, &checkup);
    let scene = change(scene, &mut checkup);
    for ((id, now, says), (_, was, _)) in told(&scene, &checkup).into_iter().zip(before) {
        if id == check {
            assert_eq!(now, severity, "{id}: {says}");
            assert!(says.contains(word), "{id}: {says}");
        } else {
            assert!(now <= was.max(Severity::Unknown), "{check} is wrong, and {id}: {says}");
        }
    }
}

use Severity::{Failure, Unknown, Warning};

#[test]
fn a_node_that_lacks_nothing_fails_no_check() {
    let (scene, checkup) = well();
    let unknown: Vec<Check> = told(&scene, &checkup)
        .into_iter()
        .filter_map(|(check, severity, says)| {
            assert!(severity <= Unknown, "{check}: {says}");
            (severity == Unknown).then_some(check)
        })
        .collect();
    assert_eq!(unknown, [Check::Hooks], "AWS tries no call without making it");
}

#[test]
fn before_there_is_a_cluster_nothing_fails_for_want_of_one() {
    let (_, checkup) = well();
    let fresh = Scene::founders(3).policy(|p| p.client_scheme = Scheme::Https);
    for (check, severity, says) in told(&fresh, &checkup) {
        assert!(severity <= Unknown, "{check}: {says}");
    }
    // The others are up, and their agents are not.
    let refused = fresh.absent(2, Absence::Refused).absent(3, Absence::Refused);
    for (check, severity, says) in told(&refused, &checkup) {
        assert!(severity <= Unknown, "{check}: {says}");
    }
}

#[test]
fn what_aws_does_not_say_is_one_failure() {
    let unseen = |kind| {
        move |mut scene: Scene, checkup: &mut Checkup| {
            (scene.o.group, scene.o.ec2) = (Seen::No(blind(kind)), Seen::No(blind(kind)));
            (checkup.settings, checkup.hooks) = (Seen::No(blind(kind)), Seen::No(blind(kind)));
            scene.o.probes.clear();
            scene
        }
    };
    is_told(Check::Imds, Failure, "a test says so", |mut scene, checkup| {
        scene.o.me = Seen::No(blind(BlindKind::Unreachable));
        unseen(BlindKind::Unreachable)(scene, checkup)
    });
    is_told(Check::Aws, Failure, "name server", unseen(BlindKind::Unreachable));
    is_told(Check::Aws, Warning, "too often", unseen(BlindKind::Throttled));
    is_told(Check::IamRead, Failure, "the policy in README.md", unseen(BlindKind::Denied));
    is_told(Check::Group, Failure, "exact name", unseen(BlindKind::Absent));
    is_told(Check::IamRead, Failure, "the policy", |mut scene, _| {
        scene.o.ec2 = Seen::No(blind(BlindKind::Denied));
        scene
    });
    is_told(Check::IamRead, Warning, "the policy", |scene, checkup| {
        checkup.hooks = Seen::No(blind(BlindKind::Denied));
        scene
    });
    is_told(Check::Aws, Warning, "3.0 s", |scene, checkup| {
        checkup.first_call = Some(Duration::from_secs(3));
        scene
    });
}

#[test]
fn what_the_group_does_to_its_members_is_told() {
    let settings = |change: fn(&mut Settings)| {
        move |scene: Scene, checkup: &mut Checkup| {
            let Seen::Yes(settings) = &mut checkup.settings else { panic!("they were seen") };
            change(settings);
            scene
        }
    };
    is_told(Check::Group, Failure, "terminate all", settings(|s| s.health_checks = words(&["EC2", "ELB"])));
    is_told(Check::Group, Warning, "MaxSize is 3", settings(|s| s.max = 3));
    is_told(Check::Group, Warning, "MinHealthyPercentage", settings(|s| s.min_healthy_percentage = None));
    is_told(Check::Group, Warning, "MinHealthyPercentage", settings(|s| s.min_healthy_percentage = Some(90)));
    is_told(Check::Group, Warning, "in a, b", settings(|s| s.zones = words(&["a", "b"])));
    is_told(
        Check::Group,
        Warning,
        "Launch, ReplaceUnhealthy",
        settings(|s| {
            s.suspended = words(&["ReplaceUnhealthy", "AZRebalance", "Launch"]);
        }),
    );
    is_told(Check::IamTag, Failure, "CreateOrUpdateTags", |scene, _| scene.untagged());
    // The size of a group without a cluster: with one, `etcd` says it too.
    for (desired, severity, word) in
        [(0, Failure, "1, 3, 5 or 7"), (1, Warning, "lost"), (4, Warning, "as of 3"), (9, Warning, "5 or 7")]
    {
        is_told(Check::Group, severity, word, |mut scene, checkup| {
            scene.o.probes.clear();
            if let Seen::Yes(settings) = &mut checkup.settings {
                settings.max = 10;
            }
            scene.asg(|group| (group.desired, group.cluster_tag) = (desired, None))
        });
    }
}

#[test]
fn a_hook_that_nobody_completes_is_told() {
    let hooks = |change: fn(&mut Vec<Hook>)| {
        move |scene: Scene, checkup: &mut Checkup| {
            let Seen::Yes(hooks) = &mut checkup.hooks else { panic!("they were seen") };
            change(hooks);
            scene
        }
    };
    is_told(Check::Hooks, Warning, "no hook etcd-bootstrap-launch", hooks(|hooks| drop(hooks.remove(0))));
    is_told(Check::Hooks, Warning, "--launch-hook", hooks(|hooks| hooks[0].name = "mine".to_owned()));
    is_told(Check::Hooks, Warning, "--terminate-hook", hooks(|hooks| hooks[1].name = "mine".to_owned()));
    is_told(
        Check::Hooks,
        Failure,
        "does not wait for the hook etcd-bootstrap-launch",
        hooks(|hooks| hooks[0].transition = Transition::Terminating),
    );
    // What is balanced away has not left.
    let balances = |suspended: &'static [&'static str]| {
        let (scene, mut checkup) = well();
        checkup.hooks = Seen::Yes(Vec::new());
        if let Seen::Yes(settings) = &mut checkup.settings {
            settings.suspended = words(suspended);
        }
        told(&scene, &checkup).into_iter().any(|(_, _, says)| says.contains("AZRebalance"))
    };
    assert_eq!([balances(&[]), balances(&["AZRebalance"])], [true, false]);
}

#[test]
fn a_port_that_is_silent_is_another_thing_than_one_that_refuses() {
    let absent = |absence: Absence| {
        move |scene: Scene, _: &mut Checkup| {
            let mut scene = scene.untagged().absent(2, absence);
            scene.o.probes.retain(|probe| probe.asked == peer(2));
            scene
        }
    };
    is_told(Check::Ports, Failure, "2380/tcp", absent(no_answer()));
    is_told(Check::Ports, Failure, "--private-addresses", absent(Absence::NoName("no such name".to_owned())));
    is_told(Check::Ports, Failure, "one authority", absent(Absence::Tls("an alert".to_owned())));
    is_told(Check::Ports, Failure, "--user", absent(Absence::Denied("no".to_owned())));
    is_told(Check::Ports, Warning, "what listens", absent(Absence::NotUnderstood("HTTP 404".to_owned())));
    is_told(Check::Ports, Failure, "this node", |scene, _| {
        let foreign = Absence::NotUnderstood("HTTP 404".to_owned());
        let peer = PeerAnswer::Absent(foreign.clone());
        let mut scene = scene.untagged();
        let asked = super::peer(1);
        scene.o.probes = vec![Probe { instance: Some(id(1)), asked, peer, client: None }];
        scene
    });
    // Of an instance that is about to end nobody expects an answer.
    let (scene, checkup) = well();
    let scene = scene.known(2, "shutting-down").silent(2);
    let ports = told(&scene, &checkup).into_iter().find(|(check, ..)| *check == Check::Ports);
    assert!(ports.is_some_and(|(_, severity, _)| severity == Severity::Ok));
}

#[test]
fn a_clock_is_held_against_that_of_aws() {
    let off = |read: i64| {
        move |scene: Scene, _: &mut Checkup| {
            let now = scene.o.taken_at;
            let shift = Duration::from_secs(read.unsigned_abs());
            scene.asg(|group| group.date = Some(if read < 0 { now - shift } else { now + shift }))
        }
    };
    is_told(Check::Clock, Severity::Ok, "within a second", off(0));
    is_told(Check::Clock, Severity::Ok, "within a second", off(-1));
    is_told(Check::Clock, Warning, "2.0 s behind that of AWS", off(2));
    is_told(Check::Clock, Warning, "2.0 s ahead of that of AWS", off(-3));
    is_told(Check::Clock, Failure, "169.254.169.123", off(300));
    is_told(Check::Clock, Unknown, "what time", |scene, _| scene.asg(|group| group.date = None));
}

#[test]
fn a_disk_that_etcd_suffers_from_is_told() {
    let disk = |change: fn(&mut Disk)| {
        move |scene: Scene, checkup: &mut Checkup| {
            let Seen::Yes(disk) = &mut checkup.disk else { panic!("it was tried") };
            change(disk);
            scene
        }
    };
    let unseen = |kind| {
        move |scene, checkup: &mut Checkup| {
            checkup.disk = Seen::No(blind(kind));
            scene
        }
    };
    is_told(Check::Disk, Warning, "10.1 ms", disk(|disk| disk.sync_p99 = Duration::from_micros(10_100)));
    is_told(Check::Disk, Failure, "in memory", disk(|disk| disk.kind = DiskKind::Memory));
    is_told(Check::Disk, Warning, "another machine", disk(|disk| disk.kind = DiskKind::Network));
    is_told(Check::Disk, Warning, "2047 MiB", disk(|disk| disk.free = (2 << 30) - 1));
    is_told(Check::Disk, Failure, "etcd does not start", disk(|disk| disk.free = 100 << 20));
    is_told(Check::Disk, Warning, "chmod 0700", disk(|disk| disk.mode = 0o750));
    is_told(Check::Disk, Unknown, "a test says so", unseen(BlindKind::Absent));
    is_told(Check::Disk, Failure, "owner", unseen(BlindKind::Denied));
}

#[test]
fn certificates_that_end_or_are_refused_are_told() {
    is_told(Check::Certs, Warning, "clear", |scene, _| {
        scene.policy(|p| (p.peer_scheme, p.client_scheme) = (Scheme::Http, Scheme::Http))
    });
    let trouble = |mut scene: Scene, _: &mut Checkup| {
        scene.o.certificate_trouble = Some("it is for another host".to_owned());
        scene
    };
    is_told(Check::Certs, Failure, "another host", trouble);
    // One that the agent has issued is issued anew, and before the first run there is none.
    is_told(Check::Certs, Failure, "another host", |scene, checkup| {
        checkup.issues = true;
        trouble(scene, checkup)
    });
    is_told(Check::Certs, Unknown, "none is issued yet", |scene, checkup| {
        (checkup.issues, checkup.certificate_until) = (true, None);
        // And nobody can be spoken to without.
        let mut scene = trouble(scene, checkup).untagged().absent(2, Absence::Tls("an alert".to_owned()));
        scene.o.probes.retain(|probe| probe.asked == peer(2));
        scene
    });
    is_told(Check::Certs, Warning, "13.0 days", |scene, checkup| {
        checkup.certificate_until = Some(scene.o.taken_at + Duration::from_secs(13 * 86_400));
        scene
    });
    is_told(Check::Certs, Severity::Ok, "13.0 days", |scene, checkup| {
        checkup.issues = true;
        checkup.certificate_until = Some(scene.o.taken_at + Duration::from_secs(13 * 86_400));
        scene
    });
}

/// Each line of what systemd has loaded that makes a difference, changed by a drop-in of somebody's.
#[test]
fn f127_units_that_are_not_as_they_are_shipped_are_told() {
    let shipped = read(UNITS);
    let replaced = |severity, word: &str, from: &str, to: &str| {
        assert!(shipped.contains(from), "{UNITS} has no {from}");
        is_told(Check::Units, severity, word, |scene, checkup| {
            checkup.units = Some(Unit::read_all(&shipped.replacen(from, to, 1)));
            scene
        });
    };
    replaced(
        Failure,
        "without the agent",
        "start etcd-bootstrap.service ; ignore_errors=no",
        "start x ; ignore_errors=no",
    );
    replaced(
        Failure,
        "without the agent",
        "start etcd-bootstrap.service ; ignore_errors=no",
        "start etcd-bootstrap.service ; ignore_errors=yes",
    );
    replaced(
        Failure,
        "does not read",
        "EnvironmentFiles=/run/etcd-bootstrap/etcd.env",
        "EnvironmentFiles=/etc/default/etcd",
    );
    replaced(
        Warning,
        "last word",
        "EnvironmentFiles=/run/etcd-bootstrap/etcd.env (ignore_errors=yes)",
        "EnvironmentFiles=/run/etcd-bootstrap/etcd.env (ignore_errors=yes)\nEnvironmentFiles=/etc/mine (ignore_errors=no)",
    );
    replaced(Failure, "--data-dir", "argv[]=/usr/bin/etcd", "argv[]=/usr/bin/etcd --data-dir=/data");
    replaced(Failure, "ETCD_NAME", "argv[]=/usr/bin/etcd", "argv[]=/usr/bin/etcd -name a");
    replaced(Failure, "--config-file", "argv[]=/usr/bin/etcd", "argv[]=/usr/bin/etcd --config-file /etc/etcd.yaml");
    replaced(Severity::Ok, "reads its file", "argv[]=/usr/bin/etcd", "argv[]=/usr/bin/etcd --snapshot-count=5000");
    replaced(Failure, "1min 30s", "TimeoutStartUSec=2h", "TimeoutStartUSec=1min 30s");
    replaced(Severity::Ok, "reads its file", "TimeoutStartUSec=2h", "TimeoutStartUSec=infinity");
    replaced(Warning, "Restart=on-failure", "Restart=always", "Restart=on-failure");
    replaced(Failure, "belongs to one of them", "User=etcd\n", "User=mine\n");
    // As Flatcar's, which starts a container.
    replaced(Severity::Ok, "reads its file", "User=etcd\n", "User=\n");
    replaced(Failure, "late one", "RequiresMountsFor=", "Wants=");
    replaced(Failure, "may not write", "ReadWritePaths=-/var/lib/etcd", "ReadWritePaths=-/data");
    replaced(Failure, "etcd.service is loaded", "Id=etcd.service", "Id=mine.service");
    replaced(Failure, "etcd-bootstrap.service is not loaded", "Id=etcd-bootstrap.service", "Id=mine.service");
    is_told(Check::Units, Unknown, "systemctl show", |scene, checkup| {
        checkup.units = None;
        scene
    });
    is_told(Check::Units, Failure, "etcd-member.service", |scene, checkup| {
        checkup.units = Some(Unit::read_all("no unit at all"));
        scene
    });
    is_told(Check::Units, Failure, "late one", |scene, checkup| {
        checkup.wanted.directories.push("/var/lib/etcd-log".to_owned());
        scene
    });
    is_told(Check::Units, Failure, "--deadline", |scene, checkup| {
        checkup.wanted.deadline = None;
        scene
    });
}

#[test]
fn an_ill_cluster_and_a_refusal_are_told() {
    is_told(Check::Etcd, Failure, "NOSPACE", |mut scene, _| {
        let view = scene.o.probes[1].client.as_mut().and_then(|client| client.as_mut().ok()).expect("it answers");
        view.faults = vec!["memberID:2 alarm:NOSPACE ".to_owned()];
        scene
    });
    is_told(Check::Etcd, Warning, "80 %", |mut scene, _| {
        let view = scene.o.probes[1].client.as_mut().and_then(|client| client.as_mut().ok()).expect("it answers");
        view.database = Some(Database { size: 800, size_in_use: 10, quota: Some(1000) });
        scene
    });
    is_told(Check::Etcd, Warning, "3.5 and 3.6", |mut scene, _| {
        let PeerAnswer::Etcd(view) = &mut scene.o.probes[1].peer else { panic!("it answers") };
        view.server_version = "3.5.35".to_owned();
        scene
    });
    let decides = |action: Action, reason: Reason| {
        move |scene: Scene, checkup: &mut Checkup| {
            checkup.decision = Decision { action, reason };
            scene
        }
    };
    let taken = || Reason::PortTaken { why: "it is taken".to_owned() };
    is_told(Check::Run, Failure, "would refuse (port-taken)", decides(Action::Refuse, taken()));
    is_told(Check::Run, Severity::Ok, "would wait (port-taken)", decides(Action::Wait, taken()));
    let two = Reason::TwoClusters { one: super::OURS, other: super::OTHER };
    is_told(Check::Run, Failure, "would wait (two-clusters)", decides(Action::Wait, two));
    is_told(Check::Run, Severity::Ok, "go on (nothing-on-record)", decides(Action::Rest, Reason::NothingOnRecord));
}

#[test]
fn plain_instances_have_no_hooks_and_no_settings() {
    let (scene, mut checkup) = well();
    (checkup.settings, checkup.hooks) = (Seen::No(Blind::not_asked()), Seen::No(Blind::not_asked()));
    let scene = scene.asg(|group| group.plain = Some(etcd_bootstrap::model::Plain::default()));
    for (check, severity, says) in told(&scene, &checkup) {
        assert!(severity <= Unknown, "{check}: {says}");
    }
}
