//! Merging: the same whatever the order, and nothing newer is undone.

use grok2api_schemas::token::{Cooling, LearnedLimits};
use proptest::prelude::*;

use super::*;

const NOW: WallMs = WallMs(100);

fn any_rest() -> impl Strategy<Value = Cooling> {
    // Some are over at `NOW`.
    let until = prop_oneof![Just(None), (90_u64..140).prop_map(Some)];
    let cause = prop_oneof![Just(CoolingCause::RateLimited), Just(CoolingCause::OutOfCredit)];
    (cause, "[ab]", 0_u64..3, until).prop_map(|(cause, detail, since_ms, until_ms)| Cooling {
        cause,
        detail,
        since_ms,
        until_ms,
    })
}

fn any_model_rests() -> impl Strategy<Value = Vec<(String, Cooling)>> {
    proptest::collection::btree_map("[mno]", any_rest(), 0..3).prop_map(|rests| rests.into_iter().collect())
}

/// What carries one stamp is one thing: it was written once.
fn words(stamp: u64) -> String {
    format!("written at {stamp}")
}

prop_compose! {
    fn any_team()(
        found in 0_u64..4,
        cooling in proptest::option::of(any_rest()),
        model_cooling in any_model_rests(),
        learned in proptest::collection::btree_map("[mn]", 0_u64..4, 0..3),
        version in 0_u64..9,
        epoch in 0_u32..3,
        model_epoch in 0_u32..3,
    ) -> TeamRecord {
        TeamRecord {
            team: "team".into(),
            models: Some([words(found)].into()),
            zdr: found % 2 == 0,
            cooling,
            model_cooling,
            learned: learned
                .into_iter()
                .map(|(model, at)| (model, LearnedLimits { rpm: Some(at), ..LearnedLimits::default() }, at))
                .collect(),
            version,
            found,
            epoch,
            model_epoch,
        }
    }
}

prop_compose! {
    fn any_token()(
        stamps in (0_u64..4, 0_u64..4),
        cooling in proptest::option::of(any_rest()),
        model_cooling in any_model_rests(),
        counts in (0_u64..5, 0_u32..3, proptest::option::of(0_u64..5)),
        version in 0_u64..9,
        epochs in (0_u32..3, 0_u32..3),
    ) -> TokenRecord {
        let (edited, found) = stamps;
        TokenRecord {
            id: TokenId::from_bytes([7; 16]),
            pool: PoolName::ApiKey,
            fingerprint: [1; 32],
            masked: "xai-…".to_owned(),
            label: words(edited).into(),
            note: words(edited).into(),
            tags: vec![].into(),
            switch: if edited % 2 == 0 { TokenSwitch::On } else { TokenSwitch::Off },
            team: Some(words(found).into()),
            models: None.into(),
            cooling: cooling.into(),
            model_cooling: model_cooling.into(),
            proxy: None.into(),
            created_ms: 5,
            probed_ms: counts.2,
            last_used_ms: counts.2,
            use_count: counts.0,
            fail_count: counts.1,
            version,
            edited,
            found,
            epoch: epochs.0,
            model_epoch: epochs.1,
        }
    }
}

proptest! {
    #[test]
    fn teams_merge_the_same_in_any_order(a in any_team(), b in any_team(), c in any_team()) {
        let merge = |a: &TeamRecord, b: &TeamRecord| merge::teams(a, b, NOW);
        prop_assert_eq!(merge(&a, &b), merge(&b, &a));
        prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
        let both = merge(&a, &b);
        prop_assert_eq!(&merge(&both, &a), &both);
        prop_assert_eq!(&merge(&both, &both), &both);
    }

    #[test]
    fn tokens_merge_the_same_in_any_order(a in any_token(), b in any_token(), c in any_token()) {
        let merge = |a: &TokenRecord, b: &TokenRecord| merge::tokens(a, b, NOW);
        prop_assert_eq!(merge(&a, &b), merge(&b, &a));
        prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
        let both = merge(&a, &b);
        prop_assert_eq!(&merge(&both, &b), &both);
    }

    #[test]
    fn no_rest_of_the_newest_epoch_is_lost_and_none_of_an_older_one_stays(a in any_team(), b in any_team()) {
        let both = merge::teams(&a, &b, NOW);
        prop_assert_eq!(both.model_epoch, a.model_epoch.max(b.model_epoch));
        for side in [&a, &b] {
            for (model, rest) in &side.model_cooling {
                let runs = rest.until_ms.is_none_or(|until| until > NOW.0);
                let counts = runs && side.model_epoch == both.model_epoch;
                let stands = both.model_cooling.iter().find(|(name, _)| name == model);
                if counts {
                    let until = stands.expect("a rest that counts").1.until_ms;
                    prop_assert!(until.is_none() || rest.until_ms.is_some_and(|rest| until >= Some(rest)));
                }
                if let Some((_, stands)) = stands {
                    prop_assert!(stands.until_ms.is_none_or(|until| until > NOW.0));
                }
            }
        }
        for (model, rest) in &both.model_cooling {
            let is_of = |side: &TeamRecord| {
                side.model_epoch == both.model_epoch && side.model_cooling.contains(&(model.clone(), rest.clone()))
            };
            prop_assert!(is_of(&a) || is_of(&b));
        }
    }
}

#[test]
fn a_stamp_is_above_all_that_its_writer_knew_and_differs_between_nodes() {
    let first = merge::stamp(3, 0, 1);
    assert!(merge::stamp(3, first, 0) > first);
    assert!(merge::stamp(9, first, 0) > merge::stamp(3, first, u16::MAX));
    assert_ne!(merge::stamp(3, 0, 1), merge::stamp(3, 0, 2));
}
