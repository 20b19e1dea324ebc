//! A store that fails, dies, and loses its answers.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use regimen_object_store::object_store;

use crate::place::{Objects, Place};

/// What happens at one call, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// It fails, and has done nothing.
    Fails(u64),
    /// It is done, and its answer is lost.
    LosesAnswer(u64),
    /// It is given up, and is done later: before the third call after it.
    IsLate(u64),
    /// The process dies before it: it and all later calls do nothing.
    DiesBefore(u64),
    /// The process dies after it was done.
    DiesAfter(u64),
    /// It waits for [`Flaky::go_on`] before it is done.
    Waits(u64),
    /// A put of a new object is refused for another that is on its way and never arrives.
    Conflicts(u64),
    /// No upload in parts is completed.
    CompletesNothing,
    /// Objects have no ETag, and conditions on the version to read are ignored.
    NoETag,
    /// The same, without a time of the last change.
    NoVersion,
    None,
}

impl Fault {
    /// Whether a call that is late is done before the call `n`.
    fn is_over_at(self, n: u64) -> bool {
        matches!(self, Fault::IsLate(at) if at + 3 <= n)
    }
}

/// The view that one process has of a store.
#[derive(Clone)]
pub(crate) struct Flaky {
    inner: Arc<dyn Objects>,
    calls: Arc<AtomicU64>,
    fault: Fault,
    /// The call that is late.
    late: Arc<Mutex<Option<BoxFuture<'static, ()>>>>,
    /// Whether the call that waits has begun, and whether it may go on.
    waits: Arc<(Mutex<(bool, bool)>, Condvar)>,
}

impl Flaky {
    pub(crate) fn new(place: &Place, fault: Fault) -> Self {
        Flaky {
            inner: place.client(),
            calls: Arc::default(),
            fault,
            late: Arc::default(),
            waits: Arc::default(),
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Waits until the call that waits has begun.
    pub(crate) fn wait(&self) {
        let (state, changed) = &*self.waits;
        drop(changed.wait_while(state.lock().unwrap(), |(begun, _)| !*begun).unwrap());
    }

    /// Lets the call that waits go on.
    pub(crate) fn go_on(&self) {
        let (state, changed) = &*self.waits;
        state.lock().unwrap().1 = true;
        changed.notify_all();
    }

    /// As a store of checkpoints whose calls are tried so many times.
    pub(crate) fn store(&self, tries: u32) -> regimen_object_store::ObjectStore {
        let store = regimen_object_store::ObjectStore::over(self.clone()).unwrap();
        let store = store.tries(tries, Duration::ZERO).part_bytes(100).sweep_after(Duration::ZERO);
        // No renewal comes between, so that the calls are the same each time.
        store.lease(Duration::from_secs(3600)).take_over()
    }

    async fn get(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let (inner, key) = (self.inner.clone(), key.clone());
        self.call(async move { inner.get_opts(&key, options).await }).await
    }

    async fn call<T: 'static>(&self, call: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let n = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.fault.is_over_at(n)
            && let Some(late) = { self.late.lock().unwrap().take() }
        {
            late.await;
        }
        let fault = |text: &str| Err(Error::Generic { store: "flaky", source: text.into() });
        match self.fault {
            Fault::Fails(at) if at == n => fault("it failed"),
            Fault::IsLate(at) if at == n => {
                *self.late.lock().unwrap() = Some(call.map(drop).boxed());
                fault("it took too long")
            }
            Fault::DiesBefore(at) if at <= n => fault("the process is dead"),
            Fault::DiesAfter(at) if at < n => fault("the process is dead"),
            Fault::Waits(at) if at == n => {
                let (state, changed) = &*self.waits;
                state.lock().unwrap().0 = true;
                changed.notify_all();
                drop(changed.wait_while(state.lock().unwrap(), |(_, goes_on)| !*goes_on).unwrap());
                call.await
            }
            Fault::LosesAnswer(at) | Fault::DiesAfter(at) if at == n => {
                drop(call.await);
                fault("the answer was lost")
            }
            _ => call.await,
        }
    }
}

impl fmt::Debug for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flaky").field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flaky store")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, key: &Path, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        let conflicts = options.mode == PutMode::Create && self.fault == Fault::Conflicts(self.calls());
        let conflict =
            || Error::AlreadyExists { path: key.to_string(), source: "another is on its way".into() };
        let conflict = conflicts.then(conflict);
        let (inner, key) = (self.inner.clone(), key.clone());
        let put = async move {
            match conflict {
                Some(conflict) => Err(conflict),
                None => inner.put_opts(&key, bytes, options).await,
            }
        };
        self.call(put).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("parts are put by their numbers")
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        if !matches!(self.fault, Fault::NoETag | Fault::NoVersion) {
            return self.get(key, options).await;
        }
        let options = GetOptions { if_match: None, if_unmodified_since: None, ..options };
        let mut found = self.get(key, options).await?;
        found.meta.e_tag = None;
        if self.fault == Fault::NoVersion {
            found.meta.last_modified = Default::default();
        }
        Ok(found)
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let flaky = self.clone();
        let delete = move |key: Result<Path>| {
            let flaky = flaky.clone();
            async move {
                let key = key?;
                let (inner, doomed) = (flaky.inner.clone(), key.clone());
                flaky.call(async move { inner.delete(&doomed).await }).await?;
                Ok::<_, Error>(key)
            }
        };
        keys.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (flaky, prefix) = (self.clone(), prefix.cloned());
        let list = async move {
            let inner = flaky.inner.clone();
            let list = async move { inner.list(prefix.as_ref()).try_collect::<Vec<_>>().await };
            let all = flaky.call(list).await?;
            Ok::<_, Error>(futures_util::stream::iter(all.into_iter().map(Ok)))
        };
        futures_util::stream::once(list).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (inner, prefix) = (self.inner.clone(), prefix.cloned());
        self.call(async move { inner.list_with_delimiter(prefix.as_ref()).await }).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (inner, from, to) = (self.inner.clone(), from.clone(), to.clone());
        self.call(async move { inner.copy_opts(&from, &to, options).await }).await
    }
}

#[async_trait::async_trait]
impl MultipartStore for Flaky {
    async fn create_multipart(&self, key: &Path) -> Result<MultipartId> {
        let (inner, key) = (self.inner.clone(), key.clone());
        self.call(async move { inner.create_multipart(&key).await }).await
    }

    async fn put_part(&self, key: &Path, id: &MultipartId, n: usize, bytes: PutPayload) -> Result<PartId> {
        let (inner, key, id) = (self.inner.clone(), key.clone(), id.clone());
        self.call(async move { inner.put_part(&key, &id, n, bytes).await }).await
    }

    async fn complete_multipart(
        &self,
        key: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        if self.fault == Fault::CompletesNothing {
            let source = "the upload is not known".into();
            return Err(Error::NotFound { path: key.to_string(), source });
        }
        let (inner, key, id) = (self.inner.clone(), key.clone(), id.clone());
        self.call(async move { inner.complete_multipart(&key, &id, parts).await }).await
    }

    async fn abort_multipart(&self, key: &Path, id: &MultipartId) -> Result<()> {
        let (inner, key, id) = (self.inner.clone(), key.clone(), id.clone());
        self.call(async move { inner.abort_multipart(&key, &id).await }).await
    }
}
