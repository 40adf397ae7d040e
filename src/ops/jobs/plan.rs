//! What an order to start a job comes to: its spec and its items, with what has to be asked elsewhere.

use grok2api_actors::jobs::NewItem;
use grok2api_schemas::admin::jobs::{JobStartAsk, MintAsk};
use grok2api_schemas::config::RegisterConfig;
use grok2api_schemas::ids::JobId;
use grok2api_schemas::job::{JobSpec, MOST_ITEMS, MintSpec};

use super::order::{
    check_date, counted, in_pool, key_name, listed, management_says, not_set, rotate_spec, to_obtain, which,
};
use super::{JobOps, NamedKey};
use crate::engine::error::GatewayError;

impl JobOps {
    /// What a job does, and its items.
    pub(super) async fn plan(
        &self,
        id: JobId,
        ask: &JobStartAsk,
        defaults: &RegisterConfig,
    ) -> Result<(JobSpec, Vec<NewItem>), GatewayError> {
        let said = [
            ask.list.is_some(),
            ask.mint.is_some(),
            ask.rotate.is_some(),
            ask.revoke.is_some(),
            ask.provision.is_some(),
            ask.batch.is_some(),
        ];
        if said.iter().filter(|is| **is).count() != 1 {
            return Err(GatewayError::field(
                "list",
                "Say what the job does with one of `list`, `mint`, `rotate`, `revoke`, `provision` and `batch`.",
            ));
        }
        if let Some(list) = &ask.list {
            let items = listed(&list.lines, ask.pool)?;
            return Ok((JobSpec::List, items));
        }
        if let Some(batch) = &ask.batch {
            let items = in_pool(&batch.ids, |id| self.desk.masked(id))?;
            return Ok((JobSpec::Batch(batch.action), items));
        }
        if let Some(provision) = &ask.provision {
            self.desk
                .check_provisioner()
                .map_err(|words| not_set("provision", &words))?;
            let count = counted(provision.count, defaults, "provision.count")?;
            let items = (1..=count)
                .map(|n| NewItem::ToObtain {
                    name: format!("provisioned {n}"),
                    foreign: String::new(),
                })
                .collect();
            return Ok((JobSpec::Provision, items));
        }
        self.desk
            .check_management()
            .map_err(|words| not_set(which(ask), &words))?;
        if let Some(mint) = &ask.mint {
            let spec = self.mint_spec(mint).await?;
            let count = counted(mint.count, defaults, "mint.count")?;
            let items = (1..=count)
                .map(|n| {
                    Ok(NewItem::ToObtain {
                        name: key_name(mint.name.as_deref(), n, id)?,
                        foreign: String::new(),
                    })
                })
                .collect::<Result<Vec<NewItem>, GatewayError>>()?;
            return Ok((JobSpec::Mint(spec), items));
        }
        if let Some(rotate) = &ask.rotate {
            let spec = rotate_spec(rotate)?;
            let keys = self.team_keys(rotate.team.as_deref(), &rotate.keys, rotate.named.as_deref(), "rotate");
            return Ok((JobSpec::Rotate(spec), to_obtain(keys.await?)));
        }
        let revoke = ask.revoke.clone().unwrap_or_default();
        let keys = self.team_keys(revoke.team.as_deref(), &revoke.keys, revoke.named.as_deref(), "revoke");
        Ok((JobSpec::Revoke, to_obtain(keys.await?)))
    }

    async fn mint_spec(&self, mint: &MintAsk) -> Result<MintSpec, GatewayError> {
        check_date(mint.expire_time.as_deref(), "mint.expire_time")?;
        let acls = mint
            .acls
            .clone()
            .unwrap_or_else(|| vec!["api-key:endpoint:*".to_owned(), "api-key:model:*".to_owned()]);
        if acls.is_empty() || acls.iter().any(|acl| !acl.starts_with("api-key:")) {
            return Err(GatewayError::field(
                "mint.acls",
                "`mint.acls` must hold entries such as `api-key:endpoint:chat` and `api-key:model:*`: a key without them can do nothing.",
            ));
        }
        Ok(MintSpec {
            team: self.team(mint.team.as_deref(), "mint").await?,
            acls,
            qps: mint.qps,
            qpm: mint.qpm,
            tpm: mint.tpm,
            expire_time: mint.expire_time.clone(),
        })
    }

    async fn team(&self, said: Option<&str>, at: &str) -> Result<String, GatewayError> {
        match said.map(str::trim).filter(|team| !team.is_empty()) {
            Some(team) => Ok(team.to_owned()),
            None => self.desk.own_team().await.map_err(|words| management_says(at, &words)),
        }
    }

    async fn team_keys(
        &self,
        team: Option<&str>,
        ids: &[String],
        named: Option<&str>,
        at: &str,
    ) -> Result<Vec<NamedKey>, GatewayError> {
        let named = named.map(str::trim).filter(|named| !named.is_empty());
        let keys = match (ids.is_empty(), named) {
            (false, None) => ids.iter().map(|id| (id.trim().to_owned(), String::new())).collect(),
            (true, Some(begins)) => {
                let team = self.team(team, at).await?;
                let found = self.desk.keys_named(&team, begins).await;
                found.map_err(|words| management_says(at, &words))?
            }
            _ => {
                return Err(GatewayError::field(
                    format!("{at}.keys"),
                    format!("Say which keys: their ids in `{at}.keys`, or how their names begin in `{at}.named`."),
                ));
            }
        };
        if keys.is_empty() || keys.len() > MOST_ITEMS as usize || keys.iter().any(|(id, _)| id.is_empty()) {
            return Err(GatewayError::field(
                format!("{at}.keys"),
                format!("There must be 1 to {MOST_ITEMS} keys, and there are {}.", keys.len()),
            ));
        }
        Ok(keys)
    }
}
