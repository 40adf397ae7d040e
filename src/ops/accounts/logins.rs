//! Attempts to log in, told to the other nodes: guesses that are spread over a cluster count together.
//!
//! One message for every attempt that is let through to its hash, and one for every success: as many as passwords are
//! hashed, which is bounded. They go by core publish: one that is lost costs a guesser's node one count.

use std::net::IpAddr;

use futures::StreamExt;
use grok2api_actors::bus::codec;
use grok2api_schemas::bus::changes::LoginTried;
use grok2api_schemas::bus::subjects::events;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Accounts, too_many};
use crate::engine::error::GatewayError;
use crate::ops::throttle::{Attempt, Tried};

impl Accounts {
    /// Begins an attempt here and on every node.
    pub(super) fn begin_attempt(&self, ip: IpAddr, username: &str) -> Result<Attempt<'_>, GatewayError> {
        let tried = Tried::of(ip, username);
        let now = self.inner.clock.now();
        let attempt = self.inner.throttle.begin(tried, now).map_err(too_many)?;
        self.tell(tried, false);
        Ok(attempt)
    }

    pub(super) fn tell(&self, tried: Tried, succeeded: bool) {
        let told = LoginTried {
            teller: self.inner.teller,
            network: tried.network,
            account: tried.account,
            succeeded,
        };
        match codec::encode(codec::VERSION, &told) {
            Ok(told) => self.inner.bus.publish(events::LOGIN, told),
            Err(error) => tracing::error!(%error, "other nodes do not hear of a login"),
        }
    }

    pub(super) fn hear_of_logins(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let accounts = self.clone();
        let mut told = self.inner.bus.subscribe(events::LOGIN);
        tracker.spawn(async move {
            let hear = async {
                while let Some(told) = told.next().await {
                    accounts.hear(&told);
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = hear => {}
            }
        });
    }

    fn hear(&self, told: &[u8]) {
        match codec::decode::<LoginTried>(told) {
            Ok(told) if told.teller == self.inner.teller => {}
            Ok(told) => {
                let tried = Tried {
                    network: told.network,
                    account: told.account,
                };
                if told.succeeded {
                    self.inner.throttle.succeeded(tried);
                } else {
                    self.inner.throttle.heard(tried, self.inner.clock.now());
                }
            }
            Err(error) => tracing::debug!(%error, "what another node tells of a login does not decode"),
        }
    }
}
