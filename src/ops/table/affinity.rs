//! Operations on bindings.

use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};

const LIST: About = About::look(
    subjects::AFFINITY_LIST,
    "Lists which conversation, or which object of the upstream, is bound to which token, page by page.",
    ("GET", "/affinity"),
);
const CLEAR: About = About::change(
    subjects::AFFINITY_CLEAR,
    "Unbinds conversations, on every node: their next turn goes to whichever token serves best.",
    ("POST", "/affinity/clear"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(LIST, |ops, _, ask| async move { ops.affinity.list(ask).await }),
        row(
            CLEAR,
            |ops, actor, ask| async move { ops.affinity.clear(&actor, ask).await },
        ),
    ]
}
