//! The program: arguments, log, one command, exit code.

use std::process::ExitCode;

use etcd_bootstrap::cli::{Cli, Command};
use etcd_bootstrap::commands::{Ask, Checks};
use etcd_bootstrap::config::{Config, Recovery};
use etcd_bootstrap::exit::Exit;
use etcd_bootstrap::setup::Setup;
use etcd_bootstrap::{cli, commands, log};

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return exit(if e.use_stderr() { Exit::Usage } else { Exit::Done });
        }
    };
    log::init(cli.options.output.log_format, cli.options.output.v);
    for warning in cli.options.warnings() {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs only file descriptors");
    let code = runtime.block_on(carry_out(cli));
    // Dropped, it would wait for a name that is still being looked up, for as long as the system's resolver does.
    runtime.shutdown_background();
    exit(code)
}

async fn carry_out(Cli { command, options }: Cli) -> Exit {
    let (dry_run, config) = (options.output.dry_run, options.config());
    match command.unwrap_or(Command::Run) {
        Command::Explain { file } => commands::explain(&file, config.output),
        Command::Certificate { authority: true, .. } => commands::authority(&config).await,
        command @ (Command::Ready | Command::Watch | Command::Certificate { .. }) if dry_run => {
            tracing::info!("a dry run of {} does nothing: see status", command.name());
            Exit::Done
        }
        Command::Certificate { force, .. } => commands::certificate(&config, force).await,
        Command::Doctor { ignore: ignored, units_from } => {
            commands::doctor(config, Checks { ignored, units_from }).await
        }
        Command::Watch => commands::watch(config).await,
        Command::Status => with_setup(config, commands::status).await,
        Command::Ready => commands::ready(config).await,
        Command::Leave if dry_run => with_setup(config, async |s| commands::dry_run(s, commands::LEAVE).await).await,
        Command::Leave => with_setup(config, commands::leave).await,
        Command::Recover { from, yes, despite, foreign_snapshot: foreign } => {
            let recovery = Recovery { from, gives_up: yes.filter(|_| !dry_run), despite, foreign };
            with_setup(config, async |s| commands::recover(s, &recovery).await).await
        }
        Command::Snapshot { now, without_quorum } => {
            let ask = Ask { now, without_quorum, dry_run };
            with_setup(config, async |s| commands::snapshot(s, ask).await).await
        }
        Command::Run if dry_run => {
            with_setup(config, async |s| commands::dry_run(s, commands::course(&s.config)).await).await
        }
        Command::Run => {
            if let Some(why) = options.too_short_a_deadline() {
                tracing::warn!("{why}, proceeding anyway");
            }
            commands::run(config).await
        }
    }
}

async fn with_setup(config: Config, command: impl AsyncFnOnce(&Setup) -> Exit) -> Exit {
    match Setup::new(config) {
        Ok(setup) => command(&setup).await,
        Err(why) => {
            tracing::error!("{why}");
            Exit::NeedsOperator
        }
    }
}

fn exit(code: Exit) -> ExitCode {
    ExitCode::from(code as u8)
}
