//! What the gateway tells about itself: log lines, traces, metrics.

mod json_lines;
pub mod logs;
mod tap;
pub mod metrics;
mod outcome;
pub mod traces;

pub use self::logs::{LogFormat, LogOptions, SetLogLevel, Telemetry, TelemetryError, init};
pub use self::metrics::{Metrics, Operation};
pub use self::outcome::AttemptOutcome;
pub use self::tap::LogTap;
