//! OpenAI's and Anthropic's SDKs, in their own languages, against the built program.

use serde_json::{Value, json};

use crate::support::gateway::API_KEY;
use crate::support::saturation::{self, Limit, Saturation};
use crate::support::scripts::{OtherUpstream, node_prefix, python, run_node, run_python};
use crate::support::{Gateway, Plan, Sim};

/// A gateway in front of the simulator, and a key that may call once a day.
async fn stage() -> (Sim, Gateway, String) {
    let sim = Sim::with_teams(3).await;
    let gateway = Plan::of(&sim, 3).start_warm().await;
    let key = gateway
        .admin()
        .await
        .new_key(json!({"name": "once", "limits": {"chat_per_day": 1}}))
        .await;
    (sim, gateway, key.secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_can_do_everything_it_does_with_chat() {
    if python().is_none() {
        return;
    }
    let (sim, gateway, limited) = stage().await;
    let base = format!("{}/v1", gateway.url());
    let arguments = [
        ("GATEWAY", base.as_str()),
        ("API_KEY", API_KEY),
        ("LIMITED_KEY", &limited),
        ("SIMULATOR", sim.url()),
    ];
    run_python("features.py", &arguments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_can_do_everything_it_does_with_chat() {
    if node_prefix().is_none() {
        return;
    }
    let (sim, gateway, limited) = stage().await;
    let base = format!("{}/v1", gateway.url());
    let arguments = [
        ("GATEWAY", base.as_str()),
        ("API_KEY", API_KEY),
        ("LIMITED_KEY", &limited),
        ("SIMULATOR", sim.url()),
    ];
    run_node("features.mjs", &arguments).await;
}

/// What the scripts of the other fronts need to know.
async fn front_arguments(sim: &Sim, gateway: &Gateway, limited: String) -> Vec<(&'static str, String)> {
    let other = gateway.admin().await.new_key(json!({"name": "other"})).await;
    vec![
        ("GATEWAY", format!("{}/v1", gateway.url())),
        ("ANTHROPIC", gateway.url().to_owned()),
        ("API_KEY", API_KEY.to_owned()),
        ("OTHER_KEY", other.secret),
        ("LIMITED_KEY", limited),
        ("SIMULATOR", sim.url().to_owned()),
    ]
}

async fn python_against_a_front(script: &str) {
    if python().is_none() {
        return;
    }
    let (sim, gateway, limited) = stage().await;
    let arguments = front_arguments(&sim, &gateway, limited).await;
    let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_python(script, &arguments).await;
}

async fn node_against_a_front(script: &str) {
    if node_prefix().is_none() {
        return;
    }
    let (sim, gateway, limited) = stage().await;
    let arguments = front_arguments(&sim, &gateway, limited).await;
    let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_node(script, &arguments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_can_do_everything_it_does_with_responses() {
    python_against_a_front("responses.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_can_do_everything_it_does_with_responses() {
    node_against_a_front("responses.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_python_can_do_everything_it_does_with_messages() {
    python_against_a_front("messages.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_typescript_can_do_everything_it_does_with_messages() {
    node_against_a_front("messages.mjs").await;
}

/// What the scripts of images and videos need: a key of one picture a day.
async fn media_stage() -> (Sim, Gateway, Vec<(&'static str, String)>) {
    let teams: Vec<Value> = (0..3).map(Sim::team).collect();
    let sim = Sim::play(json!({"teams": teams, "video_ms": 1_200})).await;
    let gateway = Plan::of(&sim, 3).start_warm().await;
    let key = json!({"name": "one", "limits": {"image_per_day": 1}});
    let limited = gateway.admin().await.new_key(key).await;
    let arguments = front_arguments(&sim, &gateway, limited.secret).await;
    (sim, gateway, arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_makes_images_and_videos() {
    if python().is_none() {
        return;
    }
    let (_sim, _gateway, arguments) = media_stage().await;
    let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_python("media.py", &arguments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_makes_images_and_videos() {
    if node_prefix().is_none() {
        return;
    }
    let (_sim, _gateway, arguments) = media_stage().await;
    let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_node("media.mjs", &arguments).await;
}

/// A gateway in front of a simulator that also speaks and makes vectors.
async fn full_stage() -> (Sim, Gateway, String) {
    let teams: Vec<Value> = (0..3).map(Sim::team).collect();
    let models = json!([
        {"id": "v1", "embedding": true},
        {"id": "grok-voice-think-fast-2.0", "aliases": ["grok-voice-latest"]},
    ]);
    let sim = Sim::play(json!({"teams": teams, "models": models})).await;
    let gateway = Plan::of(&sim, 3).start_warm().await;
    let key = gateway.admin().await.new_key(json!({"name": "more"})).await;
    (sim, gateway, key.secret)
}

async fn python_against_all_of_it(script: &str) {
    if python().is_none() {
        return;
    }
    let (sim, gateway, key) = full_stage().await;
    let arguments = front_arguments(&sim, &gateway, key).await;
    let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_python(script, &arguments).await;
}

async fn node_against_all_of_it(script: &str) {
    if node_prefix().is_none() {
        return;
    }
    let (sim, gateway, key) = full_stage().await;
    let arguments = front_arguments(&sim, &gateway, key).await;
    let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_node(script, &arguments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_uploads_speaks_listens_embeds_and_talks() {
    python_against_all_of_it("more.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_uploads_speaks_listens_embeds_and_talks() {
    node_against_all_of_it("more.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ai_sdk_generates_streams_calls_tools_and_makes_objects() {
    node_against_all_of_it("ai.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_and_litellm_work() {
    python_against_all_of_it("frameworks.py").await;
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
