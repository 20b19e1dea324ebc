//! Calls of the store: each is tried again, and waited for on the calling thread.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, ListResult, MultipartId, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    Result, UpdateVersion,
};
use tokio::runtime::Runtime;

use crate::message::message;

/// A store and the threads that talk to it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) calls: Calls,
    threads: Arc<Threads>,
}

/// The calls, each tried again.
#[derive(Clone)]
pub(crate) struct Calls {
    objects: Arc<dyn ObjectStore>,
    /// `None` if the store can only be read.
    parts: Option<Arc<dyn MultipartStore>>,
    pub(crate) tries: u32,
    pub(crate) pause: Duration,
}

/// The result of a put under a condition.
#[derive(Debug)]
pub(crate) enum Put {
    Done(UpdateVersion),
    /// Another object is there.
    Refused,
}

/// A call under way.
pub(crate) struct Pending<T>(Receiver<io::Result<T>>);

struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // An ordinary drop waits, and panics inside another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Remote {
    pub(crate) fn new(
        objects: Arc<dyn ObjectStore>,
        parts: Option<Arc<dyn MultipartStore>>,
    ) -> io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_name("regimen-object-store").enable_all().build()?;
        let calls = Calls { objects, parts, tries: 4, pause: Duration::from_millis(200) };
        Ok(Remote { calls, threads: Arc::new(Threads(Some(runtime))) })
    }

    /// Begins a call. Unlike `block_on` this is allowed inside another runtime.
    pub(crate) fn begin<T, F>(&self, call: impl FnOnce(Calls) -> F) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (sender, receiver) = sync_channel(1);
        let call = call(self.calls.clone());
        self.spawn(async move { drop(sender.send(call.await.map_err(to_io))) });
        Pending(receiver)
    }

    /// Makes a call, and waits for its result.
    pub(crate) fn call<T, F>(&self, call: impl FnOnce(Calls) -> F) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.begin(call).wait()
    }

    /// Does `work` in the background, until this is dropped.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.threads.0 {
            drop(runtime.spawn(work));
        }
    }

    /// Whether files can be written.
    pub(crate) fn is_writable(&self) -> bool {
        self.calls.parts.is_some()
    }
}

impl<T> Pending<T> {
    pub(crate) fn wait(self) -> io::Result<T> {
        self.0.recv().unwrap_or_else(|_| Err(io::Error::other("the call was given up")))
    }
}

impl Calls {
    pub(crate) async fn list(&self, dir: &Path) -> Result<ListResult> {
        self.retried(|| self.objects.list_with_delimiter(Some(dir))).await
    }

    /// Every object below `dir`.
    pub(crate) async fn list_all(&self, dir: &Path) -> Result<Vec<ObjectMeta>> {
        self.retried(|| self.objects.list(Some(dir)).try_collect::<Vec<_>>()).await
    }

    pub(crate) async fn head(&self, key: &Path) -> Result<ObjectMeta> {
        self.retried(|| self.objects.head(key)).await
    }

    /// A small object, and the version of it that was read.
    pub(crate) async fn get(&self, key: &Path) -> Result<(Vec<u8>, UpdateVersion)> {
        let get = || async {
            let found = self.objects.get(key).await?;
            let version =
                UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            Ok((found.bytes().await?.to_vec(), version))
        };
        self.retried(get).await
    }

    pub(crate) async fn get_range(&self, key: &Path, range: Range<u64>) -> Result<Vec<u8>> {
        let bytes = self.retried(|| self.objects.get_range(key, range.clone())).await?;
        Ok(bytes.to_vec())
    }

    /// A range of the version of an object that `meta` has found. It is an error if it has another by now.
    pub(crate) async fn get_part(&self, meta: &ObjectMeta, range: Range<u64>) -> Result<Vec<u8>> {
        let get = || async {
            let options = GetOptions::new().with_range(Some(range.clone())).with_if_match(meta.e_tag.clone());
            let found = self.objects.get_opts(&meta.location, options).await?;
            // A server without ETags may also ignore other conditions.
            if (&found.meta.e_tag, found.meta.last_modified) != (&meta.e_tag, meta.last_modified) {
                let (path, source) = (meta.location.to_string(), "it was replaced while it was open".into());
                return Err(Error::Precondition { path, source });
            }
            found.bytes().await
        };
        Ok(self.retried(get).await?.to_vec())
    }

    /// Puts an object under a key that nobody else uses.
    pub(crate) async fn put(&self, key: &Path, bytes: PutPayload) -> Result<()> {
        self.retried(|| self.objects.put(key, bytes.clone())).await.map(drop)
    }

    /// Puts an object of which no other has the same bytes, if the condition `mode` holds.
    ///
    /// After an error it may be there.
    pub(crate) async fn put_if(&self, key: &Path, bytes: Vec<u8>, mode: PutMode) -> Result<Put> {
        let put = || self.objects.put_opts(key, bytes.clone().into(), mode.clone().into());
        let (mut pause, mut tries) = (self.pause, 1..self.tries);
        loop {
            let refused = match self.retried(put).await {
                Ok(put) => return Ok(Put::Done(put.into())),
                Err(refused @ (Error::AlreadyExists { .. } | Error::Precondition { .. })) => refused,
                Err(error) => return Err(error),
            };
            // An earlier try may have put it, and its answer was lost.
            match self.get(key).await {
                Ok((found, version)) if found == bytes => return Ok(Put::Done(version)),
                Ok(_) => return Ok(Put::Refused),
                // S3 refuses a new object while another put of it is on its way, such as an earlier try.
                Err(Error::NotFound { .. }) if mode == PutMode::Create => {
                    tries.next().ok_or(refused)?;
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Copies an object on the server.
    pub(crate) async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        self.retried(|| self.objects.copy(from, to)).await
    }

    /// Deletes an object, which need not exist.
    pub(crate) async fn delete(&self, key: &Path) -> Result<()> {
        match self.retried(|| self.objects.delete(key)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            deleted => deleted,
        }
    }

    pub(crate) async fn begin_parts(&self, key: &Path) -> Result<MultipartId> {
        let parts = self.parts()?;
        self.retried(|| parts.create_multipart(key)).await
    }

    pub(crate) async fn put_part(
        &self,
        key: &Path,
        id: &MultipartId,
        n: usize,
        bytes: PutPayload,
    ) -> Result<PartId> {
        let parts = self.parts()?;
        self.retried(|| parts.put_part(key, id, n, bytes.clone())).await
    }

    /// Makes an object of `length` bytes of the parts.
    pub(crate) async fn end_parts(
        &self,
        key: &Path,
        id: &MultipartId,
        all: Vec<PartId>,
        length: u64,
    ) -> Result<()> {
        let parts = self.parts()?;
        let version = |meta: ObjectMeta| (meta.e_tag, meta.version, meta.last_modified);
        let former = match self.head(key).await {
            Err(Error::NotFound { .. }) => None,
            found => Some(version(found?)),
        };
        let complete = || async {
            let Err(error) = parts.complete_multipart(key, id, all.clone()).await else { return Ok(()) };
            // If an earlier try has made it, the upload is not known any more.
            match self.objects.head(key).await {
                Ok(found) if found.size == length && Some(version(found.clone())) != former => Ok(()),
                _ => Err(error),
            }
        };
        self.retried(complete).await
    }

    pub(crate) async fn abort_parts(&self, key: &Path, id: &MultipartId) -> Result<()> {
        self.parts()?.abort_multipart(key, id).await
    }

    fn parts(&self) -> Result<&Arc<dyn MultipartStore>> {
        let unsupported = || Error::NotSupported { source: "this store can only be read".into() };
        self.parts.as_ref().ok_or_else(unsupported)
    }

    /// Makes a call, again after a failure that may pass.
    async fn retried<T, F: Future<Output = Result<T>>>(&self, call: impl Fn() -> F) -> Result<T> {
        let mut pause = self.pause;
        for _ in 1..self.tries {
            match call().await {
                Err(Error::Generic { .. }) => tokio::time::sleep(pause).await,
                made => return made,
            }
            pause *= 2;
        }
        call().await
    }
}

/// The same error as those of a disk.
fn to_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::NotFound { .. } => ErrorKind::NotFound,
        Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => ErrorKind::PermissionDenied,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => ErrorKind::Unsupported,
        Error::InvalidPath { .. } => ErrorKind::InvalidInput,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, message(&error.to_string()))
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the store: its settings hold credentials.
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}
