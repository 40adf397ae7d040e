//! Choosing a token: no I/O, no message, constant time. Affinity where the bound token is healthy, else the better of two
//! teams drawn at random, then the less busy of two of its tokens.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use grok2api_schemas::meter::MeterKind;
use parking_lot::RwLockReadGuard;

use super::affinity::{Affinity, AffinityCounters, ConversationId};
use super::cooling;
use super::eligible::{ModelId, ModelSet};
use super::entry::{NOWHERE, Token};
use super::pool::Pool;
use super::team::{LiveTokens, MOST_HEADROOM, Team, TeamModel, headroom};
use crate::clock::{Mono, WallMs};

/// What a call asks of the pool.
pub struct Wish<'a> {
    /// The upstream model.
    pub model: ModelId,
    /// The conversation it belongs to.
    pub conversation: Option<ConversationId>,
    /// The token that made what the call builds on: it serves, or another of its team.
    pub pin: Option<grok2api_schemas::ids::TokenId>,
    /// No model makes it: any team that can serve anything will do, and `model` only names what it counts as.
    pub any_team: bool,
    /// What this call has tried already.
    pub tried: &'a Tried,
}

/// What a call has tried: it is not chosen again.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    teams: Vec<std::sync::Arc<str>>,
    tokens: Vec<grok2api_schemas::ids::TokenId>,
}

impl Tried {
    /// The team is not to be chosen again.
    pub fn team(&mut self, team: &Team) {
        self.teams.push(team.id.clone());
    }

    /// The token is not to be chosen again.
    pub fn token(&mut self, token: &Token) {
        self.tokens.push(token.id);
    }

    fn has_team(&self, team: &Team) -> bool {
        self.teams.iter().any(|id| **id == *team.id)
    }

    fn has_token(&self, token: &Token) -> bool {
        self.tokens.contains(&token.id)
    }
}

/// Why this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The conversation is bound to it.
    Affinity,
    /// The better of two drawn at random.
    Balance,
    /// It made what the call builds on.
    Pinned,
}

/// A chosen token. Counts as in flight on it until dropped.
pub struct Pick {
    /// The token.
    pub token: Arc<Token>,
    /// The team it draws on.
    pub team: Arc<Team>,
    /// The team for the model asked for.
    pub at: Arc<TeamModel>,
    /// Why this one.
    pub reason: Reason,
    conversation: Option<Arc<AtomicU32>>,
}

impl Pick {
    fn new(token: Arc<Token>, team: Arc<Team>, at: Arc<TeamModel>, reason: Reason) -> Pick {
        token.in_flight.fetch_add(1, Ordering::Relaxed);
        Pick {
            token,
            team,
            at,
            reason,
            conversation: None,
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.token.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = &self.conversation {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How many of a conversation's calls one token takes at a time where no concurrency limit is known.
const SWARM_WITHOUT_LIMIT: u32 = 16;

/// Teams that are looked through when the two drawn at random are of no use: where more than that many in a row have no
/// room, hardly any has, and looking at all of a hundred thousand for every request would make an overload worse.
const LOOKED_THROUGH: usize = 1_024;

impl Pool {
    /// A token for this wish, or nothing when none is usable now.
    pub fn choose(&self, wish: &Wish<'_>, now: Mono, wall: WallMs) -> Option<Pick> {
        if let Some(pin) = wish.pin {
            return self.choose_pinned(wish, pin, wall);
        }
        if wish.any_team {
            return self.choose_anywhere(wish, wall);
        }
        let affinity = self.affinity();
        if let Some(conversation) = wish.conversation
            && let Some(pick) = self.choose_bound(wish, conversation, affinity, now, wall)
        {
            return Some(pick);
        }
        let mut pick = self
            .eligible()
            .set(wish.model)
            .and_then(|set| self.choose_from(&set, false, wish, wall))
            .or_else(|| self.choose_from(&self.eligible().any, true, wish, wall))?;
        if let Some(conversation) = wish.conversation {
            let bound = affinity.find(conversation, now);
            let stays = bound.as_ref().is_some_and(|(token, _)| will_be_back(token, wall));
            if stays {
                affinity.count(|c: &AffinityCounters| &c.borrows);
            } else {
                if bound.is_some() {
                    affinity.count(|c: &AffinityCounters| &c.rebinds);
                }
                let count = affinity.bind(conversation, &pick.token, now, wall);
                count.fetch_add(1, Ordering::Relaxed);
                pick.conversation = Some(count);
            }
        }
        Some(pick)
    }

    /// A token of any team that can serve some model now.
    fn choose_anywhere(&self, wish: &Wish<'_>, wall: WallMs) -> Option<Pick> {
        let sets = self.eligible().served();
        let first = fastrand::usize(..sets.len().max(1));
        let (before, after) = sets.split_at(first.min(sets.len()));
        after
            .iter()
            .chain(before)
            .find_map(|set| self.choose_from(set, true, wish, wall))
            .or_else(|| self.choose_from(&self.eligible().any, true, wish, wall))
    }

    /// The token itself, else another of its team: what the one made, the others can reach.
    fn choose_pinned(&self, wish: &Wish<'_>, pin: grok2api_schemas::ids::TokenId, wall: WallMs) -> Option<Pick> {
        let token = self.find(pin)?;
        let team = token.team()?;
        let name = self.model_name(wish.model);
        let offers = match wish.any_team {
            true => serves_now(&team) && !rests_for(&team, name.as_deref(), wall),
            false => offers_now(&team, wish.model, name.as_deref(), wall),
        };
        if wish.tried.has_team(&team) || !offers {
            return None;
        }
        let itself = (token.position.load(Ordering::Acquire) != NOWHERE && takes(&token, wish, name.as_deref(), wall))
            .then(|| token.clone());
        let token = itself.or_else(|| draw_of(&team, wish, name.as_deref(), wall))?;
        let at = self.team_model(&team, wish.model);
        Some(Pick::new(token, team, at, Reason::Pinned))
    }

    fn choose_bound(
        &self,
        wish: &Wish<'_>,
        conversation: ConversationId,
        affinity: &Affinity,
        now: Mono,
        wall: WallMs,
    ) -> Option<Pick> {
        let (token, in_flight) = affinity.find(conversation, now)?;
        let team = token.team()?;
        let name = self.model_name(wish.model);
        if token.position.load(Ordering::Acquire) == NOWHERE
            || !offers_now(&team, wish.model, name.as_deref(), wall)
            || wish.tried.has_team(&team)
            || !takes(&token, wish, name.as_deref(), wall)
        {
            return None;
        }
        let at = self.team_model(&team, wish.model);
        if at.headroom() == 0 {
            return None;
        }
        let slots = at
            .meters()
            .iter()
            .filter(|used| used.meter.meter().kind == MeterKind::Concurrency)
            .filter_map(|used| used.meter.limit())
            .min();
        let share = self.swarm_share();
        let may_pin = match slots {
            Some(slots) => ((slots as f64 * share) as u32).max(1),
            None => SWARM_WITHOUT_LIMIT,
        };
        let one_more = |held: u32| (held < may_pin).then_some(held + 1);
        in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        affinity.count(|c: &AffinityCounters| &c.hits);
        affinity.bind(conversation, &token, now, wall);
        let mut pick = Pick::new(token, team, at, Reason::Affinity);
        pick.conversation = Some(in_flight);
        Some(pick)
    }

    /// `unlisted`: the members may serve any model, so whether this one rests on them has to be looked up.
    ///
    /// Among 100,000 tokens nothing is in the processor's cache: what a choice costs is how often it waits for memory. So
    /// what two steps need is asked for together (`ahead`) before the first of them takes a lock, which ends all reading
    /// ahead; and of two teams only the better one's tokens are compared.
    fn choose_from(&self, set: &ModelSet, unlisted: bool, wish: &Wish<'_>, wall: WallMs) -> Option<Pick> {
        let mut members = set.members.read();
        if !unlisted && !members.is_used() && !members.teams().is_empty() {
            drop(members);
            set.members.write().use_model();
            members = set.members.read();
        }
        let n = members.teams().len();
        if n == 0 {
            return None;
        }
        let looked_up = unlisted.then(|| self.model_name(wish.model)).flatten();
        let name = if unlisted {
            looked_up.as_deref()
        } else {
            Some(&*set.name)
        };
        let draw = |index: usize| -> Option<Drawn<'_>> {
            let team = members.teams().get(index)?;
            let at = match members.place(index) {
                Some(place) => Cow::Borrowed(place.get_or_init(|| self.team_model(team, wish.model))),
                None => Cow::Owned(self.team_model(team, wish.model)),
            };
            ahead(team, team.live.is_locked());
            ahead(&at, at.meters.is_locked());
            if wish.tried.has_team(team) || (unlisted && rests_for(team, name, wall)) {
                return None;
            }
            let live = team.live.read();
            let first = fastrand::usize(..live.len().max(1));
            let headroom = {
                let meters = at.meters();
                if let Some(token) = live.get(first) {
                    ahead(
                        token,
                        (token.in_flight(), token.has_model_cooling.load(Ordering::Relaxed)),
                    );
                }
                headroom(&meters)
            };
            Some(Drawn {
                headroom,
                team,
                at,
                live,
                first,
            })
        };
        let pick = |drawn: Drawn<'_>| -> Option<Pick> {
            let token = draw_token(&drawn.live, drawn.first, wish, name, wall)?;
            Some(Pick::new(
                token,
                drawn.team.clone(),
                drawn.at.into_owned(),
                Reason::Balance,
            ))
        };
        let first = fastrand::usize(..n);
        let drawn = draw(first);
        // Nothing has more room than what nothing is used of.
        let is_best = n == 1 || drawn.as_ref().is_some_and(|drawn| drawn.headroom >= MOST_HEADROOM);
        let other = if is_best { None } else { draw(other_than(first, n)) };
        let two = match (drawn, other) {
            (Some(a), Some(b)) if b.headroom > a.headroom => [Some(b), Some(a)],
            (a, b) => [a, b],
        };
        let has_room = |drawn: &Drawn<'_>| drawn.headroom > 0;
        if let Some(best) = two.into_iter().flatten().filter(has_room).find_map(pick) {
            return Some(best);
        }
        // Both drawn blanks: whoever has room, else whoever may be asked (its owner may know better than we do).
        let mut blank = None;
        for drawn in (0..n.min(LOOKED_THROUGH)).filter_map(|step| draw((first + step) % n)) {
            if has_room(&drawn) {
                if let Some(best) = pick(drawn) {
                    return Some(best);
                }
            } else if blank.is_none() {
                blank = pick(drawn);
            }
        }
        blank
    }
}

/// A team drawn from a set, and one of its tokens by its index. Two may be held at once: whoever writes such a list holds the
/// pool's writer lock, so that at most one of the two has a writer waiting, and no two choices wait for each other.
struct Drawn<'a> {
    headroom: u32,
    team: &'a Arc<Team>,
    at: Cow<'a, Arc<TeamModel>>,
    live: RwLockReadGuard<'a, LiveTokens>,
    first: usize,
}

/// Has the processor fetch what stands there, without waiting for it: the count of its owners, and what else was read for
/// that only.
fn ahead<T, U>(of: &Arc<T>, read: U) {
    std::hint::black_box((Arc::strong_count(of), read));
}

/// An index other than `first`.
fn other_than(first: usize, n: usize) -> usize {
    let second = fastrand::usize(..n - 1);
    if second >= first { second + 1 } else { second }
}

/// The less busy of two usable tokens of a team, of which the one at `first` is drawn already.
fn draw_token(
    live: &LiveTokens,
    first: usize,
    wish: &Wish<'_>,
    model: Option<&str>,
    wall: WallMs,
) -> Option<Arc<Token>> {
    let n = live.len();
    let usable = |index: usize| live.get(index).filter(|token| takes(token, wish, model, wall));
    let a = usable(first);
    // Nothing is less busy than what is idle.
    let is_best = n < 2 || a.is_some_and(|token| token.in_flight() == 0);
    let b = if is_best { None } else { usable(other_than(first, n)) };
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.in_flight() < a.in_flight() { b } else { a }),
        (one, None) | (None, one) => one,
    }
    .or_else(|| (0..n).find_map(|step| usable((first + step) % n)))
    .cloned()
}

/// One of a team's tokens, drawn at random.
fn draw_of(team: &Team, wish: &Wish<'_>, model: Option<&str>, wall: WallMs) -> Option<Arc<Token>> {
    let live = team.live.read();
    let first = fastrand::usize(..live.len().max(1));
    draw_token(&live, first, wish, model, wall)
}

fn takes(token: &Token, wish: &Wish<'_>, model: Option<&str>, wall: WallMs) -> bool {
    if wish.tried.has_token(token) {
        return false;
    }
    if !token.has_model_cooling.load(Ordering::Acquire) {
        return true;
    }
    let record = token.record();
    let Some(model) = model else { return true };
    let listed = wish.any_team
        || record
            .models
            .as_ref()
            .is_none_or(|models| models.iter().any(|name| name == model));
    listed
        && !record
            .model_cooling
            .iter()
            .any(|(name, cooling)| name == model && !cooling::is_over(cooling, wall))
}

fn rests_for(team: &Team, model: Option<&str>, wall: WallMs) -> bool {
    let record = team.record();
    record
        .model_cooling
        .iter()
        .any(|(name, cooling)| Some(name.as_str()) == model && !cooling::is_over(cooling, wall))
}

/// Whether the team can serve some model now.
fn serves_now(team: &Team) -> bool {
    team.any_position.load(Ordering::Acquire) != NOWHERE
        || team.positions.lock().iter().any(|(_, position)| *position != NOWHERE)
}

fn offers_now(team: &Team, model: ModelId, name: Option<&str>, wall: WallMs) -> bool {
    (team.any_position.load(Ordering::Acquire) != NOWHERE && !rests_for(team, name, wall))
        || team
            .positions
            .lock()
            .iter()
            .any(|(id, position)| *id == model && *position != NOWHERE)
}

/// Whether a bound token that cannot serve now is worth coming back to.
fn will_be_back(token: &Token, wall: WallMs) -> bool {
    /// A conversation outlives a rest this long; its prompt cache hardly does.
    const WORTH_WAITING_MS: u64 = 5 * 60_000;
    if token.is_gone() {
        return false;
    }
    let record = token.record();
    let team = token.team().map(|team| team.record());
    let (state, cooling) = cooling::state(&record, team.as_deref(), wall);
    match state {
        grok2api_schemas::token::TokenState::Active => true,
        grok2api_schemas::token::TokenState::Cooling => cooling
            .and_then(|c| c.until_ms)
            .is_some_and(|until| until.saturating_sub(wall.0) <= WORTH_WAITING_MS),
        _ => false,
    }
}
