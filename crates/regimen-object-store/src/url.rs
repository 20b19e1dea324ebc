//! Stores by URL.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use url::Url;

use crate::remote::Remote;

/// The store of `text`, and the prefix in it.
pub(crate) fn open(text: &str) -> io::Result<(Remote, Path)> {
    // Before it is parsed: an error shows no text that may have credentials in it.
    if text.contains(['@', '?', '#']) {
        let why = "the URL has `@`, `?` or `#` in it, as one with credentials; give credentials by the variables of \
                   the store, and write `%40` for an `@` in a prefix";
        return Err(refused(why.to_owned()));
    }
    let like = "it is not like `s3://bucket/prefix`";
    let url = Url::parse(text).map_err(|error| refused(format!("the URL of the store: {error}; {like}")))?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| refused(format!("`{text}`: {error}")))?;
    let remote = match url.scheme() {
        "memory" => writable(InMemory::new()),
        #[cfg(feature = "s3")]
        "s3" => writable(client::of(text, client::s3)?),
        #[cfg(feature = "gcs")]
        "gs" => writable(client::of(text, client::gcs)?),
        #[cfg(feature = "azure")]
        "az" => writable(client::of(text, client::azure)?),
        #[cfg(feature = "http")]
        "http" | "https" => {
            Remote::new(Arc::new(client::of(&url[..url::Position::BeforePath], client::http)?), None)
        }
        other => match feature(other) {
            Some(feature) => Err(refused(format!(
                "`{text}` needs the feature `{feature}`, without which this program was built"
            ))),
            None => Err(refused(format!(
                "`{other}://` is not known; use `s3://`, `gs://`, `az://`, `http://`, `https://` or `memory://`"
            ))),
        },
    }?;
    Ok((remote, prefix))
}

/// The feature of this crate that the scheme of a URL needs.
fn feature(scheme: &str) -> Option<&'static str> {
    match scheme {
        "s3" => Some("s3"),
        "gs" => Some("gcs"),
        "az" => Some("azure"),
        "http" | "https" => Some("http"),
        _ => None,
    }
}

/// The clients of servers. Their settings are the usual variables.
#[cfg(any(feature = "azure", feature = "gcs", feature = "http", feature = "s3"))]
mod client {
    use std::io;
    use std::time::Duration;

    use object_store::{BackoffConfig, Result, RetryConfig};

    use crate::message::message;

    /// The client of `url` that `build` makes.
    pub(super) fn of<T>(url: &str, build: fn(&str, RetryConfig) -> Result<T>) -> io::Result<T> {
        // TLS needs one in the process. It is an error if there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Each try of ours is so many requests.
        let (max_retries, retry_timeout) = (4, Duration::from_secs(60));
        let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries, retry_timeout };
        build(url, retry)
            .map_err(|error| super::refused(format!("cannot open `{url}`: {}", message(&error.to_string()))))
    }

    #[cfg(feature = "s3")]
    pub(super) fn s3(url: &str, retry: RetryConfig) -> Result<object_store::aws::AmazonS3> {
        object_store::aws::AmazonS3Builder::from_env().with_url(url).with_retry(retry).build()
    }

    #[cfg(feature = "gcs")]
    pub(super) fn gcs(url: &str, retry: RetryConfig) -> Result<object_store::gcp::GoogleCloudStorage> {
        object_store::gcp::GoogleCloudStorageBuilder::from_env().with_url(url).with_retry(retry).build()
    }

    #[cfg(feature = "azure")]
    pub(super) fn azure(url: &str, retry: RetryConfig) -> Result<object_store::azure::MicrosoftAzure> {
        object_store::azure::MicrosoftAzureBuilder::from_env().with_url(url).with_retry(retry).build()
    }

    #[cfg(feature = "http")]
    pub(super) fn http(url: &str, retry: RetryConfig) -> Result<object_store::http::HttpStore> {
        let options = object_store::ClientOptions::new().with_allow_http(true);
        let builder = object_store::http::HttpBuilder::new().with_url(url);
        builder.with_client_options(options).with_retry(retry).build()
    }
}

pub(crate) fn writable(store: impl ObjectStore + MultipartStore) -> io::Result<Remote> {
    let store = Arc::new(store);
    Remote::new(store.clone(), Some(store))
}

fn refused(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        open(text).err().unwrap().to_string()
    }

    #[test]
    fn a_scheme_that_is_unknown_or_not_built_in_is_named() {
        let known = "use `s3://`, `gs://`, `az://`, `http://`, `https://` or `memory://`";
        assert_eq!(refusal("ftp://bucket/runs"), format!("`ftp://` is not known; {known}"));
        let off = [
            ("s3://bucket/runs", "s3", cfg!(feature = "s3")),
            ("gs://bucket/runs", "gcs", cfg!(feature = "gcs")),
            ("az://container/runs", "azure", cfg!(feature = "azure")),
            ("https://host/runs", "http", cfg!(feature = "http")),
        ];
        for (url, feature, _) in off.into_iter().filter(|(_, _, is_on)| !is_on) {
            let expected =
                format!("`{url}` needs the feature `{feature}`, without which this program was built");
            assert_eq!(refusal(url), expected);
        }
    }
}
