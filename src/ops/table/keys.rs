//! Operations on client keys.

use grok2api_schemas::bus::admin::{Done, KeyAsk, KeyCreateAsk, KeyListAsk, KeyRotateAsk, KeyUpdateAsk};
use grok2api_schemas::bus::subjects::admin as subjects;
use zeroize::Zeroizing;

use super::{About, Operation, row};

const LIST: About = About::look(
    subjects::KEYS_LIST,
    "Lists client keys with what they used today, page by page.",
    ("GET", "/keys"),
);
const GET: About = About::look(subjects::KEYS_GET, "Shows one client key.", ("GET", "/keys/{id}"));
const CREATE: About = About::change(
    subjects::KEYS_CREATE,
    "Makes a client key; only this answer and that of `keys.rotate` hold its secret.",
    ("POST", "/keys"),
);
const UPDATE: About = About::change(
    subjects::KEYS_UPDATE,
    "Changes a client key; what is not named stays as it is.",
    ("PATCH", "/keys/{id}"),
);
const DELETE: About = About::change(subjects::KEYS_DELETE, "Deletes a client key.", ("DELETE", "/keys/{id}"));
const ROTATE: About = About::change(
    subjects::KEYS_ROTATE,
    "Gives a client key a new secret; the old one stops working at once.",
    ("POST", "/keys/{id}/rotate"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(LIST, |ops, _, ask: KeyListAsk| async move {
            ops.keys.page(ask.cursor, ask.limit).await
        }),
        row(GET, |ops, _, ask: KeyAsk| async move { ops.keys.get(ask.id).await }),
        row(CREATE, |ops, actor, ask: KeyCreateAsk| async move {
            ops.keys.create(&actor, ask.key.map(Zeroizing::new), &ask.set).await
        }),
        row(UPDATE, |ops, actor, ask: KeyUpdateAsk| async move {
            ops.keys.update(&actor, ask.id, &ask.set).await
        }),
        row(DELETE, |ops, actor, ask: KeyAsk| async move {
            ops.keys.delete(&actor, ask.id).await?;
            Ok(Done { done: true })
        }),
        row(ROTATE, |ops, actor, ask: KeyRotateAsk| async move {
            ops.keys.rotate(&actor, ask.id, ask.key.map(Zeroizing::new)).await
        }),
    ]
}
