//! Client keys as the admin doors show and take them: the older project's fields, with ours beside them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limit::{Limit, UsdLimit, present};
use crate::client_key::DisconnectPolicy;
use crate::ids::KeyId;

/// One client key in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    /// Who.
    pub id: KeyId,
    /// What names this key in `update` and `delete`: its id, or in the answers of create and rotate, and only there,
    /// its secret.
    pub key: String,
    /// The operator's name for it.
    pub name: String,
    /// What lists show of the secret, such as `sk-abc...wxyz`.
    pub display_key: String,
    /// When it was made, Unix **seconds** as in the older project.
    pub created_at: u64,
    /// Whether it may be used.
    pub is_active: bool,
    /// Whether its time is over.
    pub expired: bool,
    /// When it stops working, Unix seconds; `null` = never.
    pub expires_at: Option<u64>,
    /// When it was last used, Unix seconds.
    pub last_used_at: Option<u64>,
    /// Chat calls per day.
    pub chat_limit: Limit,
    /// Heavy calls per day.
    pub heavy_limit: Limit,
    /// Images per day.
    pub image_limit: Limit,
    /// Videos per day.
    pub video_limit: Limit,
    /// Requests in any 60 s.
    pub rpm: Limit,
    /// Tokens in any 60 s.
    pub tpm: Limit,
    /// Calls in flight.
    pub concurrency: Limit,
    /// USD per day.
    pub budget_usd: UsdLimit,
    /// The budget is never passed.
    pub strict: bool,
    /// Models it may name; empty = all.
    pub allowed_models: Vec<String>,
    /// What a hang-up does.
    pub on_disconnect: OnDisconnect,
    /// Used today; not in the answer of create, as in the older project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_today: Option<KeyUsageView>,
    /// Left today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_today: Option<KeyRemainingView>,
    /// The day that is counted, `YYYY-MM-DD` in the reset time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
}

/// Units of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyUsageView {
    /// Chat calls.
    pub chat_used: u64,
    /// Heavy calls.
    pub heavy_used: u64,
    /// Images.
    pub image_used: u64,
    /// Videos.
    pub video_used: u64,
    /// USD, with what calls in flight have reserved.
    pub spent_usd: f64,
}

/// Units left of a day; `null` = unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRemainingView {
    /// Chat calls.
    pub chat: Option<u64>,
    /// Heavy calls.
    pub heavy: Option<u64>,
    /// Images.
    pub image: Option<u64>,
    /// Videos.
    pub video: Option<u64>,
    /// USD.
    pub budget_usd: Option<f64>,
}

/// [`DisconnectPolicy`] as one word: `cancel`, `drain` or `drain:<seconds>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnDisconnect(pub DisconnectPolicy);

impl fmt::Display for OnDisconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DisconnectPolicy::Cancel => f.write_str("cancel"),
            DisconnectPolicy::Drain => f.write_str("drain"),
            DisconnectPolicy::DrainUpTo(seconds) => write!(f, "drain:{seconds}"),
        }
    }
}

impl Serialize for OnDisconnect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OnDisconnect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OnDisconnect, D::Error> {
        let word = <Cow<'de, str>>::deserialize(deserializer)?;
        let policy = match word.as_ref() {
            "cancel" => DisconnectPolicy::Cancel,
            "drain" => DisconnectPolicy::Drain,
            other => match other.strip_prefix("drain:").map(str::parse::<u32>) {
                Some(Ok(seconds)) if seconds > 0 => DisconnectPolicy::DrainUpTo(seconds),
                _ => return Err(D::Error::custom("expected `cancel`, `drain` or `drain:<seconds>`")),
            },
        };
        Ok(OnDisconnect(policy))
    }
}

impl JsonSchema for OnDisconnect {
    fn schema_name() -> Cow<'static, str> {
        "OnDisconnect".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What a hang-up of the client does: cancel the upstream call, read it to its end, or for so many seconds.",
            "type": "string",
            "pattern": "^(cancel|drain|drain:[1-9][0-9]*)$",
        })
    }
}

/// The older project's group of daily limits, with ours beside them; what is absent stays as it is (there it became
/// unlimited).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsBody {
    /// Chat calls per day.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub chat_per_day: Option<Limit>,
    /// Heavy calls per day.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub heavy_per_day: Option<Limit>,
    /// Images per day.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub image_per_day: Option<Limit>,
    /// Videos per day.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub video_per_day: Option<Limit>,
    /// Requests in any 60 s.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub rpm: Option<Limit>,
    /// Tokens in any 60 s.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Limit>,
    /// Calls in flight.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Limit>,
    /// USD per day.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<UsdLimit>,
}

/// What create and update share, beside what names the key. In an update, what is absent stays as it is. A field that
/// nobody knows is an error: a limit with a slip in its name must not become "unlimited".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// The operator's name for it; blank: made up by create, ignored by update.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether it may be used.
    #[serde(default)]
    pub is_active: Option<bool>,
    /// Limits, grouped as in the older project.
    #[serde(default)]
    pub limits: Option<LimitsBody>,
    /// Chat calls per day, under the name that lists use.
    #[serde(
        default,
        alias = "chat_per_day",
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub chat_limit: Option<Limit>,
    /// Heavy calls per day.
    #[serde(
        default,
        alias = "heavy_per_day",
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub heavy_limit: Option<Limit>,
    /// Images per day.
    #[serde(
        default,
        alias = "image_per_day",
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub image_limit: Option<Limit>,
    /// Videos per day.
    #[serde(
        default,
        alias = "video_per_day",
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub video_limit: Option<Limit>,
    /// Requests in any 60 s.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub rpm: Option<Limit>,
    /// Tokens in any 60 s.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Limit>,
    /// Calls in flight.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Limit>,
    /// USD per day.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<UsdLimit>,
    /// The budget is never passed.
    #[serde(default)]
    pub strict: Option<bool>,
    /// Models it may name; empty = all.
    #[serde(default)]
    pub allowed_models: Option<Vec<String>>,
    /// When it stops working, Unix seconds; `null` = never.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Option<u64>>,
    /// What a hang-up does.
    #[serde(default)]
    pub on_disconnect: Option<OnDisconnect>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_null_and_minus_one_differ_where_they_must() {
        let body: KeyBody =
            serde_json::from_str(r#"{"limits":{"chat_per_day":5,"image_per_day":null},"rpm":-1,"expires_at":null}"#)
                .unwrap();
        let limits = body.limits.unwrap();
        assert_eq!(limits.chat_per_day, Some(Limit(Some(5))));
        assert_eq!(limits.image_per_day, Some(Limit(None)));
        assert_eq!(limits.heavy_per_day, None);
        assert_eq!(body.rpm, Some(Limit(None)));
        assert_eq!(body.tpm, None);
        assert_eq!(body.expires_at, Some(None));
        assert_eq!(KeyBody::default(), serde_json::from_str("{}").unwrap());
    }

    #[test]
    fn a_disconnect_policy_is_one_word() {
        for (word, policy) in [
            ("\"cancel\"", DisconnectPolicy::Cancel),
            ("\"drain\"", DisconnectPolicy::Drain),
            ("\"drain:30\"", DisconnectPolicy::DrainUpTo(30)),
        ] {
            assert_eq!(
                serde_json::from_str::<OnDisconnect>(word).unwrap(),
                OnDisconnect(policy)
            );
            assert_eq!(serde_json::to_string(&OnDisconnect(policy)).unwrap(), word);
        }
        for wrong in ["\"drain:0\"", "\"drain:x\"", "\"keep\"", "3"] {
            assert!(serde_json::from_str::<OnDisconnect>(wrong).is_err());
        }
    }
}
