//! How many requests are being answered, by route: from their head to the end (or drop) of their body.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::route::Route;

/// One count a route. Cheap to clone.
#[derive(Clone, Default)]
pub struct InFlight(Arc<[AtomicUsize; Route::ALL.len()]>);

/// A request that counts until this is dropped.
#[derive(Debug)]
pub struct InFlightGuard {
    counts: InFlight,
    route: Route,
}

impl InFlight {
    /// Counts one more. The door does this for every request; a route that lives on after its answer (a WebSocket, a
    /// drain after the client left) holds one of its own.
    pub fn enter(&self, route: Route) -> InFlightGuard {
        self.0[route as usize].fetch_add(1, Ordering::Relaxed);
        InFlightGuard {
            counts: self.clone(),
            route,
        }
    }

    /// How many on this route now.
    pub fn count(&self, route: Route) -> usize {
        self.0[route as usize].load(Ordering::Relaxed)
    }

    /// How many in all.
    pub fn total(&self) -> usize {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.counts.0[self.route as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// `3 chat, 1 admin`, or `none`.
impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for route in Route::ALL {
            let count = self.count(route);
            if count > 0 {
                write!(f, "{separator}{count} {}", route.as_str())?;
                separator = ", ";
            }
        }
        if separator.is_empty() {
            f.write_str("none")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InFlight({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_route_and_says_so() {
        let in_flight = InFlight::default();
        assert_eq!(in_flight.to_string(), "none");
        let guards = [
            in_flight.enter(Route::Admin),
            in_flight.enter(Route::Chat),
            in_flight.enter(Route::Chat),
        ];
        assert_eq!(in_flight.to_string(), "2 chat, 1 admin");
        drop(guards);
        assert_eq!(in_flight.total(), 0);
    }
}
