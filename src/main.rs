//! The `grok2api` binary: arguments in, exit code out.

use std::path::Path;
use std::process::ExitCode;

use grok2api::app::serve::{serve, simulate};
use grok2api::cli::{self, Cli, Command};
use grok2api::simulator::{Scenario, SimulatorOptions};
use grok2api::telemetry::{self, LogFormat, LogOptions};
use grok2api_actors::clock::Clock;
use grok2api_actors::runtime::block_on;
use grok2api_schemas::config::{self, TelemetryConfig};

/// A request allocates on one thread and frees on another, which costs glibc's allocator a quarter of all CPU; this one
/// takes more memory at rest (`benches/README.md`).
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // reqwest and rustls are built without a default of their own, so that only one TLS library is linked.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let command = match Cli::parse_command(std::env::args_os()) {
        Ok(command) => command,
        Err(code) => return code,
    };
    match command {
        Command::CheckConfig { load } => cli::check_config(&load),
        Command::ExampleConfig => cli::example_config(),
        Command::Operate { group, asked, load } => cli::operate(group, &asked, &load),
        Command::Asyncapi => cli::asyncapi(),
        Command::Openapi => cli::openapi(),
        Command::Schemas { directory } => cli::schemas(&directory),
        Command::Health { url, load } => cli::health(url.as_deref(), &load),
        Command::Serve { load, demo } => {
            // Store and logs name clients and teams: files of this process are its user's alone, also in a
            // data directory that was made by somebody else with another mode.
            rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
            let loaded = match cli::settings_or_exit(&load) {
                Ok(loaded) => loaded,
                Err(code) => return code,
            };
            let options = log_options(&loaded.config.telemetry, &load.data_dir);
            let telemetry = match telemetry::init(&options, Clock::system()) {
                Ok(guard) => guard,
                Err(error) => return fail(&error.to_string()),
            };
            run(serve(&load, loaded, demo, telemetry.level_setter(), telemetry.tap()))
        }
        Command::Simulate(options) => {
            let scenario = match &options.scenario {
                Some(file) => match Scenario::from_file(file) {
                    Ok(scenario) => scenario,
                    Err(error) => return fail(&error.to_string()),
                },
                None => Scenario::default(),
            };
            run(simulate(SimulatorOptions::new(scenario).on_port(options.port)))
        }
    }
}

fn run<E: std::fmt::Display>(main: impl Future<Output = Result<ExitCode, E>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime cannot be started: {error}")),
    };
    match block_on(runtime, main) {
        Ok(code) => code,
        Err(error) => fail(&error.to_string()),
    }
}

fn log_options(config: &TelemetryConfig, data_dir: &Path) -> LogOptions {
    LogOptions {
        level: config.log_level.clone(),
        format: match config.log_format {
            config::LogFormat::Auto => LogFormat::Auto,
            config::LogFormat::Pretty => LogFormat::Pretty,
            config::LogFormat::Json => LogFormat::Json,
        },
        directory: Some(data_dir.join("logs")),
        retention_days: config.log_retention_days as usize,
    }
}

fn fail(why: &str) -> ExitCode {
    cli::complain(&format!("grok2api: {why}"));
    ExitCode::from(cli::FAILURE)
}
