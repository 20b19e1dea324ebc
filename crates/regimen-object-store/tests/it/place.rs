//! Where the objects of a test are, behind all faults: in memory, or in a bucket of a server.

use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use regimen_object_store::object_store;

/// A store that a process may be given.
pub(crate) trait Objects: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Objects for T {}

/// Clones are the same.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Memory(Arc<InMemory>),
    /// The name of a bucket.
    #[cfg(feature = "s3")]
    Bucket(String),
}

impl Default for Place {
    fn default() -> Self {
        Place::Memory(Arc::default())
    }
}

impl Place {
    /// A client, which one process has.
    pub(crate) fn client(&self) -> Arc<dyn Objects> {
        match self {
            Place::Memory(memory) => memory.clone(),
            #[cfg(feature = "s3")]
            Place::Bucket(name) => {
                let builder = object_store::aws::AmazonS3Builder::from_env();
                Arc::new(builder.with_bucket_name(name).build().unwrap())
            }
        }
    }

    /// The keys of all objects.
    pub(crate) fn keys(&self) -> Vec<Path> {
        let client = self.client();
        let all = wait(client.list(None).map_ok(|object| object.location).try_collect::<Vec<_>>());
        let mut keys = all.unwrap();
        keys.sort();
        keys
    }

    pub(crate) fn get(&self, key: &Path) -> Vec<u8> {
        let client = self.client();
        wait(async { client.get(key).await.unwrap().bytes().await.unwrap().to_vec() })
    }

    pub(crate) fn put(&self, key: &Path, bytes: Vec<u8>) {
        wait(self.client().put(key, bytes.into())).unwrap();
    }

    /// Removes all objects.
    #[cfg(feature = "s3")]
    pub(crate) fn clear(&self) {
        let client = self.client();
        self.keys().iter().for_each(|key| wait(client.delete(key)).unwrap());
    }
}

fn wait<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(call)
}
