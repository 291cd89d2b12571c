//! Addresses of object stores.

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme, Result, RetryConfig};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long a store that does not answer is asked again: below the time that an epoch may take.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
const RETRIES: usize = 5;

/// The store and the folder at an address.
pub(super) fn store_at(address: &str) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
    let wrong = |cause: String| {
        let said = format!("checkpoint location `{address}`: {cause}");
        io::Error::new(io::ErrorKind::InvalidInput, said)
    };
    let url = url::Url::parse(address).map_err(|error| wrong(error.to_string()))?;
    let known = "name a folder, or an address that begins with s3://, gs:// or az://";
    let (scheme, folder) = ObjectStoreScheme::parse(&url)
        .map_err(|_| wrong(format!("it is of no object store we know; {known}")))?;
    let store = match scheme {
        ObjectStoreScheme::AmazonS3 => amazon(address),
        ObjectStoreScheme::GoogleCloudStorage => google(address),
        ObjectStoreScheme::MicrosoftAzure => azure(address),
        _ => return Err(wrong(format!("checkpoints cannot be kept there; {known}"))),
    };
    Ok((store.map_err(|error| wrong(error.to_string()))?, folder))
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

fn amazon(address: &str) -> Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(AmazonS3Builder::from_env().with_url(address).with_retry(retry()).build()?))
}

fn google(address: &str) -> Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(GoogleCloudStorageBuilder::from_env().with_url(address).with_retry(retry()).build()?))
}

fn azure(address: &str) -> Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(MicrosoftAzureBuilder::from_env().with_url(address).with_retry(retry()).build()?))
}
