//! Spans for OpenTelemetry, and the trace a caller says it belongs to (W3C `traceparent`).
//!
//! Until an exporter is configured nothing would read the spans, so the layer's filter is off and a span costs what the log
//! needs of it. The trace id of the caller is on the log lines either way.

use std::fmt;

use grok2api_schemas::ids::RequestId;
use http::HeaderMap;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::door::Route;

const TRACEPARENT: &str = "traceparent";

/// The tracer of this process. It has no exporter yet, and samples nothing without one.
pub(super) fn provider() -> SdkTracerProvider {
    SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build()
}

/// The layer that turns spans of `tracing` into spans of this tracer. Off while nothing exports them: even an unsampled
/// span would collect its attributes first.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("grok2api"))
        .with_location(false)
        .with_threads(false)
        .with_filter(filter_fn(|_| false))
}

/// The place in a trace that a caller names in its `traceparent` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span in it.
    pub span_id: SpanId,
    /// Whether the caller records it.
    pub flags: TraceFlags,
}

impl TraceParent {
    /// Reads the header (W3C Trace Context §3.2). Later versions than 00 may carry more after the flags; what is not
    /// well-formed is as good as absent.
    pub fn from_headers(headers: &HeaderMap) -> Option<TraceParent> {
        TraceParent::parse(headers.get(TRACEPARENT)?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<TraceParent> {
        let mut parts = text.trim().split('-');
        let version = lower_hex(parts.next()?, 2)?;
        let trace_id = TraceId::from_hex(lower_hex(parts.next()?, 32)?).ok()?;
        let span_id = SpanId::from_hex(lower_hex(parts.next()?, 16)?).ok()?;
        let flags = u8::from_str_radix(lower_hex(parts.next()?, 2)?, 16).ok()?;
        let has_more = parts.next().is_some();
        let is_valid = version != "ff"
            && (version != "00" || !has_more)
            && trace_id != TraceId::INVALID
            && span_id != SpanId::INVALID;
        is_valid.then(|| TraceParent {
            trace_id,
            span_id,
            flags: TraceFlags::new(flags) & TraceFlags::SAMPLED,
        })
    }
}

/// As it stands in the header, for calls further upstream.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags.to_u8())
    }
}

fn lower_hex(text: &str, length: usize) -> Option<&str> {
    let is_hex = text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then_some(text)
}

/// The span around a request: its fields are on every line logged within. `key_id` and `model` are for those who learn
/// them (`Span::current().record("model", …)`).
///
/// It has the highest level, so that it is there whatever the log level is.
pub fn request_span(id: RequestId, route: Route, headers: &HeaderMap) -> Span {
    let span = tracing::error_span!(
        "request",
        request_id = %id,
        route = route.as_str(),
        trace_id = tracing::field::Empty,
        key_id = tracing::field::Empty,
        model = tracing::field::Empty,
    );
    if let Some(parent) = TraceParent::from_headers(headers) {
        span.record("trace_id", tracing::field::display(parent.trace_id));
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_trace_is_read_and_nonsense_is_not() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(good).unwrap();
        assert_eq!(parent.to_string(), good);
        assert!(parent.flags.is_sampled());
        let later = "42-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what-comes-next";
        assert!(TraceParent::parse(later).is_some());
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47361-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
