//! An object store as a store of checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use object_store::PutMode;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use regimen::checkpoint::{NewFile, OpenFile, Store, StoreEntry, StoreLock};

use crate::download::Download;
use crate::draft::Draft;
use crate::index::{File, Index};
use crate::key::{DATA, INDEX, LOCK, Place, child, key, place};
use crate::lease::{self, Held, Lease};
use crate::remote::{Put, Remote};
use crate::sweep::sweep;
use crate::upload::Upload;
use crate::url;

/// A bucket, or a prefix in it, as a [`Store`] of checkpoints. The [crate](crate) describes the layout.
///
/// Clones are the same store, with the same directories that are being written.
///
/// ```
/// use std::sync::Arc;
///
/// use regimen::checkpoint::{Checkpoints, Snapshot, Which, Writer};
/// use regimen_object_store::ObjectStore;
///
/// let store = Arc::new(ObjectStore::open("memory://")?);
/// let mut writer = Writer::open_on(store.clone(), "digits", "run-1")?;
/// writer.save(&Snapshot { step: 500, ..Snapshot::default() })?;
/// let found = Checkpoints::on(store, "digits").load(Which::Latest)?;
/// assert_eq!(found.map(|found| found.checkpoint.manifest().step), Some(500));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone)]
pub struct ObjectStore {
    remote: Remote,
    prefix: Path,
    /// The URL, or the name of the store.
    name: String,
    part_bytes: usize,
    lease: Duration,
    takes_over: bool,
    sweep_after: Duration,
    local: Arc<Mutex<Local>>,
}

/// The part that is known to this process only.
#[derive(Debug, Default)]
struct Local {
    drafts: BTreeMap<Place, Draft>,
    /// The locks by their directories.
    locks: BTreeMap<Path, Weak<Held>>,
}

impl ObjectStore {
    /// Opens a store by its URL. Nothing is read yet.
    ///
    /// | URL | store | credentials |
    /// |---|---|---|
    /// | `s3://bucket/prefix` | S3 and compatible ones | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, and `AWS_ALLOW_HTTP=true` without TLS; otherwise the role of the machine |
    /// | `gs://bucket/prefix` | Google Cloud Storage | `GOOGLE_APPLICATION_CREDENTIALS`, `GOOGLE_SERVICE_ACCOUNT`; otherwise the account of the machine |
    /// | `az://container/prefix` | Azure Blob Storage | `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY` and others; otherwise the identity of the machine |
    /// | `http://host/prefix`, `https://host/prefix` | a web server, to read files from; checkpoints are found on a WebDAV server only | none |
    /// | `memory://` | the memory of this process, empty | none |
    ///
    /// It is an error if the URL is not one of these or has credentials in it, and if a variable cannot be used.
    pub fn open(url: &str) -> io::Result<Self> {
        let (remote, prefix) = url::open(url)?;
        Ok(ObjectStore::new(remote, prefix, url.to_owned()))
    }

    /// Opens the store of a URL at its root, and returns the path in it that the URL names.
    ///
    /// ```
    /// use regimen_object_store::ObjectStore;
    ///
    /// let (store, path) = ObjectStore::locate("memory:///runs/digits")?;
    /// assert_eq!(path, std::path::Path::new("runs/digits"));
    /// # drop(store);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn locate(url: &str) -> io::Result<(Self, PathBuf)> {
        let (remote, path) = url::open(url)?;
        Ok((ObjectStore::new(remote, Path::default(), url.to_owned()), path.as_ref().into()))
    }

    /// Any store of the crate [`object_store`], from its root.
    pub fn over(store: impl object_store::ObjectStore + MultipartStore) -> io::Result<Self> {
        let name = store.to_string();
        Ok(ObjectStore::new(url::writable(store)?, Path::default(), name))
    }

    fn new(remote: Remote, prefix: Path, name: String) -> Self {
        ObjectStore {
            remote,
            prefix,
            name,
            part_bytes: 16 << 20,
            lease: Duration::from_secs(30),
            takes_over: false,
            sweep_after: Duration::from_secs(60 * 60),
            local: Arc::default(),
        }
    }

    /// Bytes per part of an upload. Default: 16 MiB, which is enough for files of 160 GB. S3 refuses parts of less than
    /// 5 MiB.
    pub fn part_bytes(mut self, bytes: usize) -> Self {
        self.part_bytes = bytes.max(1);
        self
    }

    /// Tries per call, and the pause after the first, which doubles each time. Default: 4, and 200 ms. The clients of
    /// S3, GCS, Azure and HTTP make up to 5 requests per try, for up to a minute.
    pub fn tries(mut self, tries: u32, pause: Duration) -> Self {
        (self.remote.calls.tries, self.remote.calls.pause) = (tries, pause);
        self
    }

    /// Time after which a lock that is not renewed may be taken. Default: 30 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_millis(3));
        self
    }

    /// Takes a lock without waiting for its lease. The caller knows that its holder has ended, as a scheduler does that
    /// starts a job again. A holder that lives finds out at its next commit, which is an error.
    pub fn take_over(mut self) -> Self {
        self.takes_over = true;
        self
    }

    /// Age of files without an index from which the next writer removes them. Default: one hour. It must be longer than
    /// a save takes.
    pub fn sweep_after(mut self, age: Duration) -> Self {
        self.sweep_after = age;
        self
    }

    /// Reads a whole object, such as a log, as it is.
    pub fn read(&self, path: impl AsRef<FilePath>) -> io::Result<Vec<u8>> {
        let key = key(&self.prefix, path.as_ref())?;
        self.remote.call(|calls| async move { Ok(calls.get(&key).await?.0) })
    }

    pub(crate) fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Distinguishes it from other stores.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// A file that is to be uploaded under `key`.
    pub(crate) fn upload(
        &self,
        key: Path,
        uploaded: impl FnOnce(File) + Send + 'static,
    ) -> io::Result<Upload> {
        if !self.remote.is_writable() {
            return Err(io::Error::new(ErrorKind::Unsupported, "this store can only be read"));
        }
        Ok(Upload::new(self.remote.clone(), key, self.part_bytes, uploaded))
    }

    fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, path: &FilePath) -> io::Result<Place> {
        place(&self.prefix, path)?.ok_or_else(|| ErrorKind::InvalidInput.into())
    }

    /// The directory that holds a file, and the file's name.
    fn file(&self, path: &FilePath) -> io::Result<(Place, String)> {
        let file = self.place(path)?;
        let dir = path.parent().ok_or(ErrorKind::InvalidInput)?;
        Ok((self.place(dir)?, file.name))
    }

    fn index(&self, dir: &Place) -> io::Result<Index> {
        let key = dir.index();
        let (text, _) = self.remote.call(|calls| async move { calls.get(&key).await })?;
        Index::parse(&text)
    }

    fn delete(&self, key: Path) -> io::Result<()> {
        self.remote.call(|calls| async move { calls.delete(&key).await })
    }

    /// The entries of a directory that has no index.
    fn list_plain(&self, dir: &Path) -> io::Result<Vec<StoreEntry>> {
        let key = dir.clone();
        let found = self.remote.call(|calls| async move { calls.list(&key).await })?;
        let mut entries = BTreeMap::new();
        for object in &found.objects {
            let name = object.location.filename().unwrap_or_default();
            match name.strip_suffix(INDEX) {
                Some(name) => entries.insert(name.to_owned(), true),
                None => entries.insert(name.to_owned(), false),
            };
        }
        let folders = found.common_prefixes.iter().filter_map(Path::filename).filter(|name| *name != DATA);
        entries.extend(folders.map(|name| (name.to_owned(), true)));
        let drafts = self.local();
        let drafts = drafts.drafts.keys().filter(|draft| draft.parent == *dir);
        entries.extend(drafts.map(|draft| (draft.name.clone(), true)));
        Ok(entries.into_iter().map(|(name, is_dir)| StoreEntry { name, is_dir }).collect())
    }

    /// Renews a lock, if there is one. It is an error if it is held no more.
    fn renew(&self, lock: Option<&Weak<Held>>) -> io::Result<()> {
        lock.map_or(Ok(()), |lock| lease::renew(&self.remote, lock.upgrade()))
    }

    /// Makes the draft `from` the directory `to`.
    fn publish(&self, from: &Place, to: &Place) -> io::Result<()> {
        let lock = self.local().draft(from)?.lock.clone();
        self.renew(lock.as_ref())?;
        let text = self.local().draft(from)?.index()?.render();
        // Until it is known whether it is there.
        self.local().draft(from)?.is_in_doubt = true;
        let key = to.index();
        let put =
            self.remote.call(|calls| async move { calls.put_if(&key, text.into(), PutMode::Create).await });
        match put? {
            Put::Done(_) => {
                // The put may have taken longer than the lease. The index is then left to the one that took the lock.
                self.renew(lock.as_ref())?;
                self.local().drafts.remove(from);
                Ok(())
            }
            Put::Refused => {
                self.local().draft(from)?.is_in_doubt = false;
                Err(ErrorKind::DirectoryNotEmpty.into())
            }
        }
    }

    /// Makes the directory `from` the draft `to`.
    fn unpublish(&self, from: &Place, to: Place) -> io::Result<()> {
        let index = self.index(from)?;
        let lock = self.local().lock(&from.parent);
        self.renew(lock.as_ref())?;
        self.delete(from.index())?;
        self.local().drafts.insert(to, Draft::of(index));
        Ok(())
    }
}

impl Local {
    /// The lock of a directory, if a writer of this process has it.
    fn lock(&self, dir: &Path) -> Option<Weak<Held>> {
        self.locks.get(dir).filter(|lock| lock.strong_count() != 0).cloned()
    }

    fn draft(&mut self, place: &Place) -> io::Result<&mut Draft> {
        self.drafts.get_mut(place).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn entries<T>(files: BTreeMap<String, T>) -> Vec<StoreEntry> {
    files.into_keys().map(|name| StoreEntry { name, is_dir: false }).collect()
}

impl Store for ObjectStore {
    fn list(&self, dir: &FilePath) -> io::Result<Vec<StoreEntry>> {
        let Some(place) = place(&self.prefix, dir)? else { return self.list_plain(&self.prefix) };
        if place.is_draft() {
            return Ok(entries(self.local().draft(&place)?.files.clone()));
        }
        let plain = self.list_plain(&place.key())?;
        if !plain.is_empty() {
            return Ok(plain);
        }
        match self.index(&place) {
            // It exists, as every directory does.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(plain),
            index => Ok(entries(index?.files)),
        }
    }

    /// Makes a draft. Any other directory exists already.
    fn create_dir(&self, dir: &FilePath) -> io::Result<()> {
        let Some(place) = place(&self.prefix, dir)? else { return Err(ErrorKind::AlreadyExists.into()) };
        let mut local = self.local();
        if !place.is_draft() || local.drafts.contains_key(&place) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let draft = Draft::new(&place.name, local.lock(&place.parent));
        local.drafts.insert(place, draft);
        Ok(())
    }

    fn create(&self, file: &FilePath) -> io::Result<Box<dyn NewFile>> {
        let (dir, name) = self.file(file)?;
        let mut local = self.local();
        let draft = local.draft(&dir)?;
        if draft.files.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        draft.files.insert(name.clone(), None);
        let (key, local) = (dir.data(&draft.folder, &name), Arc::clone(&self.local));
        let uploaded = move |file: File| {
            let mut local = local.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(draft) = local.draft(&dir) {
                draft.files.insert(name, Some(file));
            }
        };
        Ok(Box::new(self.upload(key, uploaded)?))
    }

    fn open(&self, file: &FilePath) -> io::Result<OpenFile> {
        let (dir, name) = self.file(file)?;
        let index = if dir.is_draft() { self.local().draft(&dir)?.index() } else { self.index(&dir) }?;
        let file = *index.files.get(&name).ok_or(ErrorKind::NotFound)?;
        let key = dir.data(&index.folder, &name);
        Ok(OpenFile { length: file.length, bytes: Box::new(Download::new(self.remote.clone(), key, file)) })
    }

    /// One of the two is a draft, in the same directory as the other.
    fn rename(&self, from: &FilePath, to: &FilePath) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        match (from.is_draft(), to.is_draft()) {
            _ if from.parent != to.parent => Err(ErrorKind::CrossesDevices.into()),
            (_, true) if self.local().drafts.contains_key(&to) => Err(ErrorKind::DirectoryNotEmpty.into()),
            (true, false) => self.publish(&from, &to),
            (false, true) => self.unpublish(&from, to),
            (true, true) => {
                let mut local = self.local();
                let draft = local.drafts.remove(&from).ok_or(ErrorKind::NotFound)?;
                local.drafts.insert(to, draft);
                Ok(())
            }
            (false, false) => {
                let why =
                    "an object store renames only from or to a name that begins with `.tmp-` or `.del-`";
                Err(io::Error::new(ErrorKind::Unsupported, why))
            }
        }
    }

    /// Does nothing: what the server has acknowledged is durable.
    fn sync_dir(&self, dir: &FilePath) -> io::Result<()> {
        key(&self.prefix, dir).map(drop)
    }

    /// Removes a file of a draft.
    fn remove_file(&self, file: &FilePath) -> io::Result<()> {
        let (dir, name) = self.file(file)?;
        let doomed = {
            let mut local = self.local();
            let draft = local.draft(&dir)?;
            if !draft.files.contains_key(&name) {
                return Err(ErrorKind::NotFound.into());
            }
            (!draft.is_in_doubt).then(|| dir.data(&draft.folder, &name))
        };
        doomed.map_or(Ok(()), |key| self.delete(key))?;
        self.local().draft(&dir)?.files.remove(&name);
        Ok(())
    }

    /// Removes an empty draft.
    fn remove_dir(&self, dir: &FilePath) -> io::Result<()> {
        let place = self.place(dir)?;
        let mut local = self.local();
        if !local.draft(&place)?.files.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        local.drafts.remove(&place);
        Ok(())
    }

    fn lock(&self, dir: &FilePath) -> io::Result<Option<Box<dyn StoreLock>>> {
        if place(&self.prefix, dir)?.is_some_and(|place| !place.is_run()) {
            let why = "the names `.data`, `.tmp-...` and `.del-...` are those of checkpoints in parts; choose another";
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        let dir = key(&self.prefix, dir)?;
        let lease = Lease::acquire(&self.remote, child(&dir, LOCK), self.lease, self.takes_over)?;
        let former = self.local().locks.insert(dir, Arc::downgrade(lease.held()));
        if let Some(former) = former.and_then(|former| former.upgrade()) {
            lease::lose(&self.remote, former)?;
        }
        Ok(Some(Box::new(lease)))
    }

    /// Removes old files that no index refers to, if this process holds the lock.
    fn sweep(&self, dir: &FilePath) -> io::Result<()> {
        let (dir, age) = (key(&self.prefix, dir)?, self.sweep_after);
        let ours: BTreeSet<_> = {
            let local = self.local();
            if local.lock(&dir).is_none() {
                return Ok(());
            }
            local.drafts.values().map(|draft| draft.folder.clone()).collect()
        };
        self.remote.call(|calls| sweep(calls, dir, ours, age))
    }
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client, whose settings hold credentials.
        f.debug_struct("ObjectStore").field("name", &self.name).finish_non_exhaustive()
    }
}
