//! What the help shows: of each command the options that it uses, under the headings of their topics.

use clap::{Arg, Command};

/// Which options are used by which commands: ids, and names, with blanks between them. A command accepts the others too:
/// all units share one file of variables, and old command lines go on working.
pub const USES: [(&str, &str); 38] = [
    ("scaling_group_name discover_tag", "run status ready watch leave recover certificate doctor"),
    ("cluster_size", "run status ready watch leave recover doctor"),
    ("region", "status"),
    ("proxy_mode", "run status certificate"),
    ("proxy_style", "run"),
    ("endpoints", "run certificate"),
    ("environment_file", "run status doctor"),
    ("emit", "run doctor"),
    ("data_dir wal_dir", "run status ready watch leave recover doctor"),
    ("state_dir", "run status ready watch leave recover snapshot certificate doctor"),
    ("etcd_version etcd_binary", "run recover doctor"),
    ("etcd_client_port etcd_client_schema", "run status ready watch leave recover snapshot certificate doctor"),
    ("etcd_peer_port etcd_peer_scheme", "run status ready watch leave recover certificate doctor"),
    ("user password_file", "run status ready watch leave recover snapshot doctor"),
    ("private_addresses private_hostnames", "run status ready watch leave recover snapshot certificate doctor"),
    ("founding founding_grace join_as", "run doctor"),
    ("initial_cluster_policy", "run ready doctor"),
    ("rejoin", "run recover doctor"),
    ("prune_foreign", "run watch leave doctor"),
    ("deadline", "run status ready leave doctor"),
    ("launch_hook", "ready watch doctor"),
    ("terminate_hook", "watch doctor"),
    ("prune", "watch"),
    ("metrics_file", "run ready watch"),
    ("leave", "watch leave"),
    ("trusted_ca_file", "run status ready watch leave recover snapshot certificate doctor"),
    ("peer_trusted_ca_file", "run status ready watch leave recover certificate doctor"),
    ("cert_file key_file", "run status ready watch leave recover snapshot doctor"),
    ("peer_cert_file peer_key_file", "run status ready watch leave recover doctor"),
    (
        "member_authority client_authority certificate_command certificate_dir",
        "run status ready watch leave recover snapshot certificate doctor",
    ),
    ("certificate_life certificate_names", "run certificate"),
    ("snapshot_to", "status recover snapshot"),
    ("snapshot_every", "snapshot"),
    ("snapshot_region", "recover snapshot"),
    ("restore_tool bump_revision", "recover"),
    ("dry_run", "run leave recover snapshot"),
    ("output", "run status explain leave recover doctor"),
    ("log_format v", "run status explain ready watch leave recover snapshot certificate doctor"),
];

const OF_A_COMMAND: &str = "\
The other options are accepted too. Each is a variable as well: --data-dir=PATH is ETCD_BOOTSTRAP_DATA_DIR=PATH.";

const OF_THE_PROGRAM: &str = "\
`etcd-bootstrap COMMAND -h` shows what a command uses, `etcd-bootstrap --help` all options. Every command accepts every
one, and each is a variable as well, so that all commands can share a file: --data-dir=PATH is
ETCD_BOOTSTRAP_DATA_DIR=PATH. The command line wins.

Exit codes: 0 the file is written (or the dry run printed), 64 usage, 69 AWS or the metadata unavailable,
75 not now, try again, 78 a person must look.
gambol99/etcd-discovery's flags are accepted too, with one dash or two.";

/// Hides from each command what it does not use, and says once what would stand at every option.
pub(super) fn of_each_command(program: Command) -> Command {
    let program = program.mut_args(|option| option.hide_env(true).hide_possible_values(true));
    let options: Vec<Arg> = program.get_arguments().cloned().collect();
    // In place of the program's, which clap would add to each command: it passes over those that are there already.
    let with_its_own = |command: Command| {
        let shown = |option: &Arg| !option.is_hide_set() && uses(command.get_name(), option.get_id().as_str());
        let own: Vec<Arg> = options.iter().map(|option| option.clone().hide(!shown(option))).collect();
        command.args(own).after_help(OF_A_COMMAND)
    };
    program.mut_subcommands(with_its_own).mut_args(|option| option.hide_short_help(true)).after_help(OF_THE_PROGRAM)
}

fn uses(command: &str, option: &str) -> bool {
    let in_list = |list: &str, wanted: &str| list.split(' ').any(|one| one == wanted);
    USES.iter().any(|(options, commands)| in_list(options, option) && in_list(commands, command))
}
