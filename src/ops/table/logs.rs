//! Operations on log files.

use grok2api_schemas::admin::logs::{LogFilesAsk, LogTailAsk};
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};

const FILES: About = About::look(
    subjects::LOGS_FILES,
    "Lists the log files of every node, or of one.",
    ("GET", "/logs/files"),
);
const TAIL: About = About::look(
    subjects::LOGS_TAIL,
    "Shows the end of a node's log file, or of those of every node, by level and text.",
    ("GET", "/logs/tail"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(
            FILES,
            |ops, _, ask: LogFilesAsk| async move { ops.logs.files(ask).await },
        ),
        row(TAIL, |ops, _, ask: LogTailAsk| async move { ops.logs.tail(ask).await }),
    ]
}
