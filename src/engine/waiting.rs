//! Where requests wait for room: one queue a client key, turns in rotation between keys, so that a key with a thousand
//! requests waiting delays another key's first one by one turn, not by a thousand.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RoomKey {
    /// Room on any token for a model.
    Model(u32),
    /// Room on the one token that can serve a call, by its id: such calls are in nobody else's way.
    Token([u8; 16]),
    /// Room in a client key's own limits.
    ClientKey([u8; 16]),
}

/// Who waits; equal values share a queue.
pub type Party = u64;

/// A queue that is full refuses at once: waiting there would only end in a refusal.
const WAITERS_PER_ROOM: usize = 10_000;

/// All rooms of this node.
#[derive(Default)]
pub struct WaitingRooms {
    rooms: DashMap<RoomKey, Arc<Room>>,
    waiting: AtomicUsize,
}

/// One room.
#[derive(Default)]
pub struct Room {
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    by_party: HashMap<Party, VecDeque<oneshot::Sender<()>>>,
    /// Parties with entries, the next to be served in front.
    rotation: VecDeque<Party>,
    /// Those that wait still.
    waiters: usize,
    /// Entries of the queues: waiters, and some that have given up.
    entries: usize,
}

/// Entries of waiters that gave up are cleared away once there are so many more of them than of others.
const LEFT_BEHIND: usize = 64;

impl Queues {
    fn add(&mut self, party: Party, waiter: oneshot::Sender<()>, in_front: bool) {
        if self.entries > 2 * self.waiters + LEFT_BEHIND {
            self.by_party.retain(|_, queue| {
                queue.retain(|waiter| !waiter.is_closed());
                !queue.is_empty()
            });
            self.rotation.retain(|party| self.by_party.contains_key(party));
            self.entries = self.waiters;
        }
        let queue = self.by_party.entry(party).or_default();
        if queue.is_empty() {
            if in_front {
                self.rotation.push_front(party);
            } else {
                self.rotation.push_back(party);
            }
        }
        if in_front {
            queue.push_front(waiter);
        } else {
            queue.push_back(waiter);
        }
        self.waiters += 1;
        self.entries += 1;
    }

    /// Gives the next waiter its turn, and sends its party to the back of the rotation.
    fn call(&mut self) {
        while let Some(party) = self.rotation.pop_front() {
            let Some(queue) = self.by_party.get_mut(&party) else {
                continue;
            };
            let mut is_called = false;
            while let Some(waiter) = queue.pop_front() {
                self.entries -= 1;
                // One that gave up is passed over, and does not cost its party the turn.
                if waiter.send(()).is_ok() {
                    is_called = true;
                    break;
                }
            }
            if queue.is_empty() {
                self.by_party.remove(&party);
            } else {
                self.rotation.push_back(party);
            }
            if is_called {
                self.waiters -= 1;
                return;
            }
        }
    }
}

/// A place in a room's queue; resolves when it is this one's turn to try. Dropped with a turn that was not used, it hands
/// the turn on.
pub struct Place {
    room: Arc<Room>,
    turn: oneshot::Receiver<()>,
    is_called: bool,
    keeps_turn: bool,
    _count: Count,
}

/// Counts one waiter while it lives.
struct Count(Arc<WaitingRooms>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    /// Waits for the turn.
    pub async fn turn(&mut self) {
        if !self.is_called {
            // An error means that the room is gone, and then trying is right, too.
            let _ = (&mut self.turn).await;
            self.is_called = true;
        }
    }

    /// The turn, if there was one, is used up.
    pub fn used(mut self) {
        self.keeps_turn = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = self.room.queues.lock();
        self.turn.close();
        if self.is_called || self.turn.try_recv().is_ok() {
            if !self.keeps_turn {
                queues.call();
            }
        } else {
            queues.waiters = queues.waiters.saturating_sub(1);
        }
    }
}

impl WaitingRooms {
    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether anybody waits in a room: a newcomer then queues instead of trying past them.
    pub fn is_occupied(&self, key: &RoomKey) -> bool {
        self.waiting() > 0 && self.rooms.get(key).is_some_and(|room| room.queues.lock().waiters > 0)
    }

    /// Takes a place: at the back, or in front for one who had its turn and found nothing. `None` = the room is full.
    pub fn enter(self: &Arc<Self>, key: &RoomKey, party: Party, had_turn: bool) -> Option<Place> {
        let room = self.rooms.entry(key.clone()).or_default().clone();
        let (waiter, turn) = oneshot::channel();
        {
            let mut queues = room.queues.lock();
            if queues.waiters >= WAITERS_PER_ROOM {
                return None;
            }
            queues.add(party, waiter, had_turn);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            room,
            turn,
            is_called: false,
            keeps_turn: false,
            _count: Count(self.clone()),
        })
    }

    /// Gives one waiter of a room its turn. One who found room calls it again: there may be more.
    pub fn call_next(&self, key: &RoomKey) {
        if let Some(room) = self.rooms.get(key).map(|room| room.clone()) {
            room.queues.lock().call();
        }
    }

    /// Room may have appeared anywhere: one turn for every room.
    pub fn call_all(&self) {
        if self.waiting() == 0 {
            return;
        }
        let keys: Vec<RoomKey> = self.rooms.iter().map(|room| room.key().clone()).collect();
        for key in keys {
            self.call_next(&key);
            self.rooms.remove_if(&key, |_, room| {
                room.queues.lock().waiters == 0 && Arc::strong_count(room) == 1
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_called(place: &mut Place) -> bool {
        place.is_called |= place.turn.try_recv().is_ok();
        place.is_called
    }

    #[test]
    fn a_small_party_waits_one_turn_not_a_queue() {
        let rooms = Arc::new(WaitingRooms::default());
        let room = RoomKey::Model(1);
        let mut greedy: Vec<Place> = (0..100).map(|_| rooms.enter(&room, 1, false).unwrap()).collect();
        let mut modest = rooms.enter(&room, 2, false).unwrap();
        rooms.call_next(&room);
        assert!(is_called(&mut greedy[0]));
        rooms.call_next(&room);
        assert!(is_called(&mut modest));
        drop(greedy.remove(1));
        rooms.call_next(&room);
        assert!(is_called(&mut greedy[1]), "one that gave up is passed over");
    }

    #[test]
    fn a_turn_that_nobody_uses_goes_to_the_next() {
        let rooms = Arc::new(WaitingRooms::default());
        let room = RoomKey::Model(1);
        let first = rooms.enter(&room, 1, false).unwrap();
        let mut second = rooms.enter(&room, 1, false).unwrap();
        let mut third = rooms.enter(&room, 1, false).unwrap();
        rooms.call_next(&room);
        drop(first);
        assert!(is_called(&mut second), "the first hung up with its turn");
        second.used();
        assert!(!is_called(&mut third), "a turn that was used is not handed on");
        drop(third);
        assert!(!rooms.is_occupied(&room));
        assert_eq!(rooms.waiting(), 0);
    }

    #[test]
    fn those_who_gave_up_neither_fill_a_room_nor_cost_their_party_a_turn() {
        let rooms = Arc::new(WaitingRooms::default());
        let room = RoomKey::Model(1);
        for _ in 0..3 * WAITERS_PER_ROOM {
            drop(rooms.enter(&room, 1, false).unwrap());
        }
        let entries = rooms.rooms.get(&room).unwrap().queues.lock().entries;
        assert!(entries <= LEFT_BEHIND + 1, "{entries}");
        let mut patient = rooms.enter(&room, 1, false).unwrap();
        let mut other = rooms.enter(&room, 2, false).unwrap();
        rooms.call_next(&room);
        assert!(is_called(&mut patient) && !is_called(&mut other));
    }

    #[test]
    fn who_had_its_turn_in_vain_comes_next_again() {
        let rooms = Arc::new(WaitingRooms::default());
        let room = RoomKey::ClientKey([0; 16]);
        let _first = rooms.enter(&room, 1, false).unwrap();
        let mut again = rooms.enter(&room, 2, true).unwrap();
        rooms.call_next(&room);
        assert!(is_called(&mut again));
        assert!(rooms.is_occupied(&room));
        assert_eq!(rooms.waiting(), 2);
    }
}
