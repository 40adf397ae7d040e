//! The admin service of this node, where NATS carries the bus.

use std::sync::Arc;

use grok2api_actors::bus::nats::NatsBus;

use super::App;
use super::build::BuildError;
use crate::control::{self, Place};

/// Offers it until the app ends.
pub(super) async fn serve(app: &Arc<App>, nats: &NatsBus) -> Result<(), BuildError> {
    let place = Place {
        prefix: nats.prefix().to_owned(),
        node: app.membership.identity().node.clone(),
    };
    control::start(nats.client().clone(), &place, app.ops(), &app.tracker, app.stop.clone())
        .await
        .map_err(|error| BuildError(format!("the admin service on NATS: {error}")))
}
