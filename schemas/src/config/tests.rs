use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

#[test]
fn the_table_and_the_structs_agree() {
    let Value::Object(sections) = serde_json::to_value(Config::default()).unwrap() else {
        panic!("the configuration is an object");
    };
    let names: BTreeSet<_> = sections.keys().map(String::as_str).collect();
    assert_eq!(names, SECTIONS.iter().map(|section| section.name).collect());
    for spec in keys() {
        let value = &sections[spec.section][spec.key];
        match spec.default {
            // The defaults are texts, numbers, flags and lists: the same in TOML and JSON.
            Some(text) => assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), value, "{}", spec.path()),
            None => assert!(
                value.is_null() || value.as_array().is_some_and(Vec::is_empty),
                "{}",
                spec.path()
            ),
        }
    }
    for section in SECTIONS {
        let fields: BTreeSet<_> = sections[section.name]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(fields, section.keys.iter().map(|spec| spec.key).collect());
    }
}

#[test]
fn every_key_has_a_doc_a_sound_range_and_one_environment_name() {
    let mut names = BTreeSet::new();
    for spec in keys() {
        assert!(spec.doc.trim().ends_with('.'), "{} has no sentence", spec.path());
        if let Kind::Int { min, max } | Kind::Ints { min, max } = spec.kind {
            assert!(min < max, "{}", spec.path());
        }
        assert!(names.insert(spec.env_name()), "{}", spec.path());
        if let Some(name) = spec.env {
            assert!(names.insert(name.to_owned()), "{name}");
        }
        assert!(
            dropped::dropped_key(&spec.path()).is_none(),
            "{} is dropped",
            spec.path()
        );
    }
    assert_eq!(key("server.port").unwrap().env_name(), "GROK2API__SERVER__PORT");
}

#[test]
fn every_key_of_the_older_project_is_known() {
    const OLDER: &str = "app.app_url app.admin_username app.app_key app.api_key app.image_format app.video_format \
        grok.temporary grok.stream grok.thinking grok.dynamic_statsig grok.filter_tags grok.video_poster_preview grok.timeout \
        grok.base_proxy_url grok.asset_proxy_url grok.cf_clearance grok.max_retry grok.retry_status_codes \
        grok.image_generation_method token.auto_refresh token.refresh_interval_hours token.fail_threshold token.save_delay_ms \
        token.reload_interval_sec token.nsfw_refresh_concurrency token.nsfw_refresh_retries cache.enable_auto_clean \
        cache.limit_mb cache.keep_base64_cache performance.assets_max_concurrent performance.media_max_concurrent \
        performance.usage_max_concurrent performance.assets_delete_batch_size performance.admin_assets_batch_size \
        register.worker_domain register.email_domain register.admin_password register.yescaptcha_key register.solver_url \
        register.solver_browser_type register.solver_threads register.register_threads register.default_count \
        register.auto_start_solver register.solver_debug register.max_errors register.max_runtime_minutes storage.type";
    for path in OLDER.split_whitespace() {
        assert!(
            key(path).is_some() != dropped::dropped_key(path).is_some(),
            "{path} is neither a key nor dropped, or both"
        );
    }
}

#[test]
fn no_secret_leaves_through_json_or_debug() {
    let mut config = Config::default();
    config.app.app_key = "correct horse".into();
    config.xai.management_key = "battery staple".into();
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("horse") && !shown.contains("staple"), "{shown}");
}

#[test]
fn what_is_not_set_follows_its_neighbour() {
    let mut config = Config::default();
    assert_eq!((config.max_attempts(), config.drain_delay_secs()), (3, 0));
    config.nats.url = "nats://a:4222".into();
    config.xai.max_attempts = Some(7);
    assert_eq!((config.max_attempts(), config.drain_delay_secs()), (7, 5));
}
