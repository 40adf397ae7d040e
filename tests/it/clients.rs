//! OpenAI's and Anthropic's SDKs, in their own languages, against the built program.

use serde_json::{Value, json};

use crate::support::gateway::API_KEY;
use crate::support::saturation::{self, Limit, Saturation};
use crate::support::scripts::{OtherUpstream, node_prefix, python, run_node, run_python};
use crate::support::{Gateway, Plan, Sim, Tap};

/// A gateway in front of the simulator, with a proxy before it that keeps what it answers.
struct Stage {
    sim: Sim,
    gateway: Gateway,
    tap: Tap,
    /// Secret of a key that may do little.
    limited: String,
}

impl Stage {
    /// In front of three teams and this, with a key of these limits.
    async fn of(scenario: Value, limits: Value) -> Stage {
        let mut whole = json!({"teams": (0..3).map(Sim::team).collect::<Vec<_>>()});
        for (name, value) in scenario.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let sim = Sim::play(whole).await;
        let gateway = Plan::of(&sim, 3).start_warm().await;
        let tap = Tap::start(gateway.url()).await;
        let key = gateway.admin().await.new_key(limits).await;
        Stage {
            sim,
            gateway,
            tap,
            limited: key.secret,
        }
    }

    /// For what writes: the key may call once a day.
    async fn plain() -> Stage {
        Stage::of(json!({}), json!({"name": "once", "limits": {"chat_per_day": 1}})).await
    }

    /// For images and videos: the key may have one picture a day.
    async fn of_media() -> Stage {
        let limits = json!({"name": "one", "limits": {"image_per_day": 1}});
        Stage::of(json!({"video_ms": 1_200}), limits).await
    }

    /// With a simulator that also speaks and makes vectors.
    async fn of_everything() -> Stage {
        let models = json!([
            {"id": "v1", "embedding": true},
            {"id": "grok-voice-think-fast-2.0", "aliases": ["grok-voice-latest"]},
        ]);
        Stage::of(json!({"models": models}), json!({"name": "more"})).await
    }

    /// What the scripts need to know.
    async fn arguments(&self) -> Vec<(&'static str, String)> {
        let other = self.gateway.admin().await.new_key(json!({"name": "other"})).await;
        vec![
            ("GATEWAY", format!("{}/v1", self.tap.url())),
            ("ANTHROPIC", self.tap.url()),
            ("API_KEY", API_KEY.to_owned()),
            ("OTHER_KEY", other.secret),
            ("LIMITED_KEY", self.limited.clone()),
            ("SIMULATOR", self.sim.url().to_owned()),
        ]
    }

    /// Runs the script; every answer it got, so many at least, must be as the API's specifications have it.
    async fn python(&self, script: &str, at_least: usize) {
        let arguments = self.arguments().await;
        let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
        run_python(script, &arguments).await;
        self.tap.assert_valid(at_least).await;
    }

    /// The same in the other language.
    async fn node(&self, script: &str, at_least: usize) {
        let arguments = self.arguments().await;
        let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
        run_node(script, &arguments).await;
        self.tap.assert_valid(at_least).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_can_do_everything_it_does_with_chat() {
    if python().is_some() {
        Stage::plain().await.python("features.py", 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_can_do_everything_it_does_with_chat() {
    if node_prefix().is_some() {
        Stage::plain().await.node("features.mjs", 30).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_can_do_everything_it_does_with_responses() {
    if python().is_some() {
        Stage::plain().await.python("responses.py", 20).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_can_do_everything_it_does_with_responses() {
    if node_prefix().is_some() {
        Stage::plain().await.node("responses.mjs", 15).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_python_can_do_everything_it_does_with_messages() {
    if python().is_some() {
        Stage::plain().await.python("messages.py", 15).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_typescript_can_do_everything_it_does_with_messages() {
    if node_prefix().is_some() {
        Stage::plain().await.node("messages.mjs", 10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_makes_images_and_videos() {
    if python().is_some() {
        Stage::of_media().await.python("media.py", 30).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_makes_images_and_videos() {
    if node_prefix().is_some() {
        Stage::of_media().await.node("media.mjs", 20).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_uploads_speaks_listens_embeds_and_talks() {
    if python().is_some() {
        Stage::of_everything().await.python("more.py", 20).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_uploads_speaks_listens_embeds_and_talks() {
    if node_prefix().is_some() {
        Stage::of_everything().await.node("more.mjs", 15).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ai_sdk_generates_streams_calls_tools_and_makes_objects() {
    if node_prefix().is_some() {
        Stage::of_everything().await.node("ai.mjs", 15).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_and_litellm_work() {
    if python().is_some() {
        Stage::of_everything().await.python("frameworks.py", 12).await;
    }
}

/// Teams of one key each behind the independent upstream: two that are well, and spare ones.
const SPARES: std::ops::Range<usize> = 10..90;

async fn two_of_the_other_upstream() -> (OtherUpstream, Gateway) {
    let teams: Vec<Value> = (0..2).chain(SPARES).map(Sim::team).collect();
    let upstream = OtherUpstream::start(json!({"teams": teams})).await;
    let gateway = Plan::new(&upstream.base_url())
        .keys((0..2).map(Sim::key))
        .start_warm()
        .await;
    (upstream, gateway)
}

/// What the failover scripts need to know.
async fn failover_arguments(upstream: &OtherUpstream, gateway: &Gateway) -> Vec<(&'static str, String)> {
    let session = gateway
        .http()
        .anonymous()
        .post(
            "/api/v1/admin/login",
            &json!({"username": "admin", "password": crate::support::gateway::PASSWORD}),
        )
        .await
        .ok()
        .json();
    vec![
        ("GATEWAY", format!("{}/v1", gateway.url())),
        ("API_KEY", API_KEY.to_owned()),
        ("ADMIN", format!("{}/api/v1/admin", gateway.url())),
        ("ADMIN_TOKEN", session["token"].as_str().unwrap().to_owned()),
        ("UPSTREAM", upstream.base_url().trim_end_matches("/v1").to_owned()),
        ("SPARE_KEYS", SPARES.map(Sim::key).collect::<Vec<_>>().join(",")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_sees_no_error_of_one_key_in_three() {
    if python().is_none() {
        return;
    }
    let (upstream, gateway) = two_of_the_other_upstream().await;
    let arguments = failover_arguments(&upstream, &gateway).await;
    let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_python("failover.py", &arguments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_sees_no_error_of_one_key_in_three() {
    if node_prefix().is_none() {
        return;
    }
    let (upstream, gateway) = two_of_the_other_upstream().await;
    let arguments = failover_arguments(&upstream, &gateway).await;
    let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_node("failover.mjs", &arguments).await;
}

/// The short form of `tests/long/saturation.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn an_independent_upstream_counts_no_request_over_a_limit() {
    let report = saturation::run(Saturation {
        teams: 5,
        keys_per_team: 4,
        limit: Limit::PerMinute(200),
        total: 1200,
        in_flight: 256,
    })
    .await;
    report.assert_kept(0.95);
}
