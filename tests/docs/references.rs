//! AWS, make, links, numbers: what is named exists.

use std::collections::BTreeSet;

use etcd_bootstrap::model::CLUSTER_TAG;

use super::{citations, files, read, root, section, table, tokens, told, words};

// ---------------------------------------------------------------- files, units, Ignition

#[test]
fn b36_a_signal_and_other_partitions_are_documented() {
    assert!(section("## Exit codes").contains("143"));
    let iam = section("## IAM");
    assert!(["arn:aws-us-gov:", "arn:aws-cn:"].iter().all(|partition| iam.contains(partition)));
}

// ---------------------------------------------------------------- AWS, make, links, numbers

#[test]
fn the_policy_allows_what_the_program_calls_and_nothing_else() {
    let (iam, plain) = (section("## IAM"), section("## Plain instances"));
    let mut allowed = BTreeSet::new();
    for statement in [&iam, &plain].into_iter().flat_map(|section| statements(section)) {
        let actions = match &statement["Action"] {
            serde_json::Value::Array(actions) => actions.clone(),
            one => vec![one.clone()],
        };
        let actions = actions.iter().filter_map(|a| a.as_str()).map(str::to_owned);
        let actions: Vec<String> = actions.inspect(|action| assert!(!action.contains('*'))).collect();
        let reads = actions.iter().all(|action| action.contains(":Describe"));
        assert_eq!(reads, statement["Resource"] == "*", "only what reads may be allowed everywhere: {actions:?}");
        allowed.extend(actions);
    }
    let code =
        files().into_iter().filter(|file| file.starts_with("src/cloud/")).map(|file| read(&file)).collect::<String>();
    let called = ["autoscaling:", "ec2:"].iter().flat_map(|service| tokens(&code, service));
    // A tag's key begins as an action does, but no action with a small letter.
    let is_action = |token: &String| {
        token.split_once(':').is_some_and(|(_, name)| name.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    let called: BTreeSet<String> = called.filter(is_action).collect();
    assert_eq!(allowed, called, "README.md's policy (left) and src/cloud (right)");
    let explained: BTreeSet<String> = table("## IAM").iter().map(|row| words(&row[0]).concat()).collect();
    assert_eq!(allowed, explained, "every action has its reason");
    assert!(iam.contains(CLUSTER_TAG) && plain.contains(CLUSTER_TAG), "the tags' keys are the only ones allowed");
}

/// The statements of a section's policy.
fn statements(section: &str) -> Vec<serde_json::Value> {
    let policy = section.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("there is a policy");
    let policy: serde_json::Value = serde_json::from_str(policy).expect("it is JSON");
    policy["Statement"].as_array().expect("it has statements").clone()
}

#[test]
fn every_make_target_that_is_named_exists_and_every_one_is_named() {
    let makefile = read("Makefile");
    let rule = |line: &&str| line.contains(" ## ") && line.starts_with(|c: char| c.is_ascii_lowercase());
    let helped = makefile.lines().filter(rule).filter_map(|line| line.split_once(':'));
    let targets: BTreeSet<&str> = helped.map(|(target, _)| target).collect();
    let mut named = BTreeSet::new();
    for (file, text) in told() {
        let code = text.lines().filter(|line| line.starts_with("    make ") || line.starts_with("step make "));
        let code = code.filter_map(|line| line.split("make ").nth(1)?.split(' ').next()).map(str::to_owned);
        let quoted =
            words(&text).into_iter().filter_map(|w| w.strip_prefix("make ")?.split(' ').next().map(str::to_owned));
        for target in code.chain(quoted) {
            assert!(targets.contains(target.as_str()), "{file} says `make {target}`, which is no target");
            named.insert(target);
        }
    }
    let unnamed: Vec<_> = targets.iter().filter(|target| !named.contains(**target)).collect();
    assert!(unnamed.is_empty(), "nobody is told of {unnamed:?}");
}

#[test]
fn links_lead_somewhere() {
    let anchor = |heading: &str| -> String {
        let lower = heading.to_lowercase();
        let kept = lower.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let heading = |line: &str| line.strip_prefix('#').map(|rest| anchor(rest.trim_start_matches('#').trim()));
    for file in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/first-cluster.md", "terraform/README.md"] {
        let text = read(file);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, name) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { root().join(file) } else { root().join(file).with_file_name(path) };
            let has =
                |path| std::fs::read_to_string(path).unwrap_or_default().lines().filter_map(heading).any(|a| a == name);
            let good = target.starts_with("https://") || path.exists() && (name.is_empty() || has(path));
            assert!(good, "{file} links to {target}, which is not there");
        }
    }
}

#[test]
fn every_number_of_the_failure_catalogue_that_is_cited_is_explained() {
    let architecture = read("ARCHITECTURE.md");
    let catalogue = architecture.split("## The failure catalogue").nth(1).expect("there is a catalogue");
    let rows = catalogue.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let explained: BTreeSet<String> =
        rows.chain(catalogue.split("**").skip(1).step_by(2)).flat_map(citations).collect();
    for file in files() {
        let cited = if file.ends_with(".rs") || file.starts_with("systemd/") {
            citations(&read(&file))
        } else {
            BTreeSet::new()
        };
        for number in cited {
            assert!(explained.contains(&number), "{file} cites {number}, which ARCHITECTURE.md does not explain");
        }
    }
}

#[test]
fn no_file_says_where_this_checkout_lies() {
    let here = root().to_string_lossy().into_owned();
    let above = root().parent().map(|p| format!("{}/", p.display())).unwrap_or_default();
    // Directories that every system has are no secret of this one.
    let common = ["/", "//", "/home/", "/opt/", "/root/", "/src/", "/srv/", "/tmp/", "/usr/src/", "/var/tmp/"];
    for file in files() {
        let text = read(&file);
        assert!(here.len() < 5 || !text.contains(&here), "{file} names {here}");
        assert!(common.contains(&above.as_str()) || !text.contains(&above), "{file} names {above}");
        for home in ["/home", "/Users"] {
            assert!(
                !text.contains(&format!("{home}/")) || file == "tests/docs/references.rs",
                "{file} names somebody's home"
            );
        }
    }
}

/// A machine has its own: a mirror, a proxy. The clients know them, and nothing here has to.
#[test]
fn no_file_names_a_host_of_a_package_registry() {
    let hosts = [
        ("deb.debian", "org"),
        ("ftp.debian", "org"),
        ("security.debian", "org"),
        ("snapshot.debian", "org"),
        ("archive.ubuntu", "com"),
        ("ports.ubuntu", "com"),
        ("security.ubuntu", "com"),
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("index.crates", "io"),
        ("static.crates", "io"),
        ("static.rust-lang", "org"),
        ("proxy.golang", "org"),
        ("sum.golang", "org"),
        ("registry.npmjs", "org"),
        ("repo1.maven", "org"),
    ];
    for file in files() {
        let text = read(&file);
        for (name, domain) in hosts {
            let host = format!("{name}.{domain}");
            assert!(
                !text.contains(&host),
                "{file} names {host}: take what the machine has, as its package client does"
            );
        }
    }
}

/// The statements under "Certificates" are what the code asks KMS for, and no more: who may sign may be.
#[test]
fn c27_the_rights_on_the_keys_are_what_the_code_uses() {
    let section = section("## Certificates");
    let json = section.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("it has a policy");
    let statements: Vec<serde_json::Value> = serde_json::from_str(json).expect("it is JSON");
    let code = read("src/cloud/kms.rs");
    let asked: Vec<String> = tokens(&code, "kms:").into_iter().filter(|action| action != "kms:").collect();
    let allowed: Vec<&str> = statements.iter().filter_map(|statement| statement["Action"].as_str()).collect();
    assert_eq!(allowed, asked);
    let condition = &statements[1]["Condition"]["StringEquals"];
    assert_eq!(condition["kms:SigningAlgorithm"], "ECDSA_SHA_256");
    assert_eq!(condition["kms:MessageType"], "RAW");
    assert!(code.contains("SigningAlgorithmSpec::EcdsaSha256") && code.contains("MessageType::Raw"));
    assert_eq!(statements[1]["Resource"], "MEMBERS-KEY-ARN", "a member only reads the clients' key");
}

/// A container that has the file itself keeps the old one after a renewal.
#[test]
fn c25_a_container_gets_the_directory_of_the_certificates_and_no_file_of_it() {
    let mounts = told().into_iter().flat_map(|(file, text)| {
        let words = text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        words
            .into_iter()
            .filter(|word| word.starts_with("--volume="))
            .map(move |word| (file.clone(), word))
            .collect::<Vec<_>>()
    });
    let mounts: Vec<_> = mounts.filter(|(_, word)| word.contains("ssl")).collect();
    assert!(!mounts.is_empty());
    assert!(mounts.iter().all(|(_, word)| !word.contains(".pem")), "{mounts:?}");
}
