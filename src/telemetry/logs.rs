//! Log lines: to stdout (for people on a terminal, JSON otherwise) and as JSON to a file a day. Neither is written by the
//! thread that logs: two writers take the lines from bounded queues, and a line that finds its queue full is counted and
//! dropped, because a slow disk must not slow requests down.

use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use grok2api_actors::clock::Clock;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::json_lines::JsonLines;
use super::tap::LogTap;
use super::traces;

/// Lines that may wait for a writer: a burst of a second at 10,000 requests/s with a line each, and then some.
const QUEUED_LINES: usize = 16_384;

/// The look of the lines on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// For collectors.
    Json,
}

/// What to log, and where to.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// `error`, `warn`, `info`, `debug`, `trace` (the words of the older project count too), or directives such as
    /// `info,grok2api::engine=debug`.
    pub level: String,
    /// The look on stdout.
    pub format: LogFormat,
    /// Where the daily files go; none are written without it.
    pub directory: Option<PathBuf>,
    /// How many daily files stay (`telemetry.log_retention_days`); 0 writes none.
    pub retention_days: usize,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            level: "info".to_owned(),
            format: LogFormat::Auto,
            directory: None,
            retention_days: 14,
        }
    }
}

/// Why logging cannot begin. Displays as one line with the mend.
#[derive(Debug)]
pub enum TelemetryError {
    /// The level is no level.
    Level(String, String),
    /// The directory for log files cannot be written.
    Directory(PathBuf, String),
    /// Somebody else in this process took the log.
    Taken,
}

impl fmt::Display for TelemetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TelemetryError::Level(level, cause) => write!(
                f,
                "the log level {level:?} is not understood ({cause}); use error, warn, info, debug or trace (LOG_LEVEL or telemetry.log_level)"
            ),
            TelemetryError::Directory(directory, cause) => write!(
                f,
                "cannot write log files to {}: {cause}; make the directory writable, choose another with --data-dir, or set telemetry.log_retention_days = 0",
                directory.display()
            ),
            TelemetryError::Taken => f.write_str("logging was set up twice in this process"),
        }
    }
}

impl std::error::Error for TelemetryError {}

/// Changes what is logged; says why not.
pub type SetLogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Logging and tracing under way. Dropping it flushes the lines that wait, so hold it until the end of `main`.
pub struct Telemetry {
    level: reload::Handle<EnvFilter, Registry>,
    lost: Vec<ErrorCounter>,
    tap: LogTap,
    tracer: SdkTracerProvider,
    _writers: Vec<WorkerGuard>,
}

impl Telemetry {
    /// Changes the level without a restart.
    pub fn set_level(&self, level: &str) -> Result<(), TelemetryError> {
        let filter = level_filter(level)?;
        self.level
            .reload(filter)
            .map_err(|error| TelemetryError::Level(level.to_owned(), error.to_string()))
    }

    /// [`Telemetry::set_level`] for others to hold.
    pub fn level_setter(&self) -> SetLogLevel {
        let handle = self.level.clone();
        Arc::new(move |level| {
            let filter = level_filter(level).map_err(|error| error.to_string())?;
            handle.reload(filter).map_err(|error| error.to_string())
        })
    }

    /// Where lines can be watched as they are written.
    pub fn tap(&self) -> LogTap {
        self.tap.clone()
    }

    /// Counts the lines that were dropped, for metrics.
    pub fn lost_lines(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let counters = self.lost.clone();
        move || counters.iter().map(ErrorCounter::dropped_lines).sum()
    }

    /// Flushes spans and lines. Blocks for at most a few seconds: the last thing a process does.
    pub fn shutdown(self) {
        if let Err(error) = self.tracer.shutdown() {
            tracing::debug!(%error, "the last spans were not flushed");
        }
    }
}

/// Starts logging and tracing for the whole process, once. Panics are logged from then on, too.
pub fn init(options: &LogOptions, clock: Clock) -> Result<Telemetry, TelemetryError> {
    let (filter, level) = reload::Layer::new(level_filter(&options.level)?);
    let mut guards = Vec::new();
    let mut lost = Vec::new();
    let mut queue = |name: &str, writer: Box<dyn std::io::Write + Send>| -> NonBlocking {
        let (sink, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUED_LINES)
            .lossy(true)
            .thread_name(name)
            .finish(writer);
        guards.push(guard);
        lost.push(sink.error_counter());
        sink
    };

    let stdout = queue("log-stdout", Box::new(std::io::stdout()));
    let file = log_file(options)?.map(|appender| queue("log-file", Box::new(appender)));
    let is_pretty = match options.format {
        LogFormat::Auto => std::io::stdout().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let (pretty, json_stdout) = if is_pretty {
        let has_colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(stdout)
            .with_ansi(has_colour)
            .with_target(false);
        (Some(layer), None)
    } else {
        (None, Some(stdout))
    };
    let sinks: Vec<NonBlocking> = json_stdout.into_iter().chain(file).collect();
    let tap = LogTap::default();
    let json = JsonLines::new(sinks, tap.clone(), clock);

    let tracer = traces::provider();
    tracing_subscriber::registry()
        .with(filter)
        .with(pretty)
        .with(json)
        .with(traces::layer(&tracer).boxed())
        .try_init()
        .map_err(|_| TelemetryError::Taken)?;
    log_panics();
    Ok(Telemetry {
        level,
        lost,
        tap,
        tracer,
        _writers: guards,
    })
}

fn log_file(options: &LogOptions) -> Result<Option<RollingFileAppender>, TelemetryError> {
    let Some(directory) = options.directory.as_ref().filter(|_| options.retention_days > 0) else {
        return Ok(None);
    };
    // The appender looks for old files first, and complains on stderr where there is no directory yet.
    std::fs::create_dir_all(directory)
        .map_err(|error| TelemetryError::Directory(directory.clone(), error.to_string()))?;
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("app")
        .filename_suffix("log")
        .max_log_files(options.retention_days)
        .build(directory)
        .map(Some)
        .map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            TelemetryError::Directory(directory.clone(), cause)
        })
}

/// A bare level is ours alone: libraries stay two steps quieter, or `debug` would drown in HTTP/2 frames.
fn level_filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let text = level.trim();
    let unknown = |cause: String| TelemetryError::Level(level.to_owned(), cause);
    let directives = match text.to_ascii_lowercase().as_str() {
        "" | "info" => "warn,audit=info,grok2api=info,grok2api_actors=info",
        "off" => "off",
        "critical" | "error" => "error",
        "warn" | "warning" => "warn",
        "debug" => "info,grok2api=debug,grok2api_actors=debug",
        "trace" => "debug,grok2api=trace,grok2api_actors=trace",
        // A single unknown word would be taken for the name of a module, and silence everything else.
        _ if !text.contains(['=', ',']) => return Err(unknown("no such level".to_owned())),
        _ => text,
    };
    EnvFilter::try_new(directives).map_err(|error| unknown(error.to_string()))
}

/// Panics go to the log, with their place, instead of stderr: a panic in one connection ends that one only.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let words = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(without words)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(
            panic = words,
            place,
            thread = thread.name().unwrap_or_default(),
            "a thread panicked"
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_both_projects_are_understood() {
        for level in [
            "info",
            "INFO",
            "Warning",
            "CRITICAL",
            "off",
            "debug",
            "",
            "info,grok2api::door=trace",
        ] {
            assert!(level_filter(level).is_ok(), "{level}");
        }
        for level in ["verbose", "grok2api=loud", "4"] {
            let error = level_filter(level).unwrap_err().to_string();
            assert!(error.contains(level) && error.contains("LOG_LEVEL"), "{error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = LogOptions {
            directory: Some(file.path().join("logs")),
            ..LogOptions::default()
        };
        let error = log_file(&options).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
        assert!(
            log_file(&LogOptions {
                retention_days: 0,
                ..options
            })
            .unwrap()
            .is_none()
        );
    }

    #[test]
    fn only_so_many_days_stay() {
        let directory = tempfile::tempdir().unwrap();
        for day in 1..=9 {
            std::fs::write(directory.path().join(format!("app.2020-01-0{day}.log")), "{}\n").unwrap();
        }
        let options = LogOptions {
            directory: Some(directory.path().to_owned()),
            retention_days: 3,
            ..LogOptions::default()
        };
        drop(log_file(&options).unwrap().unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }
}
