//! The lock of a run directory: an object that its holder renews.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::path::Path;
use object_store::{Error, PutMode, Result, UpdateVersion};
use regimen::checkpoint::StoreLock;
use tokio::sync::Mutex;

use crate::draft::random;
use crate::remote::{Calls, Put, Remote};

/// The right to write to a run directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    remote: Remote,
    held: Arc<Held>,
}

#[derive(Debug)]
pub(crate) struct Held {
    key: Path,
    /// Who holds it, in words.
    holder: String,
    /// Of which no two leases have the same.
    token: String,
    lease: Duration,
    /// Also keeps two renewals of this process apart.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    version: UpdateVersion,
    renewals: u64,
    renewed: Instant,
    is_lost: bool,
}

impl Lease {
    /// Acquires the lock `key`. If another process holds it and does not renew it, waits for its lease, unless
    /// `takes_over`.
    pub(crate) fn acquire(remote: &Remote, key: Path, lease: Duration, takes_over: bool) -> io::Result<Self> {
        let (holder, token) = (format!("process {} on {}", std::process::id(), host()), random());
        let put = |mode: PutMode| {
            let (key, text) = (key.clone(), render(&holder, &token, lease, 0));
            remote.call(|calls| async move { calls.put_if(&key, text, mode).await })
        };
        let (mut done, mut other) = (put(PutMode::Create)?, String::new());
        if let Put::Refused = done {
            let found = wait(remote, &key, lease, takes_over)?;
            (done, other) = (put(PutMode::Update(found.version))?, found.text);
        }
        let Put::Done(version) = done else { return Err(refusal(&other)) };
        let state = State { version, renewals: 0, renewed: Instant::now(), is_lost: false };
        let held = Arc::new(Held { key, holder, token, lease, state: Mutex::new(state) });
        let (calls, renewed) = (remote.calls.clone(), Arc::downgrade(&held));
        remote.spawn(async move {
            loop {
                tokio::time::sleep(lease / 3).await;
                let Some(held) = renewed.upgrade() else { return };
                // A failure is seen by the next save, which tries again.
                drop(held.renew(&calls).await);
            }
        });
        Ok(Lease { remote: remote.clone(), held })
    }

    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }
}

impl StoreLock for Lease {
    fn renew(&self) -> io::Result<()> {
        let held = Arc::clone(&self.held);
        verdict(self.remote.call(|calls| async move { held.is_held(&calls).await })?)
    }
}

/// Renews the lock before a commit: what a process that was stopped believes about it is not enough.
/// `None` is one that was released.
pub(crate) fn renew(remote: &Remote, held: Option<Arc<Held>>) -> io::Result<()> {
    let Some(held) = held else { return verdict(false) };
    verdict(remote.call(|calls| async move { held.renew(&calls).await })?)
}

/// Ends a lock that another lease of this process has taken over.
pub(crate) fn lose(remote: &Remote, held: Arc<Held>) -> io::Result<()> {
    remote.call(|_| async move {
        held.state.lock().await.is_lost = true;
        Ok(())
    })
}

fn verdict(is_held: bool) -> io::Result<()> {
    let lost = "another writer has taken over the lock `LOCK` of the run directory";
    if is_held { Ok(()) } else { Err(io::Error::new(ErrorKind::WouldBlock, lost)) }
}

impl Held {
    /// Whether it is held, for all that is known. Renews it if that is old.
    async fn is_held(&self, calls: &Calls) -> Result<bool> {
        let (is_lost, age) = {
            let state = self.state.lock().await;
            (state.is_lost, state.renewed.elapsed())
        };
        if is_lost || age < self.lease / 2 { Ok(!is_lost) } else { self.renew(calls).await }
    }

    /// Renews it. Returns whether it is held.
    async fn renew(&self, calls: &Calls) -> Result<bool> {
        let mut state = self.state.lock().await;
        if state.is_lost {
            return Ok(false);
        }
        // Before the call: the others may see it from then on.
        let now = Instant::now();
        // Counted also if it fails: it may arrive later, and must then differ from the next.
        state.renewals += 1;
        let text = render(&self.holder, &self.token, self.lease, state.renewals);
        let put = match calls.put_if(&self.key, text.clone(), PutMode::Update(state.version.clone())).await {
            // Somebody has removed it.
            Err(Error::NotFound { .. }) => calls.put_if(&self.key, text, PutMode::Create).await?,
            put => put?,
        };
        match put {
            Put::Done(version) => (state.version, state.renewed) = (version, now),
            Put::Refused => match self.find_own(calls).await? {
                Some(version) => (state.version, state.renewed) = (version, now),
                None => state.is_lost = true,
            },
        }
        Ok(!state.is_lost)
    }

    /// The version of the lock as it is, if it is one of ours: an earlier renewal may have arrived unheard.
    async fn find_own(&self, calls: &Calls) -> Result<Option<UpdateVersion>> {
        let (found, version) = calls.get(&self.key).await?;
        let is_own = String::from_utf8_lossy(&found).contains(&format!("token {}\n", self.token));
        Ok(is_own.then_some(version))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let held = Arc::clone(&self.held);
        // If this fails, the next writer waits for the lease.
        let _ = self.remote.call(|mut calls| async move {
            calls.tries = 1;
            let mut state = held.state.lock().await;
            if !state.is_lost {
                state.is_lost = true;
                let text = format!("{TITLE}released {}\n", held.token).into();
                calls.put_if(&held.key, text, PutMode::Update(state.version.clone())).await?;
            }
            Ok(())
        });
    }
}

const TITLE: &str = "regimen lock 1\n";

fn render(holder: &str, token: &str, lease: Duration, renewals: u64) -> Vec<u8> {
    let lease = lease.as_millis();
    format!("{TITLE}holder {holder}\ntoken {token}\nlease {lease}\nrenewals {renewals}\n").into()
}

/// A lock as it was found.
struct Found {
    text: String,
    version: UpdateVersion,
}

impl Found {
    fn get(remote: &Remote, key: &Path) -> io::Result<Self> {
        let key = key.clone();
        let (text, version) = remote.call(|calls| async move { calls.get(&key).await })?;
        Ok(Found { text: String::from_utf8_lossy(&text).into_owned(), version })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    }
}

/// Waits until the lock at `key` can be taken, and returns it. It is an error if its holder lives.
fn wait(remote: &Remote, key: &Path, own: Duration, takes_over: bool) -> io::Result<Found> {
    let (first, begun) = (Found::get(remote, key)?, Instant::now());
    // A damaged lock is taken for one like ours.
    let lease = first.field("lease").and_then(|lease| lease.parse().ok()).map_or(own, Duration::from_millis);
    let mut found = first;
    while !takes_over && found.field("released").is_none() && begun.elapsed() < lease {
        std::thread::sleep((lease / 20).clamp(Duration::from_millis(1), Duration::from_secs(1)));
        let next = Found::get(remote, key)?;
        if next.version != found.version && next.field("released").is_none() {
            return Err(refusal(&next.text));
        }
        found = next;
    }
    Ok(found)
}

fn refusal(text: &str) -> io::Error {
    let holder = text.lines().find_map(|line| line.strip_prefix("holder ")).unwrap_or("another process");
    let text = format!("{holder} writes to it; a run directory has one writer at a time");
    io::Error::new(ErrorKind::WouldBlock, text)
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("COMPUTERNAME").ok()).unwrap_or_default();
    let name: String = name.trim().chars().filter(|char| !char.is_control()).collect();
    if name.is_empty() { "this machine".to_owned() } else { name }
}
