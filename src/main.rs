//! The program: arguments, log, one command, exit code.

use std::process::ExitCode;

use etcd_bootstrap::cli::{Cli, Command};
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
    log::init(cli.options.log_format, cli.options.v);
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
    let (dry_run, config) = (options.dry_run, options.config());
    let command = command.unwrap_or(Command::Run);
    if let Command::Explain { file } = &command {
        return commands::explain(file, config.output);
    }
    let setup = match Setup::new(config) {
        Ok(setup) => setup,
        Err(why) => {
            tracing::error!("{why}");
            return Exit::NeedsOperator;
        }
    };
    match command {
        Command::Status => commands::status(&setup).await,
        Command::Ready if dry_run => {
            tracing::info!("a dry run makes nothing ready");
            Exit::Done
        }
        Command::Ready => commands::ready(&setup).await,
        Command::Watch if dry_run => {
            tracing::info!("a dry run watches nothing: see status, and leave --dry-run");
            Exit::Done
        }
        Command::Watch => commands::watch(setup).await,
        Command::Leave if dry_run => commands::dry_run(&setup, commands::LEAVE).await,
        Command::Leave => commands::leave(&setup).await,
        Command::Run | Command::Explain { .. } if dry_run => commands::dry_run(&setup, commands::RUN).await,
        Command::Run | Command::Explain { .. } => {
            if let Some(why) = options.too_short_a_deadline() {
                tracing::warn!("{why}, proceeding anyway");
            }
            commands::run(&setup).await
        }
    }
}

fn exit(code: Exit) -> ExitCode {
    ExitCode::from(code as u8)
}
