//! TLS of the door: rustls with ring, from two PEM files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why TLS cannot be offered. Displays as one line that names the file and the mend.
#[derive(Debug)]
pub enum TlsError {
    /// The certificate file is unreadable or not PEM.
    Certificate(PathBuf, String),
    /// The key file is unreadable or holds no private key.
    Key(PathBuf, String),
    /// Each file is well, but they do not belong together.
    Mismatch(PathBuf, PathBuf, String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Certificate(file, cause) => write!(
                f,
                "server.tls_cert: {}: {cause}; it must be a PEM file with the certificate first and its chain after it",
                file.display()
            ),
            TlsError::Key(file, cause) => write!(
                f,
                "server.tls_key: {}: {cause}; it must be a PEM file with one private key (PKCS#8, PKCS#1 or SEC1), not encrypted",
                file.display()
            ),
            TlsError::Mismatch(cert, key, cause) => write!(
                f,
                "server.tls_cert {} and server.tls_key {} cannot be used together: {cause}",
                cert.display(),
                key.display()
            ),
        }
    }
}

impl std::error::Error for TlsError {}

/// Reads certificate and key. HTTP/2 and HTTP/1.1 are offered by ALPN. Blocks on the disk: call it at start.
pub fn server_config(cert: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let bad_cert = |cause: String| TlsError::Certificate(cert.to_owned(), cause);
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad_cert(plain(&error)))?;
    if chain.is_empty() {
        return Err(bad_cert("it holds no certificate".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::Key(key.to_owned(), plain(&error)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| TlsError::Mismatch(cert.to_owned(), key.to_owned(), error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn plain(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "nothing of the kind is in it".to_owned(),
        other => other.to_string(),
    }
}
