//! What an operator can see and do of the images and videos that nodes keep, and of what a provider keeps of ours.

mod here;
pub mod online;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use grok2api_actors::media::name;
use grok2api_schemas::admin::cache::{
    CacheAsked, CacheClearAsk, CacheCleared, CacheDeleteAsk, CacheDeleted, CacheDeletion, CacheListAsk, CacheOfNode,
    CachePage, CacheStatus, CacheStatusAsk, CacheSum, CacheTold, CachedFile,
};
use grok2api_schemas::bus::subjects::nodes as subjects;
use grok2api_schemas::media::MediaKind;

pub use self::here::{Files, answer_others};
use self::here::{done, sum};
use self::online::OnlineFiles;
use super::audit::Actor;
use super::nodes::{EVERY, Node, Nodes, unanswered};
use super::{MOST_ROWS, rows};
use crate::engine::error::GatewayError;

/// How long another node has to answer a look, and to remove all that it keeps.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
const CLEAR_WITHIN: Duration = Duration::from_secs(60);
/// Rows that another node tells of at most: they have to fit into a message.
const MOST_TOLD: usize = 3_000;

/// Makes the path of a file, signed where links are.
pub type PathOf = Arc<dyn Fn(MediaKind, &str) -> String + Send + Sync>;

/// Operations on kept files.
#[derive(Clone)]
pub struct CacheOps {
    files: Arc<dyn Files>,
    path_of: PathOf,
    nodes: Nodes,
    online: Arc<dyn OnlineFiles>,
}

/// What nodes answered, and the names of those that did not.
struct Answers {
    told: Vec<(String, CacheTold)>,
    silent: Vec<String>,
}

impl CacheOps {
    /// Operations on the files of this node and of the others, and on what is kept elsewhere.
    pub fn new(files: Arc<dyn Files>, path_of: PathOf, nodes: Nodes, online: Arc<dyn OnlineFiles>) -> CacheOps {
        CacheOps {
            files,
            path_of,
            nodes,
            online,
        }
    }

    /// How much is kept.
    ///
    /// # Errors
    /// `NotFound` for a node that is none; a node that was named does not answer.
    pub async fn status(&self, ask: &CacheStatusAsk) -> Result<CacheStatus, GatewayError> {
        let answers = self.ask(ask.node.as_deref(), &CacheAsked::Status, LOOK_WITHIN).await?;
        let of = |(node, told)| match told {
            CacheTold::Status(status) => Some(CacheOfNode { node, ..status }),
            _ => None,
        };
        let nodes: Vec<CacheOfNode> = answers.told.into_iter().filter_map(of).collect();
        let all = |kind: fn(&CacheOfNode) -> CacheSum| {
            let sums = nodes.iter().map(kind);
            let (count, size_mb) = sums.fold((0, 0.0), |all, one| (all.0 + one.count, all.1 + one.size_mb));
            CacheSum {
                count,
                size_mb: (size_mb * 100.0).round() / 100.0,
            }
        };
        Ok(CacheStatus {
            local_image: all(|node| node.local_image),
            local_video: all(|node| node.local_video),
            downloads: nodes.iter().map(|node| node.downloads).sum(),
            limit_mb: nodes.iter().map(|node| node.limit_mb).sum(),
            nodes,
            unanswered: answers.silent,
        })
    }

    /// A page of files. What several nodes keep is one row.
    ///
    /// # Errors
    /// `InvalidField`; `NotFound` for a node that is none; a node that was named does not answer.
    pub async fn list(&self, ask: &CacheListAsk) -> Result<CachePage, GatewayError> {
        let kind = ask.kind.unwrap_or(MediaKind::Image);
        let most = rows(ask.page_size, MOST_ROWS)?;
        let page = ask.page.unwrap_or(1);
        let skipped = page
            .checked_sub(1)
            .and_then(|page| usize::try_from(page).ok()?.checked_mul(most))
            .ok_or_else(|| GatewayError::field("page", "`page` must be a whole number from 1."))?;
        let wanted = skipped.saturating_add(most);
        let asked = self.nodes.named(Some(ask.node.as_deref().unwrap_or(EVERY)))?;
        let has_others = asked.iter().any(|node| node.session.is_some());
        if has_others && wanted > MOST_TOLD {
            return Err(GatewayError::field(
                "page",
                format!(
                    "`page` goes beyond the newest {MOST_TOLD} files, which is what nodes tell each other: ask a node for its own with `node`."
                ),
            ));
        }
        let look = CacheAsked::List { kind, most: wanted };
        let answers = self.ask(ask.node.as_deref(), &look, LOOK_WITHIN).await?;
        let mut total = 0;
        let mut by_name: BTreeMap<String, CachedFile> = BTreeMap::new();
        for (node, told) in answers.told {
            let CacheTold::List { total: here, files } = told else {
                continue;
            };
            total += here;
            for file in files {
                let row = by_name.entry(file.name.clone()).or_insert_with(|| CachedFile {
                    nodes: Vec::new(),
                    ..file.clone()
                });
                if !row.nodes.is_empty() {
                    // Seen on another node already: one file.
                    total = total.saturating_sub(1);
                    row.mtime_ms = row.mtime_ms.min(file.mtime_ms);
                    row.read_ms = row.read_ms.max(file.read_ms);
                }
                row.nodes.push(node.clone());
            }
        }
        let mut all: Vec<CachedFile> = by_name.into_values().collect();
        all.sort_by(|a, b| b.mtime_ms.cmp(&a.mtime_ms).then_with(|| a.name.cmp(&b.name)));
        let shown = all.into_iter().skip(skipped).take(most).map(|file| CachedFile {
            view_url: (self.path_of)(kind, &file.name),
            nodes: file.nodes.into_iter().filter(|node| !node.is_empty()).collect(),
            ..file
        });
        Ok(CachePage {
            status: success(),
            total,
            page,
            page_size: most as u64,
            items: shown.collect(),
            unanswered: answers.silent,
        })
    }

    /// Removes all files of a kind.
    ///
    /// # Errors
    /// When a disk refuses; `NotFound` for a node that is none; a node that was named does not answer.
    pub async fn clear(&self, actor: &Actor, ask: CacheClearAsk) -> Result<CacheCleared, GatewayError> {
        let kind = ask.kind.unwrap_or(MediaKind::Image);
        let answers = self
            .ask(ask.node.as_deref(), &CacheAsked::Clear(kind), CLEAR_WITHIN)
            .await?;
        actor.did::<&str>("cache.clear", &[], kind.as_str());
        refusal(&answers)?;
        let (mut count, mut bytes) = (0, 0);
        for (_, told) in answers.told {
            if let CacheTold::Cleared(files, size) = told {
                count += files;
                bytes += size;
            }
        }
        Ok(CacheCleared {
            status: success(),
            result: sum((count, bytes)),
            unanswered: answers.silent,
        })
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When a disk refuses; `NotFound` for a node that is none; a node that was named does not answer.
    pub async fn delete(&self, actor: &Actor, ask: CacheDeleteAsk) -> Result<CacheDeleted, GatewayError> {
        let kind = ask.kind.unwrap_or(MediaKind::Image);
        if ask.name.trim().is_empty() {
            return Err(GatewayError::field("name", "Missing file name").with_code("missing"));
        }
        let (mut deleted, mut silent) = (false, Vec::new());
        if let Some(name) = name::of_path(&ask.name) {
            let remove = CacheAsked::Delete(kind, name);
            let answers = self.ask(ask.node.as_deref(), &remove, LOOK_WITHIN).await?;
            refusal(&answers)?;
            deleted = answers.told.iter().any(|(_, told)| *told == CacheTold::Deleted(true));
            silent = answers.silent;
        }
        actor.did("cache.delete", &[&ask.name], kind.as_str());
        Ok(CacheDeleted {
            status: success(),
            result: CacheDeletion { deleted },
            unanswered: silent,
        })
    }

    /// Asks nodes of a name, every one where none is named.
    async fn ask(&self, name: Option<&str>, asked: &CacheAsked, within: Duration) -> Result<Answers, GatewayError> {
        let nodes = self.nodes.named(Some(name.unwrap_or(EVERY)))?;
        let each = nodes.iter().map(|node: &Node| async move {
            match node.session {
                None => Some(done(&*self.files, asked.clone()).await),
                Some(session) => self.nodes.ask(subjects::CACHE_ASK, session, asked, within).await,
            }
        });
        let mut answers = Answers {
            told: Vec::new(),
            silent: Vec::new(),
        };
        for (node, told) in nodes.iter().zip(join_all(each).await) {
            match told {
                Some(told) => answers.told.push((node.name.clone(), told)),
                None if name.is_some_and(|name| name != EVERY) => return Err(unanswered(&node.name)),
                None => answers.silent.push(node.name.clone()),
            }
        }
        Ok(answers)
    }
}

fn success() -> String {
    "success".to_owned()
}

/// The first node whose disk refused.
fn refusal(answers: &Answers) -> Result<(), GatewayError> {
    let refused = answers.told.iter().find_map(|(node, told)| match told {
        CacheTold::Refused(words) => Some((node, words)),
        _ => None,
    });
    match refused {
        Some((node, words)) => Err(GatewayError::internal(format!("the cache of media {node}: {words}"))),
        None => Ok(()),
    }
}
