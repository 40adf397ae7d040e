//! Operations on log files.

use grok2api_schemas::admin::logs::LogTailAsk;
use grok2api_schemas::bus::admin::Nothing;
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};

const FILES: About = About::look(
    subjects::LOGS_FILES,
    "Lists the log files of the node that answers.",
    ("GET", "/logs/files"),
);
const TAIL: About = About::look(
    subjects::LOGS_TAIL,
    "Shows the end of a log file of the node that answers, by level and text.",
    ("GET", "/logs/tail"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(FILES, |ops, _, _: Nothing| async move { ops.logs.files().await }),
        row(TAIL, |ops, _, ask: LogTailAsk| async move { ops.logs.tail(ask).await }),
    ]
}
