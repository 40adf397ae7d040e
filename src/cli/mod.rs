//! The command line: what may be typed, and the commands that need no running node. Exit codes: 0 done, 1 failed, 2 wrong
//! usage or configuration.

mod banner;
mod configuration;
mod documents;
mod health;
mod node;
mod operate;
mod pinned;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use banner::{Facts, banner};
pub use configuration::{check_config, example_config, settings_or_exit};
pub use documents::{asyncapi, openapi, schemas};
pub use health::{Readiness, health, readiness};
pub use node::Node;
pub use operate::{Operate, command_of, operate};

use crate::settings::{Environment, LoadArgs};

/// Something failed.
pub const FAILURE: u8 = 1;

/// The command line or the configuration is wrong.
pub const USAGE: u8 = 2;

/// Where everything is kept unless `--data-dir` says otherwise.
const DATA_DIR: &str = "data";

/// The same for `--demo`, which must never touch a pool in use.
const DEMO_DATA_DIR: &str = "data/demo";

/// OpenAI- and Anthropic-compatible APIs in front of a pool of Grok credentials.
#[derive(Debug, Parser)]
#[command(name = "grok2api", version, about, long_about = None)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Serve clients (the default).
    Serve(Serve),
    /// Say whether the configuration is right, with every fault in it.
    CheckConfig,
    /// Print the configuration file with every key, its default and what it does.
    ExampleConfig,
    /// Ask a running node whether it is ready; exit code 0 if it is.
    Health(Health),
    /// Do something about upstream credentials on a running node.
    Token(Operate),
    /// Do something about client keys on a running node.
    Key(Operate),
    /// Look at what became of clients' requests.
    Requests(Operate),
    /// Look at the configuration of a running node, or change it.
    Config(Operate),
    /// See what is bound to which upstream credential, or unbind conversations.
    Affinity(Operate),
    /// Looks at kept images and videos, and removes them.
    Cache(Operate),
    /// Start registration jobs, see how far they are, end them.
    Job(Operate),
    /// Make, change and delete accounts of administrators and viewers.
    Users(Operate),
    /// See what administrators did.
    Audit(Operate),
    /// See the log files of a running node.
    Logs(Operate),
    /// See the nodes of a cluster, or make one hand over and end.
    Cluster(Operate),
    /// Print the AsyncAPI document of what is on NATS.
    Asyncapi,
    /// Print the OpenAPI document of what is over HTTP.
    Openapi,
    /// Write the AsyncAPI document and the JSON Schemas of everything that operators' doors take and answer.
    Schemas(Schemas),
    /// Serve the upstream that --demo and the tests talk to.
    #[command(hide = true)]
    Simulate(Simulate),
}

/// Where files are.
#[derive(Clone, Debug, Args)]
struct Files {
    /// Directory of configuration, store and logs [default: data, with --demo data/demo].
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file [default: config.toml in the data directory].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How to serve.
#[derive(Clone, Debug, Default, Args)]
struct Serve {
    /// Address to listen on.
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on; 0 takes any free one.
    #[arg(long)]
    port: Option<u16>,
    /// Try it without a credential: a built-in upstream with three teams that make up answers.
    #[arg(long)]
    demo: bool,
}

/// Which node to ask.
#[derive(Clone, Debug, Args)]
struct Health {
    /// Address of the node [default: as configured].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Where to write documents.
#[derive(Clone, Debug, Args)]
struct Schemas {
    /// Directory to write to.
    #[arg(default_value = "schemas", value_name = "DIR")]
    directory: PathBuf,
}

/// What the simulated upstream does.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Simulate {
    /// Port to listen on; 0 takes any free one and prints it.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// File that scripts its behaviour.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Serve clients.
    Serve {
        /// Where settings come from.
        load: LoadArgs,
        /// In front of the built-in upstream.
        demo: bool,
    },
    /// See [`check_config`].
    CheckConfig {
        /// Where settings come from.
        load: LoadArgs,
    },
    /// See [`example_config`].
    ExampleConfig,
    /// See [`health`].
    Health {
        /// The node's address, else as configured.
        url: Option<String>,
        /// Where settings come from.
        load: LoadArgs,
    },
    /// See [`operate`].
    Operate {
        /// A group of operations.
        group: &'static str,
        /// What to do.
        asked: Operate,
        /// Where settings come from.
        load: LoadArgs,
    },
    /// See [`asyncapi`].
    Asyncapi,
    /// See [`openapi`].
    Openapi,
    /// See [`schemas`].
    Schemas {
        /// Where to write them.
        directory: PathBuf,
    },
    /// Serve the simulated upstream.
    Simulate(Simulate),
}

impl Cli {
    /// The command that `arguments` (the program's name first) ask for. On `--help`, `--version` or wrong usage what is to
    /// be said is printed, and the exit code returned.
    pub fn parse_command(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
        match Cli::try_parse_from(arguments) {
            Ok(cli) => Ok(cli.into_command(Environment::of_process)),
            Err(told) => {
                // Nobody is left to tell when the terminal is gone.
                let _ = told.print();
                Err(if told.use_stderr() {
                    ExitCode::from(USAGE)
                } else {
                    ExitCode::SUCCESS
                })
            }
        }
    }

    fn into_command(self, environment: impl FnOnce() -> Environment) -> Command {
        let Cli { command, files, serve } = self;
        // `grok2api --port 1 serve` and `grok2api serve --port 1` are the same.
        let serve = match &command {
            Some(Subcommands::Serve(below)) => Serve {
                host: below.host.clone().or(serve.host),
                port: below.port.or(serve.port),
                demo: below.demo || serve.demo,
            },
            _ => serve,
        };
        let load = || LoadArgs {
            data_dir: files.data_dir.unwrap_or_else(|| {
                let dir = if serve.demo { DEMO_DATA_DIR } else { DATA_DIR };
                PathBuf::from(dir)
            }),
            config_file: files.config,
            host: serve.host,
            port: serve.port,
            environment: environment(),
        };
        match command {
            None | Some(Subcommands::Serve(_)) => Command::Serve {
                load: load(),
                demo: serve.demo,
            },
            Some(Subcommands::CheckConfig) => Command::CheckConfig { load: load() },
            Some(Subcommands::ExampleConfig) => Command::ExampleConfig,
            Some(Subcommands::Health(Health { url })) => Command::Health { url, load: load() },
            Some(Subcommands::Token(asked)) => operated("tokens", asked, load()),
            Some(Subcommands::Key(asked)) => operated("keys", asked, load()),
            Some(Subcommands::Requests(asked)) => operated("requests", asked, load()),
            Some(Subcommands::Config(asked)) => operated("config", asked, load()),
            Some(Subcommands::Affinity(asked)) => operated("affinity", asked, load()),
            Some(Subcommands::Cache(asked)) => operated("cache", asked, load()),
            Some(Subcommands::Job(asked)) => operated("jobs", asked, load()),
            Some(Subcommands::Users(asked)) => operated("users", asked, load()),
            Some(Subcommands::Audit(asked)) => operated("audit", asked, load()),
            Some(Subcommands::Logs(asked)) => operated("logs", asked, load()),
            Some(Subcommands::Cluster(asked)) => operated("cluster", asked, load()),
            Some(Subcommands::Asyncapi) => Command::Asyncapi,
            Some(Subcommands::Openapi) => Command::Openapi,
            Some(Subcommands::Schemas(Schemas { directory })) => Command::Schemas { directory },
            Some(Subcommands::Simulate(simulate)) => Command::Simulate(simulate),
        }
    }
}

fn operated(group: &'static str, asked: Operate, load: LoadArgs) -> Command {
    Command::Operate { group, asked, load }
}

/// Writes a line for people or scripts to stdout. A reader that has gone (`| head`) is no fault of ours.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line for people to stderr.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests;
