//! The process itself, under the names every Prometheus client library uses.

use prometheus::{Counter, IntGauge};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::families::Registrar;

pub(super) struct ProcessMetrics {
    resident: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    cpu: Counter,
}

impl ProcessMetrics {
    pub fn register(into: &Registrar<'_>) -> Result<ProcessMetrics, prometheus::Error> {
        let started = into.gauge("process_start_time_seconds", "When the process started, Unix seconds.")?;
        let now = clock_gettime(ClockId::Realtime).tv_sec;
        started.set(now);
        Ok(ProcessMetrics {
            resident: into.gauge("process_resident_memory_bytes", "Resident memory.")?,
            open_fds: into.gauge("process_open_fds", "Open file descriptors.")?,
            max_fds: into.gauge("process_max_fds", "The soft limit on open file descriptors.")?,
            threads: into.gauge("process_threads", "Threads.")?,
            cpu: into.float(Counter::new(
                "process_cpu_seconds_total",
                "Processor time spent, user and system.",
            )?)?,
        })
    }

    /// Reads the current values. What cannot be read keeps its last value.
    pub fn copy(&self) {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9;
        self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            self.max_fds.set(limit.try_into().unwrap_or(i64::MAX));
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the directory being read.
            let open = entries.count().saturating_sub(1);
            self.open_fds.set(open.try_into().unwrap_or(i64::MAX));
        }
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            if let Some(kibibytes) = field(&status, "VmRSS:") {
                self.resident.set(kibibytes.saturating_mul(1024));
            }
            if let Some(threads) = field(&status, "Threads:") {
                self.threads.set(threads);
            }
        }
    }
}

/// The number behind a name in `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
