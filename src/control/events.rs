//! What watchers hear: events in JSON, published by the node where something happened.

use grok2api_schemas::bus::events::KeyEvent;
use grok2api_schemas::bus::subjects::events as subjects;
use schemars::{Schema, SchemaGenerator};

/// A kind of event.
#[derive(Clone, Copy)]
pub struct Event {
    /// Its subject, without the prefix.
    pub subject: &'static str,
    /// When it is published, in a sentence.
    pub doc: &'static str,
    /// The schema of what it says.
    pub payload: fn(&mut SchemaGenerator) -> Schema,
}

/// Every kind of event.
pub fn events() -> &'static [Event] {
    &[Event {
        subject: subjects::KEY_CHANGED,
        doc: "A client key was made, changed or deleted.",
        payload: |generator| generator.subschema_for::<KeyEvent>(),
    }]
}
