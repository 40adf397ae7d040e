//! The limits of a team as the Management API tells them (`xai-api.md` §15).

use std::collections::BTreeMap;

use grok2api_schemas::token::LearnedLimits;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TeamModels {
    #[serde(default)]
    cluster_configs: Vec<BTreeMap<String, Value>>,
}

/// Limits by model from the answer of `GET /auth/teams/{id}/models`; nothing where it is not of that shape. A model that
/// several clusters serve is held to the lowest of its limits: which one a call reaches is not ours to know.
pub(super) fn limits_of(text: &[u8]) -> Vec<(String, LearnedLimits)> {
    let Ok(models) = serde_json::from_slice::<TeamModels>(text) else {
        return Vec::new();
    };
    let mut by_model: BTreeMap<String, LearnedLimits> = BTreeMap::new();
    let kinds = models.cluster_configs.into_iter().flat_map(BTreeMap::into_values);
    for model in kinds.filter_map(|kind| match kind {
        Value::Array(models) => Some(models),
        _ => None,
    }) {
        for model in model {
            let Some(name) = model.get("name").and_then(Value::as_str) else {
                continue;
            };
            let told = LearnedLimits {
                rps: count(&model, "rps"),
                rpm: count(&model, "rpm"),
                rph: count(&model, "rph"),
                rpd: count(&model, "rpd"),
                tpm: count(&model, "tpm"),
            };
            let known = by_model.entry(name.to_owned()).or_insert(told);
            let lower = |a: Option<u64>, b: Option<u64>| match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            *known = LearnedLimits {
                rps: lower(known.rps, told.rps),
                rpm: lower(known.rpm, told.rpm),
                rph: lower(known.rph, told.rph),
                rpd: lower(known.rpd, told.rpd),
                tpm: lower(known.tpm, told.tpm),
            };
        }
    }
    by_model
        .into_iter()
        .filter(|(_, limits)| *limits != LearnedLimits::default())
        .collect()
}

/// A limit: 64-bit numbers come as text. Zero stands for a limit that is not set.
fn count(model: &Value, field: &str) -> Option<u64> {
    let value = model.get(field)?;
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_all_clusters_stands() {
        let text = br#"{"clusterConfigs":[
            {"clusterName":"a","languageModels":[{"name":"m","rps":9,"rpm":600,"tpm":"5000"},{"name":"free"}]},
            {"clusterName":"b","languageModels":[{"name":"m","rps":12,"rpm":"300","tpm":"0"}],"imageGenerationModels":[{"name":"i","rpm":60}]}
        ]}"#;
        let limits = limits_of(text);
        let m = LearnedLimits {
            rps: Some(9),
            rpm: Some(300),
            tpm: Some(5000),
            ..LearnedLimits::default()
        };
        let i = LearnedLimits {
            rpm: Some(60),
            ..LearnedLimits::default()
        };
        assert_eq!(limits, vec![("i".to_owned(), i), ("m".to_owned(), m)]);
        assert!(limits_of(b"[]").is_empty());
        assert!(limits_of(b"{").is_empty());
    }
}
