//! The pool, the cache and the work around them: sections of the older project.

use super::spec::*;

section! {
    /// Tokens.
    pub struct TokenConfig in "token" {
        /// Ask for the state and quota of tokens every refresh_interval_hours.
        auto_refresh: (flag) = true [restart];
        /// How often, in hours.
        refresh_interval_hours: (int u32 1..=720) = 8 [restart];
        /// Failures in a row of its own (timeouts, server errors) after which a token rests.
        fail_threshold: (int u32 1..=1000) = 5;
        /// How long counters of use may wait before they are written, in milliseconds. States are written at once.
        save_delay_ms: (int u64 0..=60000) = 500;
        /// How often the pool is compared with what is stored, in seconds.
        reload_interval_sec: (int u64 1..=86400) = 30;
    }
}

section! {
    /// Files that were made or fetched.
    pub struct CacheConfig in "cache" {
        /// Remove the oldest files when the cache grows over limit_mb.
        enable_auto_clean: (flag) = true;
        /// Size of the cache, in MiB.
        limit_mb: (int u64 1..=10485760) = 1024;
        /// Largest image or video that is fetched or taken, in MiB.
        max_object_mb: (int u64 1..=10240) = 256;
        /// Keep a file that was handed out inline.
        keep_base64_cache: (flag) = true;
    }
}

section! {
    /// How much is done at a time.
    pub struct PerformanceConfig in "performance" {
        /// Uploads, downloads and deletions of files.
        assets_max_concurrent: (int u32 1..=10000) = 25 [restart];
        /// Videos that are being started.
        media_max_concurrent: (int u32 1..=10000) = 50;
        /// Questions about quota and state of tokens.
        usage_max_concurrent: (int u32 1..=10000) = 25;
        /// Files deleted per batch.
        assets_delete_batch_size: (int u32 1..=10000) = 10;
        /// Tokens whose files an administrator looks at, per batch.
        admin_assets_batch_size: (int u32 1..=10000) = 10;
    }
}

section! {
    /// Jobs that add credentials in bulk: each is brought by its owner and verified.
    pub struct RegisterConfig in "register" {
        /// Credentials verified at a time.
        register_threads: (int u32 1..=1000) = 10;
        /// Size of a job that does not say.
        default_count: (int u32 1..=1000000) = 100;
        /// Failures after which a job ends; 0 means five per credential, and at least 30.
        max_errors: (int u32 0..=10000000) = 0;
        /// How long a job may run, in minutes; 0 is without end.
        max_runtime_minutes: (int u32 0..=525600) = 0;
    }
}

section! {
    /// Where jobs have credentials from that are not pasted.
    pub struct JobsConfig in "jobs" {
        /// Address of a service of yours that hands out credentials, one a request (`deploy/examples/provisioner.mjs`).
        provisioner_url: (text HttpUrl) = "";
        /// Secret that requests to it are signed with.
        provisioner_secret: (secret) = "";
        /// How long it may take to answer, in seconds.
        provisioner_timeout_secs: (int u64 1..=600) = 60;
        /// Jobs that have ended and are kept.
        keep: (int usize 1..=1000) = 100;
    }
}
