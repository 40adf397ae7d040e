//! Operations on the cluster.

use grok2api_schemas::admin::cluster::DrainRequest;
use grok2api_schemas::bus::admin::Nothing;
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};

const STATUS: About = About::look(
    subjects::CLUSTER_STATUS,
    "Shows nodes, shards with their owners, and the bus, as the answering node knows them.",
    ("GET", "/cluster"),
);
const DRAIN: About = About::change(
    subjects::CLUSTER_DRAIN,
    "Makes a node hand over its shards and grants and end.",
    ("POST", "/cluster/drain"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(STATUS, |ops, _, _: Nothing| async move { Ok(ops.cluster.status()) }),
        row(DRAIN, |ops, actor, ask: DrainRequest| async move {
            ops.cluster.drain(&actor, &ask).await
        }),
    ]
}
