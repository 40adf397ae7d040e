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
    by_party: HashMap<Party, VecDeque<Waiter>>,
    /// Parties with waiters, the next to be served in front.
    rotation: VecDeque<Party>,
    waiters: usize,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    turn: oneshot::Sender<()>,
}

impl Queues {
    fn add(&mut self, party: Party, turn: oneshot::Sender<()>, in_front: bool) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let queue = self.by_party.entry(party).or_default();
        if queue.is_empty() {
            if in_front {
                self.rotation.push_front(party);
            } else {
                self.rotation.push_back(party);
            }
        }
        let waiter = Waiter { ticket, turn };
        if in_front {
            queue.push_front(waiter);
        } else {
            queue.push_back(waiter);
        }
        self.waiters += 1;
        ticket
    }

    /// Takes the next waiter and sends its party to the back of the rotation.
    fn next(&mut self) -> Option<oneshot::Sender<()>> {
        let party = self.rotation.pop_front()?;
        let queue = self.by_party.get_mut(&party)?;
        let waiter = queue.pop_front();
        if queue.is_empty() {
            self.by_party.remove(&party);
        } else {
            self.rotation.push_back(party);
        }
        self.waiters -= usize::from(waiter.is_some());
        waiter.map(|waiter| waiter.turn)
    }

    /// Takes out one that has given up; nothing if it had its turn.
    fn remove(&mut self, party: Party, ticket: u64) {
        let Some(queue) = self.by_party.get_mut(&party) else {
            return;
        };
        let before = queue.len();
        queue.retain(|waiter| waiter.ticket != ticket);
        self.waiters -= before - queue.len();
        if queue.is_empty() {
            self.by_party.remove(&party);
            self.rotation.retain(|other| *other != party);
        }
    }
}

/// A place in a room's queue; resolves when it is this one's turn to try. Dropping it gives it up.
pub struct Place {
    turn: oneshot::Receiver<()>,
    room: Arc<Room>,
    party: Party,
    ticket: u64,
    rooms: Arc<WaitingRooms>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.queues.lock().remove(self.party, self.ticket);
        self.rooms.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    /// Waits for the turn.
    pub async fn turn(&mut self) {
        // An error means that the room is gone, and then trying is right, too.
        let _ = (&mut self.turn).await;
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
        let ticket = {
            let mut queues = room.queues.lock();
            if queues.waiters >= WAITERS_PER_ROOM {
                return None;
            }
            queues.add(party, waiter, had_turn)
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            turn,
            room,
            party,
            ticket,
            rooms: self.clone(),
        })
    }

    /// Gives one waiter of a room its turn. One who found room calls it again: there may be more.
    pub fn call_next(&self, key: &RoomKey) {
        if let Some(room) = self.rooms.get(key).map(|room| room.clone()) {
            loop {
                let next = room.queues.lock().next();
                match next {
                    Some(waiter) => {
                        // One that has given up meanwhile is passed over.
                        if waiter.send(()).is_ok() {
                            return;
                        }
                    }
                    None => return,
                }
            }
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
        place.turn.try_recv().is_ok()
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
    fn who_gives_up_leaves_nothing_behind() {
        let rooms = Arc::new(WaitingRooms::default());
        let room = RoomKey::Model(1);
        for _ in 0..3 * WAITERS_PER_ROOM {
            drop(rooms.enter(&room, 1, false).unwrap());
        }
        assert!(!rooms.is_occupied(&room));
        assert_eq!(rooms.waiting(), 0);
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
