//! Whether the master key is the one that this store was sealed with. Another key would open no credential, and no client
//! key would be recognised any more: a node that served like that would refuse everybody and say nothing of why.

use std::path::Path;

use bytes::Bytes;
use grok2api_actors::bus::{BusErrorKind, BusHandle, Expect};
use grok2api_actors::vault::Vault;
use grok2api_schemas::bus::subjects::buckets;
use secrecy::SecretString;

use super::build::BuildError;

/// Where the store remembers which key it was sealed with; what it holds says nothing about the key.
const MARK: &[u8] = b"master-key-id";

/// Opens the vault with the configured key, else the file's, else a new one if nothing was sealed yet.
///
/// # Errors
/// No key where there was one, another key, or one that cannot be used: one line, and nothing was written.
pub(super) async fn open_vault(
    bus: &BusHandle,
    configured: Option<SecretString>,
    key_file: &Path,
) -> Result<Vault, BuildError> {
    let found = bus
        .kv_get(buckets::CLUSTER, MARK)
        .await
        .map_err(|error| BuildError(format!("the store: {error}")))?;
    let from_file = configured.is_none();
    if found.is_some() && from_file && !key_file.exists() {
        return Err(BuildError(format!(
            "the master key: {file} is missing, and what is stored was sealed with it: put {file} back from a backup, or \
             set GROK2API__SECURITY__MASTER_KEY to what it holds",
            file = key_file.display()
        )));
    }
    let vault = Vault::open(configured, key_file).map_err(|error| BuildError(format!("the master key: {error}")))?;
    let id = vault.key_id();
    match found {
        Some(mark) if mark.value[..] == id => Ok(vault),
        Some(_) => Err(another_key(from_file, key_file)),
        None => {
            let put = bus.kv_put(
                buckets::CLUSTER,
                Bytes::from_static(MARK),
                Bytes::copy_from_slice(&id),
                Expect::Absent,
            );
            match put.await {
                Ok(_) => Ok(vault),
                Err(error) if error.kind == BusErrorKind::Conflict => Err(another_key(from_file, key_file)),
                Err(error) => Err(BuildError(format!("the store: {error}"))),
            }
        }
    }
}

fn another_key(from_file: bool, key_file: &Path) -> BuildError {
    let origin = if from_file {
        key_file.display().to_string()
    } else {
        "security.master_key (GROK2API__SECURITY__MASTER_KEY)".to_owned()
    };
    BuildError(format!(
        "the master key: {origin} is not the key that the stored tokens and client keys were sealed with: put the old key \
         back; nothing was changed"
    ))
}

#[cfg(test)]
mod tests {
    use grok2api_actors::bus::local::LocalBus;
    use grok2api_actors::clock::Clock;
    use grok2api_actors::store::{Store, StoreOptions};

    use super::*;

    async fn vault(bus: &BusHandle, configured: Option<&str>, file: &Path) -> Result<Vault, String> {
        open_vault(bus, configured.map(SecretString::from), file)
            .await
            .map_err(|error| error.0)
    }

    #[tokio::test]
    async fn another_master_key_is_refused_and_a_lost_one_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        let bus: BusHandle = LocalBus::new(store, Clock::system());
        let file = dir.path().join("master.key");
        let first = vault(&bus, None, &file).await.unwrap();
        let again = vault(&bus, None, &file).await.unwrap();
        assert_eq!(first.key_id(), again.key_id());

        let told = vault(&bus, Some("a key of somebody else"), &file).await.unwrap_err();
        assert!(
            told.contains("security.master_key") && told.contains("put the old key back"),
            "{told}"
        );

        let held = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let told = vault(&bus, None, &file).await.unwrap_err();
        assert!(told.contains("master.key is missing"), "{told}");
        assert!(!file.exists(), "no new key is made over a store that has one");
        assert_eq!(
            vault(&bus, Some(held.trim()), &file).await.unwrap().key_id(),
            first.key_id(),
            "the file's key works from the environment"
        );
    }
}
