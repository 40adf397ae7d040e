//! The pool of this node behind the operations on tokens.

use futures::future::BoxFuture;
use grok2api_actors::bus::BusError;
use grok2api_actors::token::Pool;
use grok2api_schemas::admin::page::Page;
use grok2api_schemas::admin::tokens::{
    EnrolOutcome, NewToken, RefreshOutcome, TokenCounts, TokenPatch, TokenQuery, TokenQuotas, TokenView,
};
use grok2api_schemas::ids::TokenId;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::tokens::{RevealedToken, TokenPool};
use crate::engine::error::GatewayError;

fn unwritten(error: BusError) -> GatewayError {
    super::unavailable(&error)
}

impl TokenPool for Pool {
    fn enrol(&self, tokens: Vec<NewToken>) -> BoxFuture<'_, Result<Vec<EnrolOutcome>, GatewayError>> {
        Box::pin(async move { Pool::enrol(self, tokens).await.map_err(unwritten) })
    }

    fn get(&self, id: TokenId) -> Option<TokenView> {
        self.view(id)
    }

    fn find(&self, secret: &str) -> Option<TokenId> {
        self.find_by_secret(secret)
    }

    fn list(&self, query: &TokenQuery) -> Page<TokenView> {
        Pool::list(self, query)
    }

    fn counts(&self) -> TokenCounts {
        Pool::counts(self)
    }

    fn quotas(&self, id: TokenId) -> BoxFuture<'_, Option<TokenQuotas>> {
        Box::pin(Pool::quotas(self, id))
    }

    fn patch(&self, changes: Vec<(TokenId, TokenPatch)>) -> BoxFuture<'_, Result<(), GatewayError>> {
        Box::pin(async move { Pool::patch(self, changes).await.map_err(unwritten) })
    }

    fn delete(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<usize, GatewayError>> {
        Box::pin(async move { Pool::delete(self, &ids).await.map_err(unwritten) })
    }

    fn clear_cooling(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<usize, GatewayError>> {
        Box::pin(async move { Pool::clear_cooling(self, &ids).await.map_err(unwritten) })
    }

    fn refresh(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<Vec<RefreshOutcome>, GatewayError>> {
        Box::pin(async move { Ok(Pool::refresh(self, &ids).await) })
    }

    fn reveal(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<Vec<RevealedToken>, GatewayError>> {
        Box::pin(async move {
            let revealed = ids
                .into_iter()
                .filter_map(|id| self.find(id))
                .map(|token| RevealedToken {
                    id: token.id,
                    secret: Zeroizing::new(token.secret().expose_secret().to_owned()),
                    proxy: (*token.record().proxy).clone().map(Zeroizing::new),
                });
            Ok(revealed.collect())
        })
    }
}
