//! One JSON object a line: time, level, target, message, the event's fields, and those of its spans from the innermost out,
//! all at the top level, so that `jq 'select(.request_id == "…")'` finds everything about a request.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use grok2api_actors::clock::{Clock, WallMs};
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::tap::LogTap;

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
}

/// The layer. Every line goes to every sink.
pub(super) struct JsonLines {
    sinks: Vec<NonBlocking>,
    tap: LogTap,
    clock: Clock,
}

/// A span's fields with their values as JSON, kept beside the span.
#[derive(Default)]
struct SpanFields(Vec<(&'static str, String)>);

impl JsonLines {
    pub fn new(sinks: Vec<NonBlocking>, tap: LogTap, clock: Clock) -> JsonLines {
        JsonLines { sinks, tap, clock }
    }
}

impl<S> Layer<S> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = SpanFields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<SpanFields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        LINE.with(|line| {
            // Taken only if a value's own Debug logs: that inner line is lost, not the process.
            let Ok(mut line) = line.try_borrow_mut() else { return };
            line.begin(self.clock.wall(), event.metadata());
            event.record(&mut *line);
            if let Some(scope) = context.event_scope(event) {
                for span in scope {
                    if let Some(fields) = span.extensions().get::<SpanFields>() {
                        for (name, json) in &fields.0 {
                            line.raw(name, json);
                        }
                    }
                }
            }
            line.end(event.metadata().target());
            self.tap.line(&line.text);
            for sink in &self.sinks {
                // The queue never fails; a full one counts the line as lost.
                let _ = sink.make_writer().write_all(line.text.as_bytes());
            }
        });
    }
}

#[derive(Default)]
struct Line {
    text: String,
    names: Vec<&'static str>,
    // `log` records carry their true target in a field.
    target: Option<String>,
}

impl Line {
    fn begin(&mut self, now: WallMs, metadata: &tracing::Metadata<'_>) {
        self.text.clear();
        self.names.clear();
        self.target = None;
        let _ = write!(
            self.text,
            r#"{{"ts":"{}","level":"{}""#,
            timestamp(now),
            metadata.level()
        );
    }

    fn end(&mut self, target: &str) {
        let target = self.target.take().unwrap_or_else(|| target.to_owned());
        self.value("target", target.as_str());
        self.text.push_str("}\n");
    }

    /// Whether the name is still free in this line; takes it.
    fn takes(&mut self, name: &'static str) -> bool {
        let is_free = !matches!(name, "ts" | "level") && !self.names.contains(&name);
        if is_free {
            self.names.push(name);
        }
        is_free
    }

    fn raw(&mut self, name: &'static str, json: &str) {
        if self.takes(name) {
            let _ = write!(self.text, r#","{name}":{json}"#);
        }
    }

    fn value<V: Serialize + ?Sized>(&mut self, name: &'static str, value: &V) {
        if self.takes(name) {
            let _ = write!(self.text, r#","{name}":"#);
            self.text.push_str(&json_of(value));
        }
    }
}

/// Every kind of value comes here as JSON. Fields meant for other layers stay out.
trait JsonFields {
    fn field<V: Serialize + ?Sized>(&mut self, field: &Field, value: &V);
}

impl JsonFields for Line {
    fn field<V: Serialize + ?Sized>(&mut self, field: &Field, value: &V) {
        match field.name() {
            "log.target" => self.target = serde_json::from_str(&json_of(value)).ok(),
            name if name.starts_with("log.") || name.starts_with("otel.") => {}
            name => self.value(name, value),
        }
    }
}

impl JsonFields for SpanFields {
    fn field<V: Serialize + ?Sized>(&mut self, field: &Field, value: &V) {
        if field.name().starts_with("otel.") {
            return;
        }
        let json = json_of(value);
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some(entry) => entry.1 = json,
            None => self.0.push((field.name(), json)),
        }
    }
}

macro_rules! visit_as_json {
    ($visitor:ty) => {
        impl Visit for $visitor {
            fn record_f64(&mut self, field: &Field, value: f64) {
                self.field(field, &value);
            }
            fn record_i64(&mut self, field: &Field, value: i64) {
                self.field(field, &value);
            }
            fn record_u64(&mut self, field: &Field, value: u64) {
                self.field(field, &value);
            }
            fn record_bool(&mut self, field: &Field, value: bool) {
                self.field(field, &value);
            }
            fn record_str(&mut self, field: &Field, value: &str) {
                self.field(field, value);
            }
            fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
                self.field(field, &with_causes(value));
            }
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.field(field, &format!("{value:?}"));
            }
        }
    };
}

visit_as_json!(Line);
visit_as_json!(SpanFields);

fn json_of<V: Serialize + ?Sized>(value: &V) -> String {
    // Numbers and text always serialise.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// An error and what caused it, in one text.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn timestamp(now: WallMs) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(now.0) * 1_000_000)
        .ok()
        .and_then(|date| date.format(format).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(logged: impl FnOnce()) -> Vec<serde_json::Value> {
        let memory = Memory::default();
        let (sink, guard) = tracing_appender::non_blocking(memory.clone());
        let (clock, _) = Clock::manual(WallMs(1_795_000_000_123));
        let subscriber = tracing_subscriber::registry().with(JsonLines::new(vec![sink], LogTap::default(), clock));
        tracing::subscriber::with_default(subscriber, logged);
        drop(guard);
        let bytes = memory.0.lock().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn fields_of_the_event_and_its_spans_stand_side_by_side() {
        let lines = lines(|| {
            let request = tracing::error_span!(
                "request",
                request_id = "req_1",
                route = "chat",
                model = tracing::field::Empty,
                otel.kind = "server"
            );
            request.in_scope(|| {
                request.record("model", "grok-4");
                request.record("model", "grok-5");
                let attempt = tracing::info_span!("attempt", number = 2);
                attempt.in_scope(|| {
                    tracing::warn!(route = "from the event", status = 429, "slow\n\"down\"");
                });
            });
            tracing::info!("outside");
        });
        assert_eq!(
            lines[0],
            serde_json::json!({
                "ts": "2026-11-18T11:06:40.123Z",
                "level": "WARN",
                "message": "slow\n\"down\"",
                "route": "from the event",
                "status": 429,
                "number": 2,
                "request_id": "req_1",
                "model": "grok-5",
                "target": "grok2api::telemetry::json_lines::tests",
            })
        );
        assert_eq!(lines[1]["message"], "outside");
        assert!(lines[1].get("request_id").is_none());
    }

    #[test]
    fn errors_come_with_their_causes_and_reserved_names_are_kept() {
        let lines = lines(|| {
            let cause = std::io::Error::other("no space");
            let error = crate::telemetry::logs::TelemetryError::Taken;
            let chain: &(dyn Error + 'static) = &cause;
            tracing::error!(error = chain, level = "mine", shown = %error, list = ?[1, 2], "failed");
        });
        assert_eq!(lines[0]["error"], "no space");
        assert_eq!(lines[0]["level"], "ERROR");
        assert_eq!(lines[0]["list"], "[1, 2]");
    }
}
