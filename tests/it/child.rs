//! Tests that change the whole process (limits, the log) run in a child: this binary again, asked for one ignored test.

use std::process::{Command, Stdio};

const MARK: &str = "GROK2API_TEST_CHILD";

/// The command that runs the ignored test of that name in a process of its own.
pub fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Whether this process is such a child, and not somebody running all ignored tests.
pub fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}
