//! Operations on kept images and videos.

use grok2api_schemas::admin::cache::{CacheListAsk, CacheStatusAsk};
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};

const STATUS: About = About::look(
    subjects::CACHE_STATUS,
    "Shows how many images and videos nodes keep.",
    ("GET", "/cache/local"),
);
const LIST: About = About::look(
    subjects::CACHE_LIST,
    "Lists images or videos that nodes keep, the newest first.",
    ("GET", "/cache/list"),
);
const CLEAR: About = About::change(
    subjects::CACHE_CLEAR,
    "Removes all images or videos from every node, or from one.",
    ("POST", "/cache/clear"),
)
.within(120);
const DELETE: About = About::change(
    subjects::CACHE_DELETE,
    "Removes an image or video from every node, or from one.",
    ("POST", "/cache/item/delete"),
);
const ONLINE: About = About::look(
    subjects::CACHE_ONLINE,
    "Lists the teams that a provider keeps files for, or the files of one of them.",
    ("GET", "/cache/online"),
)
.within(30);
const ONLINE_DELETE: About = About::change(
    subjects::CACHE_ONLINE_DELETE,
    "Deletes files of a team at its provider.",
    ("POST", "/cache/online/delete"),
)
.within(150);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(STATUS, |ops, _, ask: CacheStatusAsk| async move {
            ops.cache.status(&ask).await
        }),
        row(
            LIST,
            |ops, _, ask: CacheListAsk| async move { ops.cache.list(&ask).await },
        ),
        row(
            CLEAR,
            |ops, actor, ask| async move { ops.cache.clear(&actor, ask).await },
        ),
        row(
            DELETE,
            |ops, actor, ask| async move { ops.cache.delete(&actor, ask).await },
        ),
        row(ONLINE, |ops, _, ask| async move { ops.cache.online(ask).await }),
        row(ONLINE_DELETE, |ops, actor, ask| async move {
            ops.cache.delete_online(&actor, ask).await
        }),
    ]
}
