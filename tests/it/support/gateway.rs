//! The gateway as a process of its own, on a data directory that outlives it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use super::admin::Admin;
use super::http::Http;
use super::process::{Process, find_address, program, program_at};
use super::sim::Sim;

/// The key of scripts: exempt from limits.
pub const API_KEY: &str = "sk-for-the-tests-only";
/// The administrator's password.
pub const PASSWORD: &str = "a password for tests";

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    base_url: String,
    keys: Vec<String>,
    environment: Vec<(String, String)>,
    config: String,
    arguments: Vec<String>,
    program: Option<OsString>,
    port: u16,
}

impl Plan {
    /// A gateway in front of this upstream, without tokens.
    pub fn new(base_url: &str) -> Plan {
        Plan {
            base_url: base_url.to_owned(),
            keys: Vec::new(),
            environment: vec![
                ("GROK2API__APP__API_KEY".to_owned(), API_KEY.to_owned()),
                ("GROK2API__APP__APP_KEY".to_owned(), PASSWORD.to_owned()),
            ],
            config: String::new(),
            arguments: Vec::new(),
            program: None,
            port: 0,
        }
    }

    /// Listens on this port, also when it is started again.
    pub fn port(mut self, port: u16) -> Plan {
        self.port = port;
        self
    }

    /// A gateway in front of the simulator with the keys of its first `count` teams ([`Sim::with_teams`]).
    pub fn of(sim: &Sim, count: usize) -> Plan {
        Plan::new(&sim.base_url()).keys((0..count).map(Sim::key))
    }

    /// Enrols these keys at the start.
    pub fn keys(mut self, keys: impl IntoIterator<Item = String>) -> Plan {
        self.keys.extend(keys);
        self
    }

    /// Sets a configuration key by its environment name: `clients.max_wait_ms`.
    pub fn set(self, key: &str, value: impl ToString) -> Plan {
        let name = format!("GROK2API__{}", key.to_uppercase().replace('.', "__"));
        self.env(&name, &value.to_string())
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Plan {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes an environment variable away.
    pub fn without(mut self, name: &str) -> Plan {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// Writes `config.toml`.
    pub fn config(mut self, text: &str) -> Plan {
        self.config.push_str(text);
        self
    }

    /// More arguments.
    pub fn arg(mut self, argument: &str) -> Plan {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Limits of a team of the upstream, as an operator writes them.
    pub fn limits(self, team: &str, pattern: &str, limits: &str) -> Plan {
        self.config(&format!(
            "[[xai.teams]]\nid = \"{team}\"\n[xai.teams.limits.\"{pattern}\"]\n{limits}\n"
        ))
    }

    /// Runs another build than the one under test; `None`: that one.
    pub fn build(mut self, program: Option<OsString>) -> Plan {
        self.program = program;
        self
    }

    /// The command that starts it in this directory.
    pub fn command(&self, root: &Path) -> Command {
        let data = root.join("data");
        std::fs::create_dir_all(&data).unwrap();
        if !self.config.is_empty() {
            std::fs::write(data.join("config.toml"), format!("config_version = 1\n{}", self.config)).unwrap();
        }
        let mut command = self.program.as_deref().map_or_else(program, program_at);
        command
            .current_dir(root)
            .arg("--data-dir")
            .arg(&data)
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args(&self.arguments);
        if !self.base_url.is_empty() {
            command.env("GROK2API__XAI__BASE_URL", &self.base_url);
        }
        if !self.keys.is_empty() {
            command.env("XAI_API_KEY", self.keys.join(","));
        }
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Gateway {
        let gateway = self.launch().await;
        gateway.wait_ready().await;
        gateway
    }

    /// Starts it, waits until it is ready and its tokens are known to be good.
    pub async fn start_warm(self) -> Gateway {
        let count = self.keys.len();
        let gateway = self.start().await;
        gateway.admin().await.wait_for_tokens(count).await;
        gateway
    }

    /// Starts it and waits for its address only.
    pub async fn launch(self) -> Gateway {
        let root = tempfile::tempdir().unwrap();
        let (process, url) = begin(&self, root.path(), 0).await;
        Gateway {
            http: Http::new(&url).with_bearer(API_KEY),
            url,
            process,
            root,
            plan: self,
            starts: 1,
        }
    }
}

async fn begin(plan: &Plan, root: &Path, starts: usize) -> (Process, String) {
    let mut process = Process::start(&format!("gateway{starts}"), plan.command(root), root);
    let upstream = plan.base_url.trim_end_matches("/v1").to_owned();
    let url = process
        .wait_for("its address", Duration::from_secs(60), |said| {
            said.lines()
                .filter(|line| line.contains("address"))
                .find_map(|line| find_address(line, |url| url.contains("127.0.0.1:") && url != upstream))
        })
        .await;
    (process, url)
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    url: String,
    http: Http,
    process: Process,
    root: TempDir,
    plan: Plan,
    starts: usize,
}

impl Gateway {
    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client with [`API_KEY`].
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// A client with another key.
    pub fn as_client(&self, key: &str) -> Http {
        self.http.anonymous().with_bearer(key)
    }

    /// Logged in.
    pub async fn admin(&self) -> Admin {
        Admin::login(&self.http, "admin", PASSWORD).await
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The directory it was started in.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Waits until `/readyz` is 200.
    pub async fn wait_ready(&self) {
        super::eventually("ready", Duration::from_secs(60), || async {
            match self.http.try_send(http::Method::GET, "/readyz", &[], "").await {
                Ok(got) if got.status == 200 => Ok(()),
                Ok(got) => Err(format!("{} {}", got.status, got.text())),
                Err(error) => Err(error),
            }
        })
        .await;
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and its exit.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.terminate(Duration::from_secs(60)).await
    }

    /// Starts it again on the same directory, with what `change` makes of the plan, and waits until it is ready. Its
    /// address is a new one.
    pub async fn restart_with(&mut self, change: impl FnOnce(Plan) -> Plan) {
        self.relaunch_with(change).await;
        self.wait_ready().await;
    }

    /// The same, but waits for its address only.
    pub async fn relaunch_with(&mut self, change: impl FnOnce(Plan) -> Plan) {
        self.process.kill();
        self.plan = change(self.plan.clone());
        let (process, url) = begin(&self.plan, self.root.path(), self.starts).await;
        self.starts += 1;
        self.process = process;
        self.http = Http::new(&url).with_bearer(API_KEY);
        self.url = url;
    }

    /// The same, with the same plan.
    pub async fn restart(&mut self) {
        self.restart_with(|plan| plan).await;
    }

    /// It still answers.
    pub async fn assert_alive(&self) {
        self.http.get("/livez").await.ok();
    }
}
