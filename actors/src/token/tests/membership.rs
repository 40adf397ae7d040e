//! Whatever happens to tokens, in whatever order: what can be chosen is what a look at every token would allow.

use std::collections::{BTreeMap, BTreeSet};

use grok2api_schemas::admin::tokens::TokenPatch;
use proptest::prelude::*;

use super::*;
use crate::token::entry::NOWHERE;

const SECRETS: usize = 6;
const TEAMS: [&str; 3] = ["team-a", "team-b", "team-c"];
const MODELS: [&str; 3] = ["model-a", "model-b", "model-c"];
/// Long enough that no step outlives it.
const FOR_EVER: u64 = u64::MAX;

#[derive(Clone, Debug)]
enum Step {
    Enrol(usize),
    /// A probe finds the token in a team; `None`: the upstream told no models.
    Found(usize, usize, Option<u8>),
    /// A probe finds the token refused: its own fault or the team's, for good.
    Refused(usize, bool),
    Cool(usize, u8, usize, Option<u64>),
    Clear(usize),
    Switch(usize, bool),
    Delete(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let token = 0..SECRETS;
    let rest = prop_oneof![3 => (1_u64..60_000).prop_map(Some), 1 => Just(None)];
    prop_oneof![
        2 => token.clone().prop_map(Step::Enrol),
        4 => (token.clone(), 0..TEAMS.len(), proptest::option::weighted(0.8, 0_u8..8)).prop_map(|(i, t, m)| Step::Found(i, t, m)),
        1 => (token.clone(), any::<bool>()).prop_map(|(i, t)| Step::Refused(i, t)),
        4 => (token.clone(), 0_u8..4, 0..MODELS.len(), rest).prop_map(|(i, s, m, r)| Step::Cool(i, s, m, r)),
        1 => token.clone().prop_map(Step::Clear),
        1 => (token.clone(), any::<bool>()).prop_map(|(i, on)| Step::Switch(i, on)),
        1 => token.prop_map(Step::Delete),
        3 => (1_u64..40_000).prop_map(Step::Pass),
    ]
}

/// The end of a rest, and whether a probe that finds all well ends it.
type Rest = Option<(u64, bool)>;

#[derive(Clone, Default)]
struct NaiveToken {
    off: bool,
    team: Option<usize>,
    /// The models of its last probe.
    listed: Option<u8>,
    rest: Rest,
    models: BTreeMap<usize, u64>,
}

#[derive(Default)]
struct NaiveTeam {
    /// Everything that any of its keys was ever told.
    ever: u8,
    rest: Rest,
    models: BTreeMap<usize, u64>,
}

#[derive(Default)]
struct Naive {
    now: u64,
    tokens: BTreeMap<usize, NaiveToken>,
    teams: [NaiveTeam; 3],
}

fn longer(running: Rest, until: u64, seen_by_probes: bool, now: u64) -> Rest {
    match running {
        Some((end, seen)) if end > now && end > until => Some((end, seen)),
        _ => Some((until, seen_by_probes)),
    }
}

impl Naive {
    fn rests(&self, rest: Rest) -> bool {
        rest.is_some_and(|(until, _)| until > self.now)
    }

    /// Whether a token may serve a model, for all that rests; `models` says which models of it count.
    fn serves(&self, token: &NaiveToken, model: usize, may_use: impl Fn(&NaiveToken, &NaiveTeam) -> bool) -> bool {
        let Some(team) = token.team.map(|team| &self.teams[team]) else {
            return false;
        };
        let over = |models: &BTreeMap<usize, u64>| models.get(&model).is_none_or(|until| *until <= self.now);
        !token.off
            && !self.rests(token.rest)
            && !self.rests(team.rest)
            && over(&token.models)
            && over(&team.models)
            && may_use(token, team)
    }
}

fn names(mask: u8) -> Vec<&'static str> {
    (0..MODELS.len())
        .filter(|bit| mask & (1 << bit) != 0)
        .map(|bit| MODELS[bit])
        .collect()
}

struct Trial {
    stand: Stand,
    naive: Naive,
}

impl Trial {
    fn token(&self, at: usize) -> Option<Arc<Token>> {
        self.stand.pool.find(self.stand.pool.find_by_secret(&secret(at))?)
    }

    async fn take(&mut self, step: &Step) {
        let now = self.naive.now;
        let until = |for_ms: Option<u64>| for_ms.map_or(FOR_EVER, |ms| now + ms);
        match step.clone() {
            Step::Enrol(at) => {
                self.stand.enrol(&secret(at)).await;
                self.naive.tokens.entry(at).or_default();
            }
            Step::Found(at, team, models) => self.found(at, team, models),
            Step::Refused(at, of_team) => {
                let Some(token) = self.token(at) else { return };
                let scope = if of_team { Scope::Team } else { Scope::Token };
                let penalty = penalty(scope, CoolingCause::BadCredential, None);
                let report = ProbeReport::Refused {
                    penalty,
                    facts: Facts::default(),
                };
                self.stand.probe(&token, report);
                let naive = self.naive.tokens.get_mut(&at).unwrap();
                match naive.team.filter(|_| of_team) {
                    Some(team) => self.naive.teams[team].rest = Some((FOR_EVER, true)),
                    None => naive.rest = Some((FOR_EVER, true)),
                }
            }
            Step::Cool(at, scope, model, for_ms) => {
                let Some(token) = self.token(at).filter(|token| token.team().is_some()) else {
                    return;
                };
                let naive = self.naive.tokens.get_mut(&at).unwrap();
                let team = &mut self.naive.teams[naive.team.unwrap()];
                let (until, by_probe) = (until(for_ms), for_ms.is_none());
                let scope = [Scope::Token, Scope::TokenModel, Scope::TeamModel, Scope::Team][usize::from(scope)];
                match scope {
                    Scope::Token => naive.rest = longer(naive.rest, until, by_probe, now),
                    Scope::Team => team.rest = longer(team.rest, until, by_probe, now),
                    Scope::TokenModel | Scope::TeamModel => {
                        let models = if scope == Scope::TokenModel {
                            &mut naive.models
                        } else {
                            &mut team.models
                        };
                        let end = models.entry(model).or_default();
                        *end = until.max(*end);
                    }
                }
                self.stand.cool(&token, scope, MODELS[model], for_ms);
            }
            Step::Clear(at) => {
                let Some(token) = self.token(at) else { return };
                self.stand.pool.clear_cooling(&[token.id]).await.unwrap();
                let naive = self.naive.tokens.get_mut(&at).unwrap();
                (naive.rest, naive.models) = (None, BTreeMap::new());
                if let Some(team) = naive.team {
                    (self.naive.teams[team].rest, self.naive.teams[team].models) = (None, BTreeMap::new());
                }
            }
            Step::Switch(at, on) => {
                let Some(token) = self.token(at) else { return };
                let switch = if on { TokenSwitch::On } else { TokenSwitch::Off };
                let patch = TokenPatch {
                    switch: Some(switch),
                    ..TokenPatch::default()
                };
                self.stand.pool.patch(vec![(token.id, patch)]).await.unwrap();
                self.naive.tokens.get_mut(&at).unwrap().off = !on;
            }
            Step::Delete(at) => {
                let Some(token) = self.token(at) else { return };
                assert_eq!(self.stand.pool.delete(&[token.id]).await.unwrap(), 1);
                self.naive.tokens.remove(&at);
            }
            Step::Pass(ms) => {
                self.naive.now += ms;
                self.stand.pass(ms);
            }
        }
    }

    fn found(&mut self, at: usize, team: usize, models: Option<u8>) {
        let Some(token) = self.token(at) else { return };
        let report = match models {
            Some(mask) => usable(TEAMS[team], &names(mask)),
            None => ProbeReport::Usable(Facts {
                team: Some(TEAMS[team].to_owned()),
                ..Facts::default()
            }),
        };
        self.stand.probe(&token, report);
        let naive = self.naive.tokens.get_mut(&at).unwrap();
        if naive.team != Some(team) {
            (naive.team, naive.listed) = (Some(team), None);
        }
        naive.listed = models.or(naive.listed);
        let of_team = &mut self.naive.teams[team];
        of_team.ever |= models.unwrap_or(0);
        for rest in [&mut naive.rest, &mut of_team.rest] {
            *rest = rest.filter(|(_, seen_by_probes)| !seen_by_probes);
        }
    }

    /// All that `choose` can answer for a model, each once.
    fn reachable(&self, model: usize) -> BTreeSet<TokenId> {
        let (mut tried, mut found) = (Tried::default(), BTreeSet::new());
        while let Some(pick) = self.stand.choose_for(MODELS[model], None, &tried) {
            tried.token(&pick.token);
            assert!(found.insert(pick.token.id), "chosen although it was tried");
        }
        found
    }

    fn ids(&self, model: usize, may_use: impl Fn(&NaiveToken, &NaiveTeam) -> bool) -> BTreeSet<TokenId> {
        let serving = |(_, token): &(&usize, &NaiveToken)| self.naive.serves(token, model, &may_use);
        let tokens = self.naive.tokens.iter().filter(serving);
        tokens.map(|(at, _)| self.token(*at).unwrap().id).collect()
    }

    fn check(&self) {
        for (model, _) in MODELS.iter().enumerate() {
            let bit = 1_u8 << model;
            let reachable = self.reachable(model);
            let surely = self.ids(model, |token, _| token.listed.is_some_and(|listed| listed & bit != 0));
            assert!(
                surely.is_subset(&reachable),
                "{}: cannot be chosen: {:?}",
                MODELS[model],
                surely.difference(&reachable)
            );
            // A key whose own list is not known is as good as its team's; a team's that is not known, as good as any.
            let is_listed = |token: &NaiveToken| {
                self.stand
                    .pool
                    .0
                    .teams
                    .get(TEAMS[token.team.unwrap()])
                    .is_some_and(|t| t.record().models.is_some())
            };
            let perhaps = self.ids(model, |token, team| team.ever & bit != 0 || !is_listed(token));
            assert!(
                reachable.is_subset(&perhaps),
                "{}: can be chosen: {:?}",
                MODELS[model],
                reachable.difference(&perhaps)
            );
        }
        self.check_positions();
    }

    fn check_positions(&self) {
        let pool = &self.stand.pool;
        let mut unlisted = 0;
        for team in pool.0.teams.iter() {
            let members = self
                .naive
                .tokens
                .values()
                .filter(|token| token.team.map(|t| TEAMS[t]) == Some(&*team.id))
                .count();
            assert_eq!(team.tokens.load(Ordering::SeqCst) as usize, members);
            unlisted += u32::from(members > 0 && team.record().models.is_none());
            for (at, token) in team.live.read().iter().enumerate() {
                assert_eq!(token.position.load(Ordering::SeqCst) as usize, at);
                assert!(Arc::ptr_eq(&token.team().unwrap(), &team));
            }
            for (model, position) in team.positions.lock().iter() {
                let set = pool.eligible().set(*model).unwrap();
                let members = set.members.read();
                let found = members.teams().iter().position(|member| Arc::ptr_eq(member, &team));
                assert_eq!(found, (*position != NOWHERE).then_some(*position as usize));
                let is_it = |member: &&Arc<Team>| Arc::ptr_eq(member, &team);
                assert_eq!(
                    members.teams().iter().filter(is_it).count(),
                    usize::from(found.is_some())
                );
                let at = found
                    .and_then(|index| members.place(index))
                    .and_then(|place| place.get());
                assert!(at.is_none_or(|at| Arc::ptr_eq(at, &pool.team_model(&team, *model))));
                assert!(!members.is_used() || members.place(members.teams().len()).is_none());
            }
        }
        assert_eq!(pool.eligible().any.offered_by.load(Ordering::SeqCst), unlisted);
        for team in pool.eligible().any.members.read().teams() {
            assert!(team.live_tokens() > 0 && team.record().models.is_none());
        }
    }

    /// Once every key has been asked again, nothing is left of what was true before.
    fn check_settled(&mut self) {
        let all: Vec<(usize, NaiveToken)> = self
            .naive
            .tokens
            .iter()
            .map(|(at, token)| (*at, token.clone()))
            .collect();
        for _ in 0..2 {
            for (at, token) in &all {
                self.found(*at, token.team.unwrap_or(0), Some(token.listed.unwrap_or(1)));
            }
        }
        for (model, _) in MODELS.iter().enumerate() {
            let bit = 1_u8 << model;
            let lists = |token: &NaiveToken| token.listed.is_some_and(|listed| listed & bit != 0);
            assert_eq!(
                self.reachable(model),
                self.ids(model, |token, _| lists(token)),
                "{}",
                MODELS[model]
            );
            let offering: BTreeSet<usize> = self
                .naive
                .tokens
                .values()
                .filter(|token| lists(token))
                .filter_map(|token| token.team)
                .collect();
            let offered_by = self.stand.pool.eligible().find(MODELS[model]).map_or(0, |id| {
                self.stand
                    .pool
                    .eligible()
                    .set(id)
                    .unwrap()
                    .offered_by
                    .load(Ordering::SeqCst)
            });
            assert_eq!(offered_by as usize, offering.len(), "{}", MODELS[model]);
        }
        self.check_positions();
    }
}

fn secret(at: usize) -> String {
    format!("xai-secret-number-{at}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_can_be_chosen_is_what_a_look_at_every_token_allows(steps in proptest::collection::vec(step(), 1..70)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut trial = Trial { stand: Stand::new().await, naive: Naive::default() };
            for step in &steps {
                trial.take(step).await;
                trial.check();
            }
            trial.check_settled();
        });
    }
}
