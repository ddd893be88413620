//! What systemd has loaded, as `systemctl show` prints it (systemd.service(5), systemd.exec(5)).

use super::{Says, failure, or_ok, unknown, warning};
use crate::model::{Checkup, Unit, Wanted};

/// etcd's unit on Flatcar, and everywhere else.
const OF_ETCD: [&str; 2] = ["etcd-member.service", "etcd.service"];

const AGENT: &str = "etcd-bootstrap.service";

/// What the person is to type.
const HOW: &str =
    "systemctl show etcd-member.service etcd.service etcd-bootstrap.service | etcd-bootstrap doctor --units-from=-";

const DROP_IN: &str = "install 10-etcd-bootstrap.conf of etcd's unit as README.md has it, and systemctl daemon-reload";

pub(super) fn units(seen: &Checkup) -> Vec<Says> {
    let Some(units) = &seen.units else { return vec![unknown(format!("not looked at: {HOW}"))] };
    let loaded =
        |wanted: &str| units.iter().find(|unit| unit.id() == Some(wanted) && unit.value("LoadState") == Some("loaded"));
    let Some(etcd) = OF_ETCD.into_iter().find_map(loaded) else {
        let says = format!("neither {} is loaded, by what was handed over", OF_ETCD.join(" nor "));
        return vec![failure(says, HOW)];
    };
    let mut ills = of_etcd(etcd, &seen.wanted);
    match loaded(AGENT) {
        Some(agent) => ills.extend(of_agent(agent, etcd, &seen.wanted)),
        None => ills.push(failure(format!("{AGENT} is not loaded, by what was handed over"), HOW)),
    }
    or_ok(ills, || format!("{} starts the agent first, and reads its file", name(etcd)))
}

fn name(unit: &Unit) -> &str {
    unit.id().unwrap_or_default()
}

/// What keeps etcd from starting as the agent has decided (F01, F58, F75, F78).
fn of_etcd(unit: &Unit, wanted: &Wanted) -> Vec<Says> {
    let words = unit.values("ExecStart").flat_map(str::split_whitespace);
    let flags = words.filter_map(|word| flag(unit, word, wanted));
    let others = [agent_first(unit), file(unit, wanted), time(unit, wanted), restart(unit)];
    others.into_iter().flatten().chain(flags).collect()
}

fn agent_first(unit: &Unit) -> Option<Says> {
    let starts =
        |command: &str| command.contains(AGENT) && command.contains(" start ") && command.contains("ignore_errors=no");
    let says = format!("{} starts without the agent, as a cluster of its own", name(unit));
    (!unit.values("ExecStartPre").any(starts)).then(|| failure(says, DROP_IN))
}

/// The last file has the last word.
fn file(unit: &Unit, Wanted { environment_file, .. }: &Wanted) -> Option<Says> {
    let files = unit.values("EnvironmentFiles").filter_map(|file| file.split(" (").next());
    let files: Vec<&str> = files.collect();
    match files.iter().position(|file| file == environment_file).map(|at| &files[at + 1..]) {
        None => Some(failure(format!("{} does not read {environment_file}", name(unit)), DROP_IN)),
        Some([]) => None,
        Some(later) => Some(warning(
            format!(
                "{} reads {} after the agent's file, which does not have the last word then",
                name(unit),
                later.join(", ")
            ),
            "a name for that drop-in that sorts before 10-etcd-bootstrap.conf",
        )),
    }
}

fn time(unit: &Unit, wanted: &Wanted) -> Option<Says> {
    let limit = unit.value("TimeoutStartUSec")?;
    // It prints `infinity` for none.
    let span = humantime::parse_duration(limit).ok()?;
    let says = format!("systemd gives {} {limit} to start, and the agent's --deadline is longer", name(unit));
    let fix = "a longer TimeoutStartSec=, as the drop-in has it, or a shorter --deadline";
    wanted.deadline.is_none_or(|deadline| deadline >= span).then(|| failure(says, fix))
}

fn restart(unit: &Unit) -> Option<Says> {
    let restart = unit.value("Restart").filter(|restart| *restart != "always")?;
    Some(warning(format!("{} has Restart={restart}: who fails once stays down", name(unit)), DROP_IN))
}

/// An etcd that finds a flag and its variable ends at once; one with a file of its own takes no variable at all.
fn flag(unit: &Unit, word: &str, wanted: &Wanted) -> Option<Says> {
    let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?.split('=').next()?;
    let unit = name(unit);
    if flag == "config-file" {
        return Some(failure(format!("{unit} gives etcd --config-file: it takes no variable then"), "take it out"));
    }
    let variable = format!("ETCD_{}", flag.to_uppercase().replace('-', "_"));
    wanted.variables.contains(&variable).then(|| {
        failure(
            format!("{unit} gives etcd --{flag}, and the agent's file {variable}: etcd ends where it has both"),
            "take the flag out, or with flags for addresses and directories give --emit=initial",
        )
    })
}

/// What keeps the agent from the data (F49).
fn of_agent(agent: &Unit, etcd: &Unit, wanted: &Wanted) -> Vec<Says> {
    let directories = wanted.directories.iter().flat_map(|directory| directory_of(agent, directory));
    user(agent, etcd).into_iter().chain(directories).collect()
}

/// Who starts a container as root, as Flatcar's unit does, says nothing of whom the data belongs to.
fn user(agent: &Unit, etcd: &Unit) -> Option<Says> {
    let (agents, etcds) = (agent.value("User")?, etcd.value("User")?);
    let says = format!("{AGENT} runs as {agents}, and {} as {etcds}: the data belongs to one of them", name(etcd));
    (agents != etcds).then(|| failure(says, "one User= for both"))
}

fn directory_of(agent: &Unit, directory: &str) -> Vec<Says> {
    let among = |property: &str| {
        let paths = agent.values(property).flat_map(str::split_whitespace);
        paths.map(|path| path.trim_start_matches(['-', '+'])).any(|path| is_below(directory, path))
    };
    let is_strict = agent.value("ProtectSystem") == Some("strict");
    let late = format!("{AGENT} does not wait for the volume of {directory}, and takes a late one for an empty disk");
    let ills = [
        (!among("RequiresMountsFor"), late),
        (is_strict && !among("ReadWritePaths"), format!("{AGENT} may not write to {directory}")),
    ];
    let fix = "a drop-in as README.md has it under Another data directory";
    ills.into_iter().filter(|(is_so, _)| *is_so).map(|(_, says)| failure(says, fix)).collect()
}

fn is_below(directory: &str, path: &str) -> bool {
    let rest = directory.strip_prefix(path.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
