//! The removal of files that no index refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, Result};

use crate::index::Index;
use crate::key::{DATA, INDEX, LOCK, child};
use crate::remote::Calls;

/// Removes the folders of data in `dir` that have no index, are not `ours`, and whose newest file is older than `age`.
///
/// Nothing is removed if an index cannot be read: its files are unknown.
pub(crate) async fn sweep(calls: Calls, dir: Path, ours: BTreeSet<String>, age: Duration) -> Result<()> {
    let data = child(&dir, DATA);
    // Before the indexes, so that those of a save between the two are seen.
    let mut folders: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for object in calls.list_all(&data).await? {
        let folder = object.location.prefix_match(&data).and_then(|mut parts| parts.next());
        if let Some(folder) = folder.map(|folder| folder.as_ref().to_owned()) {
            folders.entry(folder).or_default().push(object);
        }
    }
    folders.retain(|folder, _| !ours.contains(folder));
    if folders.is_empty() {
        return Ok(());
    }
    for object in calls.list(&dir).await?.objects {
        if object.location.filename().is_some_and(|name| name.ends_with(INDEX)) {
            let (text, _) = calls.get(&object.location).await?;
            let fault = |error: std::io::Error| Error::Generic {
                store: "regimen",
                source: format!("`{}`: {error}", object.location).into(),
            };
            folders.remove(&Index::parse(&text).map_err(fault)?.folder);
        }
    }
    // The lock was renewed a moment ago, by the clock of the server.
    let now = calls.head(&child(&dir, LOCK)).await?.last_modified;
    for objects in folders.values() {
        let newest = objects.iter().map(|object| object.last_modified).max();
        let is_old = newest.is_some_and(|newest| (now - newest).to_std().is_ok_and(|elapsed| age <= elapsed));
        if is_old {
            for object in objects {
                calls.delete(&object.location).await?;
            }
        }
    }
    Ok(())
}
