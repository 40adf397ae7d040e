//! Operations on upstream credentials.

use grok2api_schemas::admin::history::TokenHistoryAsk;
use grok2api_schemas::admin::page::Cursor;
use grok2api_schemas::admin::tokens::{TokenActivityAsk, TokenQuery};
use grok2api_schemas::bus::admin::{
    TokenAddAsk, TokenAsk, TokenExportAsk, TokenImportAsk, TokenListAsk, TokenPatchAsk, TokensAsk, TokensCleared,
    TokensDeleted, TokensRefreshed,
};
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};
use crate::engine::error::GatewayError;
use crate::ops::export::export_to_key;
use crate::ops::import::import_text;
use crate::ops::{ROWS, rows};

const LIST: About = About::look(
    subjects::TOKENS_LIST,
    "Lists upstream credentials, page by page.",
    ("GET", "/tokens"),
);
const GET: About = About::look(subjects::TOKENS_GET, "Shows one credential.", ("GET", "/tokens/{id}"));
const QUOTAS: About = About::look(
    subjects::TOKENS_QUOTAS,
    "Shows how much of a credential's meters is used, over all nodes.",
    ("GET", "/tokens/{id}/quotas"),
);
const ACTIVITY: About = About::look(
    subjects::TOKENS_ACTIVITY,
    "Shows what credentials served in the last hour, over all nodes.",
    ("GET", "/tokens/activity"),
);
const HISTORY: About = About::look(
    subjects::TOKENS_HISTORY,
    "Shows what happened to a credential and its team, as all nodes remember it.",
    ("GET", "/tokens/{id}/history"),
);
const ADD: About = About::change(subjects::TOKENS_ADD, "Adds one credential.", ("POST", "/tokens/add"));
const PATCH: About = About::change(
    subjects::TOKENS_PATCH,
    "Changes a credential's label, note, tags, switch, proxy or pool.",
    ("PATCH", "/tokens/{id}"),
);
const DELETE: About = About::change(
    subjects::TOKENS_DELETE,
    "Deletes credentials.",
    ("POST", "/tokens/delete"),
);
const REFRESH: About = About::change(
    subjects::TOKENS_REFRESH,
    "Asks the upstream about credentials with free calls. A disabled one stays so.",
    ("POST", "/tokens/refresh"),
)
.within(60);
const CLEAR_COOLING: About = About::change(
    subjects::TOKENS_CLEAR_COOLING,
    "Ends rests that an operator may end, of credentials and of their teams.",
    ("POST", "/tokens/clear-cooling"),
);
const IMPORT: About = About::change(
    subjects::TOKENS_IMPORT,
    "Adds credentials in bulk, one a line, and says what became of each line.",
    ("POST", "/tokens/import"),
)
.within(60);
const EXPORT: About = About::change(
    subjects::TOKENS_EXPORT,
    "Gives secrets out, sealed to the caller's public key, after an administrator's password.",
    ("POST", "/tokens/export"),
)
.within(60);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(LIST, |ops, _, ask| async move { ops.tokens.list(query(ask)?).await }),
        row(GET, |ops, _, ask: TokenAsk| async move { ops.tokens.get(ask.id) }),
        row(QUOTAS, |ops, _, ask: TokenAsk| async move {
            ops.tokens.quotas(ask.id).await
        }),
        row(ACTIVITY, |ops, _, ask: TokenActivityAsk| async move {
            ops.requests.activity(&ask.ids)
        }),
        row(HISTORY, |ops, _, ask: TokenHistoryAsk| async move {
            ops.history.of(&ask).await
        }),
        row(ADD, |ops, actor, ask: TokenAddAsk| async move {
            ops.tokens.add(&actor, ask).await
        }),
        row(PATCH, |ops, actor, ask: TokenPatchAsk| async move {
            ops.tokens.patch(&actor, ask.id, ask.set).await
        }),
        row(DELETE, |ops, actor, ask: TokensAsk| async move {
            let ids = ops.tokens.each(ask.ids)?;
            let deleted = ops.tokens.delete(&actor, ids).await? as u64;
            Ok(TokensDeleted { deleted })
        }),
        row(REFRESH, |ops, actor, ask: TokensAsk| async move {
            let ids = ops.tokens.each(ask.ids)?;
            let results = ops.tokens.refresh(&actor, ids).await?;
            Ok(TokensRefreshed { results })
        }),
        row(CLEAR_COOLING, |ops, actor, ask: TokensAsk| async move {
            let ids = ops.tokens.each(ask.ids)?;
            let cleared = ops.tokens.clear_cooling(&actor, ids).await? as u64;
            Ok(TokensCleared { cleared })
        }),
        row(IMPORT, |ops, actor, ask: TokenImportAsk| async move {
            import_text(&ops.tokens, &actor, ask.lines, ask.pool, ask.report_all).await
        }),
        row(EXPORT, |ops, actor, ask: TokenExportAsk| async move {
            export_to_key(&ops.tokens, &ops.accounts, &actor, ask).await
        }),
    ]
}

fn query(ask: TokenListAsk) -> Result<TokenQuery, GatewayError> {
    let cursor = ask.cursor.map(|text| text.parse::<Cursor>()).transpose();
    Ok(TokenQuery {
        pools: ask.pools,
        states: ask.states,
        text: ask.text,
        team: ask.team,
        sort: ask.sort,
        descending: ask.descending,
        cursor: cursor.map_err(|error| GatewayError::field("cursor", format!("`cursor`: {error}.")))?,
        limit: rows(ask.limit, ROWS)?,
    })
}
