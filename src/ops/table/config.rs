//! Operations on the configuration.

use grok2api_schemas::admin::config::{ConfigAsk, ConfigChange};
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};

const GET: About = About::look(
    subjects::CONFIG_GET,
    "Shows every key of the configuration with its value, default, source and type; secrets are masked.",
    ("GET", "/config?view=full"),
);
const SET: About = About::change(
    subjects::CONFIG_SET,
    "Changes keys of the configuration on every node: all that are named, or none.",
    ("POST", "/config"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(GET, |ops, _, _: ConfigAsk| async move { Ok(ops.config.get()) }),
        row(SET, |ops, actor, ask: ConfigChange| async move {
            ops.config.set(&actor, ask).await
        }),
    ]
}
