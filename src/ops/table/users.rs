//! Operations on accounts of administrators, and the record of what they did.

use grok2api_schemas::admin::audit::AuditListAsk;
use grok2api_schemas::admin::users::UserAsk;
use grok2api_schemas::bus::admin::Nothing;
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};

const LIST: About = About::look(
    subjects::USERS_LIST,
    "Lists accounts: administrators, and viewers who can change nothing.",
    ("GET", "/users"),
);
const ADD: About = About::change(
    subjects::USERS_ADD,
    "Makes an account; without a password one is made and told once.",
    ("POST", "/users"),
);
const PATCH: About = About::change(
    subjects::USERS_PATCH,
    "Changes an account's role or password. A new password ends its sessions.",
    ("POST", "/users/patch"),
);
const DELETE: About = About::change(
    subjects::USERS_DELETE,
    "Deletes an account; its sessions are over.",
    ("POST", "/users/delete"),
);
const AUDIT: About = About::look(
    subjects::AUDIT_LIST,
    "Lists what administrators did: who, when, from where, on what, before and after.",
    ("GET", "/audit"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(LIST, |ops, _, _: Nothing| async move { Ok(ops.accounts.users()) }),
        row(ADD, |ops, actor, ask| async move {
            ops.accounts.add_user(&actor, ask).await
        }),
        row(PATCH, |ops, actor, ask| async move {
            ops.accounts.patch_user(&actor, ask).await
        }),
        row(DELETE, |ops, actor, ask: UserAsk| async move {
            ops.accounts.delete_user(&actor, &ask).await
        }),
        row(
            AUDIT,
            |ops, _, ask: AuditListAsk| async move { ops.audit.list(&ask).await },
        ),
    ]
}
