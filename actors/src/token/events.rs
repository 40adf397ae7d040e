//! What this node tells the others and watchers at once, and what it does when it hears them. An event is a part of a
//! record: it is merged like one (see [`super::merge`]), so one that comes late, twice or out of order undoes nothing.
//! Lost ones are made good by the record itself, which the watch brings.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_schemas::bus::subjects::events;
use grok2api_schemas::token::{Cooling, CoolingCause, TeamRecord, TokenRecord};
use grok2api_schemas::token_event::{EventScope, TokenEvent, TokenHappening};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cooling::{self, Scope};
use super::entry::Token;
use super::pool::Pool;
use super::team::Team;

/// Of a rest that was heard of, this is how long the node that looks after it waits for the record before it writes it
/// itself: whoever saw the refusal may have died before its write.
const WRITE_FOR_OTHERS_AFTER: Duration = Duration::from_secs(2);
/// Tokens that are added or deleted together are told one by one up to this many, else once with their number.
const ONE_BY_ONE: usize = 64;

impl From<Scope> for EventScope {
    fn from(scope: Scope) -> EventScope {
        match scope {
            Scope::Token => EventScope::Token,
            Scope::TokenModel => EventScope::TokenModel,
            Scope::TeamModel => EventScope::TeamModel,
            Scope::Team => EventScope::Team,
        }
    }
}

fn happening(cause: CoolingCause) -> TokenHappening {
    match cause {
        CoolingCause::BadCredential => TokenHappening::Expired,
        CoolingCause::OutOfCredit => TokenHappening::Exhausted,
        _ => TokenHappening::Cooled,
    }
}

impl Pool {
    fn event(&self, token: &Token, event: TokenHappening) -> TokenEvent {
        let record = token.record();
        let team = token.team().map(|team| team.record());
        let (state, _) = cooling::state(&record, team.as_deref(), self.0.clock.wall());
        TokenEvent {
            event,
            id: record.id,
            masked: record.masked.clone(),
            team: record.team.as_deref().map(str::to_owned),
            state,
            scope: None,
            model: None,
            cause: None,
            detail: None,
            since_ms: None,
            until_ms: None,
            node: self.0.options.session,
            version: record.version,
            epoch: record.epoch,
            count: None,
        }
    }

    fn publish(&self, event: &TokenEvent) {
        match serde_json::to_vec(event) {
            Ok(bytes) => self.0.bus.publish(events::TOKEN, Bytes::from(bytes)),
            Err(error) => tracing::error!(%error, "an event could not be written"),
        }
    }

    /// Tells that something happened to a token as a whole.
    pub(super) fn tell(&self, token: &Token, what: TokenHappening) {
        self.publish(&self.event(token, what));
    }

    /// Tells that tokens were added or deleted together.
    pub(super) fn tell_many(&self, tokens: &[Arc<Token>], what: TokenHappening) {
        if tokens.len() <= ONE_BY_ONE {
            for token in tokens {
                self.tell(token, what);
            }
        } else if let Some(first) = tokens.first() {
            let mut event = self.event(first, what);
            event.count = Some(tokens.len() as u64);
            self.publish(&event);
        }
    }

    /// Tells that a rest began or became longer.
    pub(super) fn tell_rest(&self, token: &Token, team: &Team, scope: Scope, model: &str, rest: &Cooling) {
        let mut event = self.event(token, happening(rest.cause));
        let of_team = team.record();
        event.scope = Some(scope.into());
        event.cause = Some(rest.cause);
        event.detail = Some(rest.detail.clone());
        event.since_ms = Some(rest.since_ms);
        event.until_ms = rest.until_ms;
        event.team = Some(of_team.team.as_ref().to_owned());
        if matches!(scope, Scope::TokenModel | Scope::TeamModel) {
            event.model = Some(model.to_owned());
        }
        if matches!(scope, Scope::TeamModel | Scope::Team) {
            event.version = of_team.version;
        }
        event.epoch = match scope {
            Scope::Token => token.record().epoch,
            Scope::TokenModel => token.record().model_epoch,
            Scope::TeamModel => of_team.model_epoch,
            Scope::Team => of_team.epoch,
        };
        self.publish(&event);
    }

    /// Tells that the rests of a token were ended before their time.
    pub(super) fn tell_cleared(&self, token: &Token, before: &TokenRecord) {
        let after = token.record();
        if after.epoch != before.epoch {
            let mut event = self.event(token, TokenHappening::Recovered);
            event.scope = Some(EventScope::Token);
            self.publish(&event);
        }
        if after.model_epoch != before.model_epoch {
            let mut event = self.event(token, TokenHappening::Recovered);
            event.scope = Some(EventScope::TokenModel);
            event.epoch = after.model_epoch;
            self.publish(&event);
        }
    }

    /// Tells that the rests of a team were ended before their time; `token` is one of its tokens.
    pub(super) fn tell_team_cleared(&self, token: &Token, team: &Team, before: &TeamRecord) {
        let after = team.record();
        for (scope, epoch, was) in [
            (EventScope::Team, after.epoch, before.epoch),
            (EventScope::TeamModel, after.model_epoch, before.model_epoch),
        ] {
            if epoch != was {
                let mut event = self.event(token, TokenHappening::Recovered);
                event.scope = Some(scope);
                event.version = after.version;
                event.epoch = epoch;
                self.publish(&event);
            }
        }
    }

    /// Tells watchers that the rest of a team, or of a team for a model, is over by time.
    pub(super) fn tell_team_recovered(&self, token: &Token, team: &Team, whole: bool) {
        let record = team.record();
        let mut event = self.event(token, TokenHappening::Recovered);
        event.version = record.version;
        (event.scope, event.epoch) = if whole {
            (Some(EventScope::Team), record.epoch)
        } else {
            (Some(EventScope::TeamModel), record.model_epoch)
        };
        self.publish(&event);
    }

    /// Listens to the other nodes until `stop`.
    pub(super) fn listen(&self, tracker: &TaskTracker, stop: &CancellationToken) {
        let (pool, stop) = (self.clone(), stop.clone());
        let mut heard = self.0.bus.subscribe(events::TOKEN);
        tracker.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    message = heard.next() => match message {
                        Some(message) => pool.hear(&message),
                        None => return,
                    }
                }
            }
        });
    }

    /// Takes an event in. What is not of this form is another build's, and is left to the records.
    pub(super) fn hear(&self, message: &[u8]) {
        let Ok(event) = serde_json::from_slice::<TokenEvent>(message) else {
            return;
        };
        let Some(scope) = event.scope else { return };
        if event.node == self.0.options.session {
            return;
        }
        match scope {
            EventScope::Token | EventScope::TokenModel => {
                let Some(token) = self.find(event.id) else { return };
                let mut told = TokenRecord::clone(&token.record());
                told.version = event.version;
                if scope == EventScope::Token {
                    told.cooling = rest_of(&event).into();
                    told.epoch = event.epoch;
                    if event.event == TokenHappening::Recovered {
                        told.fail_count = 0;
                    }
                } else {
                    told.model_cooling = model_rest_of(&event).into();
                    told.model_epoch = event.epoch;
                }
                self.merge_token(&token, &told, None);
            }
            EventScope::Team | EventScope::TeamModel => {
                let Some(team) = event
                    .team
                    .as_deref()
                    .and_then(|id| self.0.teams.get(id).map(|team| team.clone()))
                else {
                    return;
                };
                let mut told = TeamRecord::clone(&team.record());
                told.version = event.version;
                if scope == EventScope::Team {
                    told.cooling = rest_of(&event);
                    told.epoch = event.epoch;
                } else {
                    told.model_cooling = model_rest_of(&event);
                    told.model_epoch = event.epoch;
                }
                self.merge_team(&team, &told, None);
            }
        }
        if event.event != TokenHappening::Recovered {
            self.write_for_others(&event, scope);
        }
    }

    /// The node that looks after a token or team sees to it that what was told is also written.
    fn write_for_others(&self, event: &TokenEvent, scope: EventScope) {
        let is_of_team = matches!(scope, EventScope::Team | EventScope::TeamModel);
        let key = event
            .team
            .as_ref()
            .map_or(&event.id.as_bytes()[..], |team| team.as_bytes());
        if !self.is_mine(key) {
            return;
        }
        let (id, team) = (event.id, event.team.clone());
        self.0.actors.later(WRITE_FOR_OTHERS_AFTER, self, move |pool| {
            if is_of_team {
                let team = team.and_then(|id| pool.0.teams.get(&*id).map(|team| team.clone()));
                if let Some(team) = team.filter(|team| team.is_unsaved()) {
                    pool.0.actors.save_team(&pool, &team);
                }
            } else if let Some(token) = pool.find(id).filter(|token| token.is_unsaved()) {
                pool.0.actors.save(&pool, &token);
            }
        });
    }
}

fn rest_of(event: &TokenEvent) -> Option<Cooling> {
    Some(Cooling {
        cause: event.cause?,
        detail: event.detail.clone().unwrap_or_default(),
        since_ms: event.since_ms?,
        until_ms: event.until_ms,
    })
}

fn model_rest_of(event: &TokenEvent) -> Vec<(String, Cooling)> {
    event.model.clone().zip(rest_of(event)).into_iter().collect()
}
