//! A program that runs beside the test: its output in files, killed when the test ends.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::Instant;

/// Another build of the program than the one that was built with the tests: an optimised one, for tests under load.
const PROGRAM: &str = "GROK2API_TEST_PROGRAM";

/// The program under test.
pub fn program() -> Command {
    let built = std::env::var_os(PROGRAM);
    program_at(built.as_deref().unwrap_or(env!("CARGO_BIN_EXE_grok2api").as_ref()))
}

/// Another build of it.
pub fn program_at(path: &OsStr) -> Command {
    let mut command = Command::new(path);
    // What the machine has set must not reach the tests.
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts it with its output in `logs`.
    pub fn start(name: &str, mut command: Command, logs: &Path) -> Process {
        let stdout = logs.join(format!("{name}.out"));
        let stderr = logs.join(format!("{name}.err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Process {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        }
    }

    /// What it has written to stdout.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// What it has written to stderr.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Both.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr())
    }

    /// Waits until its output holds something that `find` finds.
    pub async fn wait_for<T>(&mut self, what: &str, limit: Duration, find: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = find(&self.output()) {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                // What was written last may not have been there a moment ago.
                if let Some(found) = find(&self.output()) {
                    return found;
                }
                panic!("{} ended ({status}) before it said {what}:\n{}", self.name, self.tail());
            }
            assert!(
                Instant::now() < end,
                "{} did not say {what}:\n{}",
                self.name,
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "{} still runs after {limit:?}:\n{}",
                self.name,
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGTERM, and its exit.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(limit).await
    }

    /// The end of its output, for a person.
    pub fn tail(&self) -> String {
        let last = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        };
        format!(
            "--- stdout of {}\n{}\n--- stderr\n{}",
            self.name,
            last(self.stdout()),
            last(self.stderr())
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

/// What a program that ends by itself said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Both outputs.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs the program to its end; it must come within `limit`.
pub async fn run(mut command: Command, limit: Duration) -> Ended {
    let logs = tempfile::tempdir().unwrap();
    command.current_dir(logs.path());
    let mut process = Process::start("once", command, logs.path());
    let status = process.wait(limit).await;
    Ended {
        code: status.code(),
        stdout: process.stdout(),
        stderr: process.stderr(),
    }
}

/// The first `http://host:port` or `https://host:port` in `text` that `wanted` accepts.
pub fn find_address(text: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find("http") {
        let candidate = &rest[at..];
        rest = &rest[at + 4..];
        let Some((scheme, behind)) = candidate.split_once("://") else {
            continue;
        };
        if scheme != "http" && scheme != "https" {
            continue;
        }
        let end = behind
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '[' | ']' | '-')))
            .unwrap_or(behind.len());
        let authority = behind[..end].trim_end_matches(['.', ':']);
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let url = format!("{scheme}://{authority}");
        if has_port && wanted(&url) {
            return Some(url);
        }
    }
    None
}
