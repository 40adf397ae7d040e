//! Whom we call: the official API and the web application, and how long we wait for them.

use super::limits::{Rule, TeamConfig};
use super::spec::*;

section! {
    /// The official API.
    pub struct XaiConfig in "xai" {
        /// Address of the API, with its version.
        base_url: (text HttpUrl) = "https://api.x.ai/v1" [restart];
        /// Address of the Management API, which tells the limits of a team.
        management_url: (text HttpUrl) = "https://management-api.x.ai" [restart];
        /// Management key. Not set: limits come from this file and from what the API answers.
        management_key: (secret) = "" [restart];
        /// Silence before the first event of a streamed answer, in seconds. This and the next three can be set per model in models.toml.
        first_byte_timeout_secs: (int u64 1..=86400) = 60;
        /// Silence before an answer that is not streamed, in seconds: a reasoning model says nothing until it is done.
        answer_timeout_secs: (int u64 1..=86400) = 600;
        /// Silence between two pieces of an answer, in seconds.
        idle_timeout_secs: (int u64 1..=86400) = 60;
        /// A whole call, in seconds.
        request_timeout_secs: (int u64 1..=86400) = 3600;
        /// Connecting, TLS included, in seconds.
        connect_timeout_secs: (int u64 1..=600) = 10 [restart];
        /// Offer HTTP/2 where the API speaks TLS: many calls share a connection, and what the API did not act on is told apart.
        http2: (flag) = true [restart];
        /// How late a call may reach the upstream's counter, in milliseconds (D of the ledger).
        delivery_slack_ms: (int u64 0..=10000) = 250 [restart];
        /// Proxy for every call to the API: `http://`, `https://`, `socks5://` or `socks5h://`. A token may have its own.
        proxy: (text ProxyUrl) = "" [restart];
        /// Attempts per request, the first included. Not set: grok.max_retry.
        max_attempts: (maybe int u32 1..=100) = unset;
        /// Tokens, models or teams that one client request may cool, at most.
        max_penalties: (int u32 0..=100) = 2;
        /// The longest rest that a hint of the upstream (Retry-After and the like) is believed for, in seconds.
        max_cooling_secs: (int u64 1..=86400) = 3600;
        /// How often a resting token is asked, with free calls only, whether it works again, in seconds.
        probe_interval_secs: (int u64 1..=86400) = 30 [restart];
        /// Headers of the client's request that are passed on.
        forward_headers: (texts HeaderName) = ["x-grok-conv-id"];
        /// Paths of the API that clients reach through the gateway beside those that it understands itself; `*` stands for any text, `documented` for all that xAI documents. Anything else is answered with 404.
        pass_through: (texts Any) = ["documented"];
        /// The largest file that a client may upload, in MiB.
        max_upload_mb: (int u64 1..=1024) = 50;
        /// What a team may use. Not listed: learnt from the Management API or from what the API answers, never invented.
        teams: (tables TeamConfig) = unset;
        /// What an answer of the upstream means, ahead of the built-in table: for a text that changed, without a release.
        rules: (tables Rule) = unset;
    }
}

choice! {
    /// How images of the web application are made.
    pub enum ImageMethod {
        /// Through a conversation.
        Legacy = "legacy",
        /// Through the image socket.
        Experimental = "imagine_ws_experimental",
    }
}

section! {
    /// Keys of the older project: web sessions, and how often to try.
    pub struct GrokConfig in "grok" {
        /// Web sessions: conversations are temporary.
        temporary: (flag) = true;
        /// Whether a chat request that does not say "stream" is streamed. OpenAI's SDKs leave it out and expect no stream.
        stream: (flag) = false;
        /// Web sessions: progress is shown inside `<think>`.
        thinking: (flag) = true;
        /// Web sessions: pieces of an answer with these tags are left out.
        filter_tags: (texts Any) = ["xaiartifact", "xai:tool_usage_card", "grok:render"];
        /// Web sessions: videos come with a preview picture.
        video_poster_preview: (flag) = false;
        /// Web sessions: a whole call, in seconds. The official API has xai.*_timeout_secs.
        timeout: (int u64 1..=86400) = 120;
        /// Web sessions: proxy for calls. The official API has xai.proxy.
        base_proxy_url: (text ProxyUrl) = "";
        /// Web sessions: proxy for files.
        asset_proxy_url: (text ProxyUrl) = "";
        /// Web sessions: value of the cookie of that name, sent as given.
        cf_clearance: (secret) = "";
        /// Attempts per request, the first included.
        max_retry: (int u32 1..=100) = 3;
        /// HTTP statuses of the upstream that are tried again, in addition to what the built-in table says.
        retry_status_codes: (ints u16 400..=599) = [401, 429, 403];
        /// Web sessions: how images are made.
        image_generation_method: (choice ImageMethod) = "legacy";
    }
}
