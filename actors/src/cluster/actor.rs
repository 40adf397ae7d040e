//! The actor that speaks and listens for this node.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, StreamHandler};
use bytes::Bytes;
use grok2api_schemas::bus::subjects::nodes;
use grok2api_schemas::cluster::Beat;

use super::Shared;
use super::view::{BEAT, View};
use crate::bus::codec;
use crate::clock::Mono;

/// How often silence is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// Beats out of turn come at most this often.
const SPEAK_AGAIN: Duration = Duration::from_millis(20);

/// Say that this node lives, and what changed, now.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Speak;

/// Keeps the view.
pub(super) struct MembershipActor {
    shared: Arc<Shared>,
    view: View,
    spoke_at: Option<Mono>,
    /// A beat out of turn is due.
    has_news: bool,
}

impl MembershipActor {
    pub(super) fn new(shared: Arc<Shared>) -> MembershipActor {
        let view = View::new(
            shared.identity.session,
            shared.identity.max_clock_skew_ms,
            shared.moment(),
        );
        MembershipActor {
            shared,
            view,
            spoke_at: None,
            has_news: false,
        }
    }

    fn speak(&mut self) {
        let now = self.shared.moment();
        self.spoke_at = Some(now.mono);
        self.has_news = false;
        if !self.shared.left.load(Ordering::Acquire)
            && let Some(number) = self.shared.publish()
        {
            self.view.speaks(now, number);
        }
    }

    fn speak_soon(&mut self, ctx: &mut Context<Self>) {
        let now = self.shared.clock.now();
        let rested = self
            .spoke_at
            .is_none_or(|at| now.ms_since(at) >= SPEAK_AGAIN.as_millis() as u64);
        if rested {
            self.speak();
        } else if !self.has_news {
            self.has_news = true;
            ctx.run_later(SPEAK_AGAIN, |actor, _| {
                if actor.has_news {
                    actor.speak();
                }
            });
        }
    }

    /// Time passes: who is silent, and whether it is this node's turn to speak.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.shared.left.load(Ordering::Acquire) {
            ctx.stop();
            return;
        }
        let now = self.shared.moment();
        self.view.tick(now);
        let due = self
            .spoke_at
            .is_none_or(|at| now.mono.ms_since(at) + LOOK.as_millis() as u64 > BEAT.as_millis() as u64);
        let could_own = self.shared.snapshot.load().objection.is_none();
        self.show();
        let may_own = self.shared.snapshot.load().objection.is_none();
        if due || could_own != may_own {
            self.speak();
        }
        self.look_later(ctx);
    }

    fn look_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(self.shared.clock.until_next(LOOK), Self::look);
    }

    fn show(&self) {
        let own = self.shared.own_beat();
        self.shared.show(self.view.snapshot(self.shared.clock.now(), &own));
    }

    fn listen(&self, ctx: &mut Context<Self>) {
        if let Some(bus) = &self.shared.bus {
            ctx.add_stream(bus.subscribe(nodes::BEAT));
        }
    }
}

impl Actor for MembershipActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.listen(ctx);
        self.speak();
        self.show();
        self.look_later(ctx);
    }
}

impl StreamHandler<Bytes> for MembershipActor {
    fn handle(&mut self, payload: Bytes, ctx: &mut Self::Context) {
        let beat: Beat = match codec::decode(&payload) {
            Ok(beat) => beat,
            Err(error) => {
                tracing::debug!(%error, "a beat that is not understood: a node of another version");
                return;
            }
        };
        let is_new = self.view.hear(self.shared.moment(), beat);
        if is_new {
            self.speak_soon(ctx);
        }
        self.show();
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        // The bus let go of the subscription: listen again, without a storm.
        ctx.run_later(BEAT, |actor, ctx| actor.listen(ctx));
    }
}

impl Handler<Speak> for MembershipActor {
    type Result = ();

    fn handle(&mut self, _: Speak, ctx: &mut Self::Context) {
        self.speak_soon(ctx);
        self.show();
    }
}
