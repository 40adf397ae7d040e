//! How requests of clients are treated where their key does not say.

use super::spec::*;
use crate::client_key::DisconnectPolicy;

choice! {
    /// What a client's hang-up does to the upstream call.
    pub enum OnDisconnect {
        /// Stops it.
        Cancel = "cancel",
        /// Reads it to its end, or for `drain_max_secs`.
        Drain = "drain",
    }
}

section! {
    /// Requests of clients, where their key does not say.
    pub struct ClientsConfig in "clients" {
        /// How long a request waits for quota before it is refused, in milliseconds. While the node that decides about quota has
        /// died, or the bus is away, it waits for up to 30 s more: then nothing is known to be used up.
        max_wait_ms: (int u64 0..=120000) = 2000;
        /// What a call is expected to cost before the model's own costs are known, in USD.
        default_reservation_usd: (number 0.0..=1000.0) = 0.05;
        /// Tokens a call is expected to take before the model's own use is known.
        default_reservation_tokens: (int u64 1..=100000000) = 8000;
        /// Share of a token's capacity that requests of one conversation may hold, from 0 (no affinity) to 1.
        affinity_max_share: (number 0.0..=1.0) = 0.5 [restart];
        /// How long a conversation stays with its token after its last request, in seconds.
        affinity_secs: (int u64 0..=604800) = 3600 [restart];
        /// What a client's hang-up does to the upstream call: cancel, or drain (read it to its end for exact usage).
        on_disconnect: (choice OnDisconnect) = "cancel";
        /// With drain: how long to read on, in seconds; 0 is to the end.
        drain_max_secs: (int u32 0..=86400) = 0;
        /// Where the day of daily limits begins, in minutes east of UTC.
        reset_tz_offset_minutes: (int i32 -720..=840) = 480 [restart env "CACHE_RESET_TZ_OFFSET_MINUTES"];
    }
}

impl ClientsConfig {
    /// The policy for keys that have none of their own.
    pub fn disconnect_policy(&self) -> DisconnectPolicy {
        match (self.on_disconnect, self.drain_max_secs) {
            (OnDisconnect::Cancel, _) => DisconnectPolicy::Cancel,
            (OnDisconnect::Drain, 0) => DisconnectPolicy::Drain,
            (OnDisconnect::Drain, secs) => DisconnectPolicy::DrainUpTo(secs),
        }
    }
}
