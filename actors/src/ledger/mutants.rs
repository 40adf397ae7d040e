//! Switches that break the protocol on purpose, in tests only: each must make the simulation find an overspend, or the
//! simulation proves nothing (`tests/`).

/// A plainer reading of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests switch these on"))]
pub enum Mutant {
    /// Charged to the end of the aligned window in which the settlement arrives.
    WindowOfReceipt,
    /// A grant carries an absolute expiry on the wall clock.
    AbsoluteExpiry,
    /// The holder counts a grant's life from the moment it received it.
    LifeFromReceipt,
    /// Settlements add up instead of merging by the maximum.
    SettleByIncrement,
    /// A new owner trusts stored release times to the millisecond.
    TrustStored,
    /// Delivery delay is not charged.
    NoDelivery,
    /// A lapsed grant's units are free at once.
    LapseIsFree,
    /// A grant is handed out before its append is acknowledged.
    GrantBeforeAppend,
    /// A released share moves at once.
    ShareMovesAtOnce,
    /// An open settlement replaces a presumption.
    OpenReplacesPresumption,
    /// A lease is checked when it is taken, not when it is sent.
    NoCheckAtSend,
    /// A restarted process goes on with the grants it had stored (in the simulation).
    RestartReuses,
    /// Two processes of one node id share their grants (in the simulation).
    GrantsOfANodeId,
    /// A share whose answer got lost is free at once, though it took the place of one that was spent.
    ForgoneShareIsFree,
    /// A paced share counts over T alone on the holder's clock.
    PaceWithoutSlack,
    /// The journal takes an append whatever its writer saw last (in the model).
    NoCompareAndSet,
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this mutant is switched on in this thread.
#[cfg(test)]
pub fn active(mutant: Mutant) -> bool {
    ACTIVE.with(|active| active.get() == Some(mutant))
}

/// Nothing is, outside tests.
#[cfg(not(test))]
#[inline(always)]
pub const fn active(_mutant: Mutant) -> bool {
    false
}

/// Runs something with a mutant switched on.
#[cfg(test)]
pub fn with<T>(mutant: Option<Mutant>, run: impl FnOnce() -> T) -> T {
    let before = ACTIVE.with(|active| active.replace(mutant));
    let result = run();
    ACTIVE.with(|active| active.set(before));
    result
}
