//! The accounting of one call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::meter::Meter;
use super::models::Model;
use super::world::{Key, World};

/// The accounting of one admitted call, from its arrival to the last byte of its answer. Settles when it is finished;
/// dropped before that, the client hung up.
#[derive(Debug)]
pub struct Call {
    pub world: Arc<World>,
    pub key: Arc<Key>,
    pub model: Arc<Model>,
    meter: Arc<Meter>,
    prompt: u64,
    cached: u64,
    written: u64,
    price_factor: u64,
    /// What is paid by the piece.
    flat: u64,
    settled: bool,
    cut: bool,
}

impl Call {
    /// Begins the accounting of a call that both meters admitted.
    pub fn begin(world: Arc<World>, key: Arc<Key>, model: Arc<Model>, meter: Arc<Meter>) -> Call {
        let now = world.stats.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        world.stats.max_in_flight.fetch_max(now, Ordering::Relaxed);
        Call {
            world,
            key,
            model,
            meter,
            prompt: 0,
            cached: 0,
            written: 0,
            price_factor: 1,
            flat: 0,
            settled: false,
            cut: false,
        }
    }

    /// Generation begins: the prompt counts at once, as it was read.
    pub fn prompt(&mut self, prompt: u64, cached: u64, price_factor: u64) {
        (self.prompt, self.cached, self.price_factor) = (prompt, cached, price_factor);
        let clock = self.world.clock.clone();
        self.meter.charge(prompt, 0, &clock);
        self.key.meter.charge(prompt, 0, &clock);
    }

    /// So many output tokens were written.
    pub fn wrote(&mut self, tokens: u32) {
        self.written += u64::from(tokens);
    }

    /// Something was made that is paid by the piece, in ticks.
    pub fn charge_flat(&mut self, ticks: u64) {
        self.flat += ticks;
    }

    /// The answer was cut on purpose.
    pub fn cut(&mut self) {
        self.cut = true;
        self.settle(false);
    }

    /// The last byte was handed over.
    pub fn finish(&mut self) {
        self.settle(false);
    }

    fn settle(&mut self, cancelled: bool) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let world = &self.world;
        if self.prompt > 0 || self.flat > 0 {
            let cost = self.model.cost(self.prompt, self.cached, self.written) * self.price_factor + self.flat;
            self.meter.charge(self.written, cost, &world.clock);
            self.key.meter.charge(self.written, cost, &world.clock);
            self.key.team.spent_ticks.fetch_add(cost, Ordering::Relaxed);
        }
        self.meter.leave();
        self.key.meter.leave();
        let stats = &world.stats;
        stats.in_flight.fetch_sub(1, Ordering::Relaxed);
        if cancelled {
            self.key.tally.lock().cancelled += 1;
        }
        let outcome = match (cancelled, self.cut) {
            (true, _) => &stats.cancelled,
            (false, true) => &stats.cut,
            (false, false) => &stats.completed,
        };
        outcome.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.settle(true);
    }
}
