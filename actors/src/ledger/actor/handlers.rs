//! What a shard's actor makes of what it is asked.

use actix::Handler;

use super::ShardActor;
use super::messages::{Exchange, Finish, Inspect, Lost, OwnerStanding, Rebase};
use crate::ledger::rules::Moment;

impl Handler<Exchange> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: Exchange, ctx: &mut Self::Context) {
        if !self.finishing.is_empty() {
            // It lets go of the shard: who is dropped here asks the next owner.
            return;
        }
        if self.context.membership.is_clustered() {
            self.owner.share_among(self.context.membership.live());
        }
        let moment = Moment::now(&self.context.clock);
        if let Some((reply, answer)) = self.owner.receive(moment, message.request, message.reply) {
            let _ = reply.send(answer);
        }
        self.report_counts();
        if message.urgent {
            self.flush(ctx);
        } else if message.gathers {
            self.gather(ctx);
        }
        self.recall(ctx, moment);
    }
}

impl Handler<Inspect> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: Inspect, _ctx: &mut Self::Context) {
        self.owner.tick(Moment::now(&self.context.clock));
        let standing = self.owner.state().meters().map(|(name, meter)| {
            let (charged, outstanding) = meter.load();
            OwnerStanding {
                meter: name.clone(),
                limit: meter.limit(),
                charged,
                outstanding,
                presumed: meter.grants.values().map(|grant| grant.presumed).sum(),
                grants: meter.grants.len(),
            }
        });
        let _ = message.0.send(standing.collect());
    }
}

impl Handler<Lost> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: Lost, _ctx: &mut Self::Context) {
        self.owner.tick(Moment::now(&self.context.clock));
        let lost = self.owner.wants_rebase().into_iter();
        let lost = lost.filter_map(|meter| self.owner.question(&meter).map(|question| (meter, question)));
        let _ = message.0.send(lost.collect());
    }
}

impl Handler<Rebase> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: Rebase, ctx: &mut Self::Context) {
        let moment = Moment::now(&self.context.clock);
        let taken = self
            .owner
            .rebase(moment, &message.meter, message.question, message.remaining);
        self.flush(ctx);
        let _ = message.reply.send(taken);
    }
}

impl Handler<Finish> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: Finish, ctx: &mut Self::Context) {
        self.finishing.push(message.0);
        self.flush(ctx);
    }
}
