//! Scripts in other languages that drive the gateway, or stand behind it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::http::Http;
use super::process::{Process, find_address};

/// Where the scripts are.
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The Python that has the SDK, if this run has one.
pub fn python() -> Option<PathBuf> {
    given("GROK2API_TEST_PYTHON")
}

/// The directory whose `node_modules` has the SDK, if this run has one.
pub fn node_prefix() -> Option<PathBuf> {
    given("GROK2API_TEST_NODE_PREFIX")
}

/// The directory whose `node_modules` has the coding agents, if this run has one.
pub fn agents() -> Option<PathBuf> {
    given("GROK2API_TEST_AGENTS")
}

/// Runs a coding agent in a directory, with nothing of this machine's environment but the path; what it said.
pub async fn run_agent(
    name: &str,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    directory: &Path,
) -> String {
    let logs = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment.iter().copied())
        .current_dir(directory);
    let mut process = Process::start(name, command, logs.path());
    let status = process.wait(Duration::from_secs(120)).await;
    let said = process.output();
    assert!(status.success(), "{name} failed ({status}):\n{said}");
    println!("{said}");
    said
}

fn given(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).map(PathBuf::from);
    let found = path.filter(|path| path.exists());
    if found.is_none() {
        println!("left out: {name} names nothing that exists (.ci/sdks makes it)");
    }
    found
}

/// Runs a script of `tests/clients/python`; it must end well.
pub async fn run_python(script: &str, arguments: &[(&str, &str)]) -> Option<String> {
    let mut command = Command::new(python()?);
    command
        .arg(clients().join("python").join(script))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Some(run(script, command, arguments).await)
}

/// Runs a script of `tests/clients/node`; it must end well.
pub async fn run_node(script: &str, arguments: &[(&str, &str)]) -> Option<String> {
    let prefix = node_prefix()?;
    // Node looks for packages beside the script, so it runs a copy beside them.
    let copy = prefix.join(script);
    std::fs::copy(clients().join("node").join(script), &copy).unwrap();
    let mut command = Command::new("node");
    command.arg(copy);
    Some(run(script, command, arguments).await)
}

/// Runs a script of `tests/clients/node` that needs no package; it must end well.
pub async fn run_plain_node(script: &str, arguments: &[(&str, &str)]) -> String {
    let mut command = Command::new("node");
    command.arg(clients().join("node").join(script));
    // The name is that of a log file.
    run(&script.replace('/', "-"), command, arguments).await
}

/// Starts a script that runs beside the test, with its output in `logs`.
pub fn start_node(script: &Path, arguments: &[(&str, &str)], logs: &Path) -> Option<Process> {
    let prefix = node_prefix()?;
    let name = script.file_name().unwrap();
    // A copy of its own: tests at the same time may run the same script.
    let copy = prefix.join(format!("{}-{}", std::process::id(), name.display()));
    std::fs::copy(script, &copy).unwrap();
    let mut command = Command::new("node");
    command.arg(copy).envs(arguments.iter().copied());
    Some(Process::start(&name.display().to_string(), command, logs))
}

async fn run(script: &str, mut command: Command, arguments: &[(&str, &str)]) -> String {
    let logs = tempfile::tempdir().unwrap();
    for (name, value) in arguments {
        command.env(name, value);
    }
    command.current_dir(logs.path());
    let mut process = Process::start(script, command, logs.path());
    let status = process.wait(Duration::from_secs(240)).await;
    let said = process.output();
    assert!(status.success(), "{script} failed ({status}):\n{said}");
    println!("{said}");
    said
}

/// An upstream that shares no code with this project: `tests/clients/upstream.py`.
#[derive(Debug)]
pub struct OtherUpstream {
    url: String,
    http: Http,
    process: Process,
    _files: TempDir,
}

impl OtherUpstream {
    /// Starts it on this description (see the script's head); any Python 3.9 or newer will do.
    pub async fn start(description: Value) -> OtherUpstream {
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("upstream.json");
        std::fs::write(&file, description.to_string()).unwrap();
        let python = std::env::var_os("GROK2API_TEST_PYTHON").unwrap_or_else(|| "python3".into());
        let mut command = Command::new(python);
        command
            .current_dir(files.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(clients().join("upstream.py"))
            .arg(&file);
        let mut process = Process::start("upstream.py", command, files.path());
        let url = process
            .wait_for("its address", Duration::from_secs(30), |said| {
                find_address(said, |_| true)
            })
            .await;
        OtherUpstream {
            http: Http::new(&url),
            url,
            process,
            _files: files,
        }
    }

    /// What `GROK2API__XAI__BASE_URL` must be.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.url)
    }

    /// Its own controls.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What arrived, per team and model.
    pub async fn arrivals(&self) -> Value {
        self.http.get("/-/arrivals").await.ok().json()
    }
}
