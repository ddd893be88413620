//! The program: arguments, log, one command, exit code.

use std::process::ExitCode;

use etcd_bootstrap::cli::{Cli, Command, Output};
use etcd_bootstrap::reason::Exit;
use etcd_bootstrap::run::Setup;
use etcd_bootstrap::{cli, log, ready, run, show};

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

async fn carry_out(cli: Cli) -> Exit {
    let Cli { command, options } = cli;
    if let Some(Command::Explain { file }) = &command {
        return show::explain(file, options.output);
    }
    let dry_run = options.dry_run;
    let output: Output = options.output;
    let setup = match Setup::new(options) {
        Ok(setup) => setup,
        Err(why) => {
            tracing::error!("{why}");
            return Exit::Person;
        }
    };
    match command {
        Some(Command::Status) => show::status(&setup, output).await,
        Some(Command::Ready) if dry_run => {
            tracing::info!("a dry run makes nothing ready");
            Exit::Done
        }
        Some(Command::Ready) => ready::ready(&setup).await,
        Some(Command::Run) | None if dry_run => show::dry_run(&setup, output).await,
        Some(Command::Run | Command::Explain { .. }) | None => run::run(&setup).await,
    }
}

fn exit(code: Exit) -> ExitCode {
    ExitCode::from(code as u8)
}
