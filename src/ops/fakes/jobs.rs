//! Jobs of a node where nothing is configured.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use grok2api_actors::bus::BusHandle;
use grok2api_actors::clock::Clock;
use grok2api_schemas::ids::{SessionId, TokenId};

/// Jobs without a source but lists, on a bus of their own.
pub async fn own_jobs(bus: BusHandle, clock: Clock) -> crate::ops::jobs::JobOps {
    use grok2api_actors::cluster::Membership;
    use grok2api_actors::jobs::{JobParts, Jobs};
    use grok2api_actors::runtime::ArbiterPool;
    use grok2api_actors::vault::{MasterKey, Vault};
    let parts = JobParts {
        bus,
        vault: Arc::new(Vault::of(
            &MasterKey::configured(&"0123456789abcdef".to_owned().into()).unwrap(),
        )),
        clock: clock.clone(),
        membership: Membership::alone(SessionId::generate(), clock.clone()),
        arbiters: ArbiterPool::start(1).unwrap(),
        workshop: Arc::new(NoShop),
        keep: Box::new(|| 10),
    };
    let (tracker, stop) = (
        tokio_util::task::TaskTracker::new(),
        tokio_util::sync::CancellationToken::new(),
    );
    let jobs = Jobs::start(parts, &tracker, stop).await.unwrap();
    crate::ops::jobs::JobOps::new(jobs, Arc::new(NoShop), clock)
}

/// Nothing is configured, and everything that is brought is enrolled.
struct NoShop;

impl grok2api_actors::jobs::source::Workshop for NoShop {
    fn source(
        &self,
        _: &grok2api_schemas::job::JobSpec,
    ) -> Result<Arc<dyn grok2api_actors::jobs::source::Source>, String> {
        Err("nothing is configured".to_owned())
    }

    fn admit<'a>(
        &'a self,
        _: &'a grok2api_schemas::job::JobRecord,
        _: grok2api_actors::jobs::source::Payload,
    ) -> BoxFuture<'a, Result<grok2api_actors::jobs::source::Admitted, grok2api_actors::jobs::source::Fault>> {
        unreachable!("there is no source")
    }

    fn apply(
        &self,
        _: grok2api_schemas::job::TokenAction,
        _: TokenId,
    ) -> BoxFuture<'_, Result<String, grok2api_actors::jobs::source::Fault>> {
        async { Ok(String::new()) }.boxed()
    }

    fn withdraw(&self, _: TokenId) -> BoxFuture<'_, Result<(), grok2api_actors::jobs::source::Fault>> {
        async { Ok(()) }.boxed()
    }
}

impl crate::ops::jobs::JobDesk for NoShop {
    fn defaults(&self) -> grok2api_schemas::config::RegisterConfig {
        grok2api_schemas::config::RegisterConfig::default()
    }

    fn own_team(&self) -> BoxFuture<'_, Result<String, String>> {
        async { Err("nothing is configured".to_owned()) }.boxed()
    }

    fn keys_named<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<crate::ops::jobs::NamedKey>, String>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn check_management(&self) -> Result<(), String> {
        Err("xai.management_key is not set".to_owned())
    }

    fn check_provisioner(&self) -> Result<(), String> {
        Err("jobs.provisioner_url is not set".to_owned())
    }

    fn masked(&self, _: TokenId) -> Option<String> {
        None
    }
}
