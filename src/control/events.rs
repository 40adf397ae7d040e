//! What watchers hear: events in JSON, published by the node where something happened.

use grok2api_schemas::bus::events::{ConfigEvent, JobEvent, KeyEvent};
use grok2api_schemas::bus::subjects::events as subjects;
use grok2api_schemas::token_event::TokenEvent;
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
    &[
        Event {
            subject: subjects::TOKEN,
            doc: "An upstream credential or its team changed state: cooled, exhausted, expired, recovered, disabled, updated, \
                  added, deleted.",
            payload: |generator| generator.subschema_for::<TokenEvent>(),
        },
        Event {
            subject: subjects::KEY_CHANGED,
            doc: "A client key was made, changed or deleted.",
            payload: |generator| generator.subschema_for::<KeyEvent>(),
        },
        Event {
            subject: subjects::JOB,
            doc: "A registration job went on: at most twice a second, and whenever its status changes.",
            payload: |generator| generator.subschema_for::<JobEvent>(),
        },
        Event {
            subject: subjects::CONFIG_CHANGED,
            doc: "The configuration of the cluster was changed.",
            payload: |generator| generator.subschema_for::<ConfigEvent>(),
        },
    ]
}
