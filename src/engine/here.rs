//! Requests that this node answers out of what it knows: they count against their key, and are written down, like any other.

use std::future::Future;
use std::sync::Arc;

use grok2api_schemas::admin::requests::Outcome;
use http::StatusCode;

use super::Engine;
use super::ask::Ask;
use super::call::Call;
use super::dialect::Told;
use super::error::GatewayError;
use super::usage::Usage;

impl Engine {
    /// Answers with what `make` makes, if the key has room for the request.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn answer_here<T>(
        self: &Arc<Self>,
        ask: Ask,
        make: impl Future<Output = Result<T, GatewayError>>,
    ) -> Result<T, GatewayError> {
        let mut call = Call::begin(self.clone(), &ask);
        let made = match self.take_from_key(&mut call, &ask).await {
            Ok((lease, spend)) => {
                (call.key_lease, call.spend_lease) = (lease, spend);
                call.count_for_key();
                make.await
            }
            Err(error) => Err(error),
        };
        match made {
            Ok(made) => {
                call.answered(StatusCode::OK.as_u16(), 0);
                let told = Told {
                    usage: Some(Usage {
                        total: Some(0),
                        cost_in_usd_ticks: Some(0),
                        ..Usage::default()
                    }),
                    ..Told::default()
                };
                call.finish(Outcome::Success, told);
                Ok(made)
            }
            Err(error) => {
                call.fail(&error);
                Err(error)
            }
        }
    }
}
