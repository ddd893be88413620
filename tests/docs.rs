//! What the documents, the units and the Ignition sources say about the program is what the program does. Each test
//! derives one side from the code; what no test can know is left to their readers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use serde_json::json;

use etcd_bootstrap::cli::{self, Cli};
use etcd_bootstrap::model::{CLUSTER_TAG, EtcdVersion, Reason};
use etcd_bootstrap::reason::Exit;

// ---------------------------------------------------------------- the command line

#[test]
fn the_table_of_options_is_the_command_line() {
    let rows = table("## Options");
    let documented: BTreeSet<String> = rows.iter().map(|row| words(&row[0]).concat()).collect();
    let command = Cli::command();
    let options = || command.get_arguments().filter(|a| !a.is_hide_set() && a.get_env().is_some());
    let real: BTreeSet<String> = options().filter_map(|a| a.get_long()).map(|long| format!("--{long}")).collect();
    assert_eq!(documented, real, "README.md (left) and --help (right) have different options");
    for option in options() {
        let name = format!("--{}", option.get_long().expect("every option has a long name"));
        let row = rows.iter().find(|row| words(&row[0]).concat() == name).expect("they were compared above");
        let variable = option.get_env().expect("those without were left out").to_string_lossy().into_owned();
        assert_eq!(words(&row[1]), [variable], "the variable of {name}");
        let defaults = option.get_default_values().iter().map(|d| d.to_string_lossy().into_owned());
        assert_eq!(words(&row[2]), defaults.collect::<Vec<_>>(), "the default of {name}");
        for value in option.get_possible_values().iter().map(|v| v.get_name().to_owned()) {
            let said = words(&row[2]).contains(&value) || words(&row[3]).contains(&value);
            assert!(said, "the row of {name} does not say what '{value}' means");
        }
    }
}

/// Only command lines of ours are looked at: other programs' options stand in the documents too.
#[test]
fn every_option_and_variable_that_is_named_exists() {
    let command = Cli::command();
    let mut options: BTreeSet<String> = ["--help".to_owned(), "--version".to_owned()].into();
    for argument in command.get_arguments() {
        options.extend(argument.get_long_and_visible_aliases().into_iter().flatten().map(|l| format!("--{l}")));
        options.extend(argument.get_all_aliases().into_iter().flatten().map(|alias| format!("--{alias}")));
    }
    let variables: BTreeSet<String> = cli::variables().into_iter().collect();
    for (path, text) in told() {
        for name in tokens(&text, "ETCD_BOOTSTRAP_").iter().filter(|name| *name != "ETCD_BOOTSTRAP_") {
            assert!(variables.contains(name), "{path}: there is no variable {name}");
        }
        let begins = ["/etcd-bootstrap ", "`etcd-bootstrap ", "    agent "];
        for line in begins.iter().flat_map(|begin| text.split(begin).skip(1)) {
            let line = line.split(['\n', '`']).next().unwrap_or_default();
            let line = line.split(" #").next().unwrap_or_default();
            for word in line.split(' ').filter(|word| word.starts_with('-')) {
                let name = format!("--{}", word.trim_start_matches('-').split('=').next().unwrap_or_default());
                let glog = GLOG.contains(&name.as_str());
                assert!(glog || options.contains(&name), "{path}: there is no option {word}");
            }
        }
    }
}

#[test]
fn b23_f101_every_spelling_of_an_option_is_a_variable_too() {
    let variables = cli::variables();
    for option in Cli::command().get_arguments().filter(|option| option.get_env().is_some()) {
        for spelling in option
            .get_long_and_visible_aliases()
            .into_iter()
            .flatten()
            .chain(option.get_all_aliases().into_iter().flatten())
        {
            let variable = format!("ETCD_BOOTSTRAP_{}", spelling.to_uppercase().replace('-', "_"));
            assert!(variables.contains(&variable), "--{spelling} is no variable {variable}");
        }
    }
}

/// Accepted for old unit files and hidden in the help.
const GLOG: [&str; 6] =
    ["--logtostderr", "--alsologtostderr", "--vmodule", "--stderrthreshold", "--log_dir", "--log_backtrace_at"];

#[test]
fn the_flags_of_the_old_tool_that_are_promised_are_parsed() {
    let section = section("## From gambol99/etcd-discovery");
    let promised: Vec<String> = words(&section).into_iter().filter(|word| is_go_flag(word)).collect();
    assert_eq!(promised.iter().collect::<BTreeSet<_>>().len(), 16, "etcd-discovery has 16 flags: {promised:?}");
    let command = Cli::command();
    for flag in &promised {
        let known = |a: &clap::Arg| a.get_long() == flag.strip_prefix('-');
        assert!(command.get_arguments().any(known), "{flag} is promised and not known");
    }
    let lines = section.lines().filter_map(|line| line.trim().strip_prefix("ExecStart=/opt/bin/"));
    let lines: Vec<Vec<_>> = lines.map(|line| line.split(' ').map(Into::into).collect()).collect();
    assert_eq!(lines.len(), 2, "a member's and a consumer's command line");
    for line in lines {
        etcd_bootstrap::cli::parse(line.clone()).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    }
}

fn is_go_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}

// ---------------------------------------------------------------- exit codes and reasons

/// The exit codes, from the text of the enum: it cannot be walked.
fn exits() -> BTreeMap<String, String> {
    let text = read("src/reason.rs");
    let body = text.split("pub enum Exit {").nth(1).and_then(|rest| rest.split('}').next()).expect("there is Exit");
    let pair = |line: &str| line.trim().trim_end_matches(',').split_once(" = ").map(|(n, c)| (c.into(), n.into()));
    body.lines().filter_map(pair).collect()
}

#[test]
fn the_table_of_exit_codes_is_the_enum() {
    let rows = table("## Exit codes");
    let documented: BTreeMap<String, String> =
        rows.iter().map(|row| (row[0].clone(), words(&row[1]).concat())).collect();
    assert_eq!(documented, exits());
    let help = Cli::command().render_long_help().to_string();
    for code in exits().into_keys() {
        assert!(help.contains(&format!("{code} ")), "--help does not name the exit code {code}");
    }
}

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

/// Every reason that waits or refuses is in the table of what to do, with the exit code it leads to; and none else.
#[test]
fn the_table_of_reasons_is_the_enum() {
    let documented: BTreeMap<String, String> =
        table("## At three in the morning").iter().map(|row| (words(&row[0]).concat(), row[1].clone())).collect();
    let mut real = BTreeMap::new();
    for variant in stopping_reasons() {
        let made = make(&variant);
        let mut codes: Vec<u8> = made.iter().map(|reason| reason.exit() as u8).collect();
        codes.sort_unstable();
        codes.dedup();
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        real.insert(made[0].code(), codes.join(" or "));
    }
    assert_eq!(documented, real, "README.md (left) and reason.rs (right)");
}

/// What the program advises, the table may not contradict: an option or command in the one is in the other.
#[test]
fn the_table_of_reasons_gives_the_programs_advice() {
    for row in table("## At three in the morning") {
        let code = words(&row[0]).concat();
        let variant =
            stopping_reasons().into_iter().find(|v| make(v)[0].code() == code).expect("they are compared above");
        let Some(advice) = make(&variant)[0].advice() else { continue };
        let named = |text: &str| -> BTreeSet<String> {
            let options =
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| word.starts_with("--"));
            options.filter(|word| word.len() > 2).map(str::to_owned).collect()
        };
        for option in named(&advice) {
            // A row may give an option's value alone where its meaning has named the option.
            assert!(
                named(&row[3]).contains(&option) || named(&row[2]).contains(&option),
                "{code}: advice says {option}"
            );
        }
    }
}

/// The variants of `Reason` below the headings of those that wait and refuse, as `Name { field: Type, ... }`.
fn stopping_reasons() -> Vec<String> {
    let text = read("src/model.rs");
    let body =
        text.split("pub enum Reason {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("there is Reason");
    let body = body.split("// Waiting").nth(1).expect("those that wait stand under a heading");
    let lines = body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.map(|line| line.trim_end_matches(',').to_owned()).collect()
}

/// A reason of a variant, made from its text; one for each kind of blindness where it holds one.
fn make(variant: &str) -> Vec<Reason> {
    let name: String = variant.chars().take_while(char::is_ascii_alphanumeric).collect();
    let kebab = kebab(&name);
    let values: Vec<serde_json::Value> = if variant.ends_with("(Blind)") {
        let kinds = ["unreachable", "denied", "throttled", "absent", "ambiguous", "malformed"];
        kinds.into_iter().map(|kind| json!({ kebab.as_str(): { "kind": kind, "why": "" } })).collect()
    } else if let Some(fields) = variant.split_once('{').map(|(_, rest)| rest.trim_end_matches('}').trim()) {
        let field = |field: &str| {
            let (name, kind) = field.split_once(": ").expect("a field has a type");
            let value = match kind {
                "usize" | "u64" => json!(1),
                "Option<String>" => json!(null),
                "Lack" => json!("client-port"),
                "Vec<String>" | "Vec<InstanceId>" => json!([]),
                _ => json!("1"),
            };
            (name.to_owned(), value)
        };
        let fields: serde_json::Map<_, _> = fields.split(", ").map(field).collect();
        vec![json!({ kebab.as_str(): fields })]
    } else {
        vec![json!(kebab)]
    };
    let parse = |value| serde_json::from_value(value).unwrap_or_else(|e| panic!("make a reason of '{variant}': {e}"));
    values.into_iter().map(parse).collect()
}

/// As serde's `kebab-case` has it: no dash before a digit.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
    }
    kebab
}

#[test]
fn the_exit_codes_in_the_text_are_the_compiled_ones() {
    let compiled = [Exit::Done, Exit::Usage, Exit::Unavailable, Exit::NotNow, Exit::Person];
    let numbers: Vec<String> = compiled.iter().map(|exit| (*exit as u8).to_string()).collect();
    assert_eq!(numbers, exits().into_keys().collect::<Vec<_>>());
}

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
    assert_eq!(format!("-{}", default("data-dir")), values(&unit, "ReadWritePaths").concat());
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
        assert_eq!(values(&unit, directive), [own]);
        assert_eq!(values(&example, directive), ["/data/etcd"], "README.md's drop-in");
    }
}

#[test]
fn b25_the_consumers_proxy_sees_the_certificates_in_its_container() {
    let config = read("ignition/consumer.bu");
    let command = config.lines().find(|line| line.contains("docker run")).expect("Flatcar's etcd is an image");
    assert!(command.contains(" --volume=/etc/ssl/certs:/etc/ssl/certs:ro "), "{command}");
}

#[test]
fn b36_a_signal_and_other_partitions_are_documented() {
    assert!(section("## Exit codes").contains("143"));
    let iam = section("## IAM");
    assert!(["arn:aws-us-gov:", "arn:aws-cn:"].iter().all(|partition| iam.contains(partition)));
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
        let extension = read("src/run.rs").contains("with_extension(\"observation.json\")");
        let identity = read("src/run.rs").contains("join(\"identity.json\")");
        (extension && path.ends_with(".observation.json")) || (identity && path.ends_with("/identity.json"))
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

// ---------------------------------------------------------------- AWS, make, links, numbers

#[test]
fn the_policy_allows_what_the_program_calls_and_nothing_else() {
    let section = section("## IAM");
    let policy = section.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("there is a policy");
    let policy: serde_json::Value = serde_json::from_str(policy).expect("it is JSON");
    let mut allowed = BTreeSet::new();
    for statement in policy["Statement"].as_array().expect("it has statements") {
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
    let code = read("src/remote/aws.rs");
    let called = ["autoscaling:", "ec2:"].iter().flat_map(|service| tokens(&code, service));
    // A tag's key begins as an action does, but no action with a small letter.
    let is_action = |token: &String| {
        token.split_once(':').is_some_and(|(_, name)| name.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    let called: BTreeSet<String> = called.filter(is_action).collect();
    assert_eq!(allowed, called, "README.md's policy (left) and src/remote/aws.rs (right)");
    let explained: BTreeSet<String> = table("## IAM").iter().map(|row| words(&row[0]).concat()).collect();
    assert_eq!(allowed, explained, "every action has its reason");
    assert!(section.contains(CLUSTER_TAG), "the tag's key is the only one allowed");
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
    for file in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = read(file);
        let anchor = |heading: &str| -> String {
            let lower = heading.to_lowercase();
            let kept = lower.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        let heading = |line: &str| line.strip_prefix('#').map(|rest| anchor(rest.trim_start_matches('#').trim()));
        let anchors: BTreeSet<String> = text.lines().filter_map(heading).collect();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let good = match target.strip_prefix('#') {
                Some(name) => anchors.contains(name),
                None => target.starts_with("https://") || root().join(target).exists(),
            };
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

/// `F28`, `E17`, `F12b`, and the `f28` of a test's name.
pub fn citations(text: &str) -> BTreeSet<String> {
    let boundary = |c: Option<char>| !c.is_some_and(|c| c.is_ascii_alphanumeric());
    let mut cited = BTreeSet::new();
    for (at, c) in text.char_indices().filter(|(_, c)| matches!(c, 'F' | 'E' | 'f')) {
        let rest = &text[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letter = usize::from(rest[digits..].starts_with(['b', 'c']));
        let next = rest[digits + letter..].chars().next();
        let in_name = c == 'f' && next == Some('_') && (2..=3).contains(&digits);
        let in_comment = c != 'f' && boundary(next) && next != Some('_') && (1..=3).contains(&digits);
        if boundary(text[..at].chars().next_back()) && (in_name || in_comment) {
            cited.insert(format!("{}{}", c.to_ascii_uppercase(), &rest[..digits + letter]));
        }
    }
    cited
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
            assert!(!text.contains(&format!("{home}/")) || file == "tests/docs.rs", "{file} names somebody's home");
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

// ---------------------------------------------------------------- reading

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(file: &str) -> String {
    let bytes = fs::read(root().join(file)).unwrap_or_else(|e| panic!("read {file}: {e}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All files of the repository, without what git ignores.
pub fn files() -> Vec<String> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("the repository can be listed") {
            let path = entry.expect("the repository can be listed").path();
            let name = path.strip_prefix(root()).expect("it is below the root").to_string_lossy().into_owned();
            match path.is_dir() {
                true if ["target", ".git"].contains(&name.as_str()) => {}
                true => directories.push(path),
                false => files.push(name),
            }
        }
    }
    files.sort();
    files
}

/// What people and systemd are told: documents, units, Ignition's sources, the files around the build.
fn told() -> Vec<(String, String)> {
    let told = |file: &String| {
        file.starts_with("systemd/")
            || file.ends_with(".bu")
            || ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Dockerfile", ".ci/run"].contains(&file.as_str())
    };
    files().into_iter().filter(told).map(|file| (file.clone(), read(&file))).collect()
}

/// README.md from a heading to the next one of its rank.
fn section(heading: &str) -> String {
    let readme = read("README.md");
    let rest = readme.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("README.md has no '{heading}'"));
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The first table of a section of README.md, without its head.
fn table(heading: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let inner = line.trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<String>>()
    };
    let section = section(heading);
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> = lines.skip(2).map(cells).collect();
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "a row of '{heading}' has more cells than another");
    rows
}

/// What stands in backquotes.
fn words(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(|word| word.replace('\n', " ")).collect()
}

/// The values of a key in a unit file, in their order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    unit.lines().filter_map(value).collect()
}

/// Every word that begins with a prefix, as far as names and paths go.
fn tokens(text: &str, prefix: &str) -> BTreeSet<String> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let starts = text.match_indices(prefix).map(|(at, _)| at);
    let starts = starts.filter(|at| !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    starts
        .map(|at| {
            let end = text[at + prefix.len()..].find(|c| !of_name(c)).map_or(text.len(), |end| at + prefix.len() + end);
            text[at..end].to_owned()
        })
        .collect()
}
