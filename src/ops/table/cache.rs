//! Operations on kept images and videos.

use grok2api_schemas::admin::cache::CacheStatusAsk;
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};

const STATUS: About = About::look(
    subjects::CACHE_STATUS,
    "Shows how many images and videos the answering node keeps.",
    ("GET", "/cache/local"),
);
const LIST: About = About::look(
    subjects::CACHE_LIST,
    "Lists images or videos that the answering node keeps, the newest first.",
    ("GET", "/cache/list"),
);
const CLEAR: About = About::change(
    subjects::CACHE_CLEAR,
    "Removes all images or videos that the answering node keeps, and what it shares of them.",
    ("POST", "/cache/clear"),
)
.within(120);
const DELETE: About = About::change(
    subjects::CACHE_DELETE,
    "Removes an image or video from the answering node and from what nodes share.",
    ("POST", "/cache/item/delete"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(
            STATUS,
            |ops, _, _: CacheStatusAsk| async move { Ok(ops.cache.status()) },
        ),
        row(LIST, |ops, _, ask| async move { ops.cache.list(&ask) }),
        row(
            CLEAR,
            |ops, actor, ask| async move { ops.cache.clear(&actor, ask).await },
        ),
        row(
            DELETE,
            |ops, actor, ask| async move { ops.cache.delete(&actor, ask).await },
        ),
    ]
}
