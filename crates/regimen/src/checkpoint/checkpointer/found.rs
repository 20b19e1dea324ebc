//! The checkpoint to restore, the same on all ranks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use regimen_core::BoxError;
use regimen_core::error::WithCauses;
use regimen_core::peers::{AgreedError, Peers};
use regimen_core::run::Which;
use regimen_core::saved::{Array, StateDict};

use super::settings::Settings;
use crate::checkpoint::{LoadedCheckpoint, Manifest};

/// A checkpoint that was selected, whole and checked.
pub(super) struct Found {
    /// Its path, on the file system of rank 0.
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) parts: BTreeMap<String, StateDict>,
    /// The damaged ones that were passed over.
    pub(super) skipped: Vec<String>,
}

impl Found {
    /// The checkpoint that `which` selects. Returns `None` if the latest is asked for and there is none. Rank 0 reads
    /// it and sends it to the others, or its error.
    pub(super) fn find(
        settings: &Settings,
        which: Which<'_>,
        peers: Option<&dyn Peers>,
    ) -> Result<Option<Self>, BoxError> {
        match peers {
            None => Found::read(settings, which),
            Some(peers) if peers.rank().is_first() => Found::send(Found::read(settings, which), peers),
            Some(peers) => Found::send(Ok(None), peers),
        }
    }

    fn read(settings: &Settings, which: Which<'_>) -> Result<Option<Self>, BoxError> {
        let found = settings.checkpoints().load(which)?;
        let dir = settings.dir.display();
        match (found, which, &settings.best) {
            (Some(LoadedCheckpoint { checkpoint, content, skipped }), ..) => Ok(Some(Found {
                path: checkpoint.path().to_owned(),
                manifest: checkpoint.manifest().clone(),
                parts: content,
                skipped: skipped.iter().map(ToString::to_string).collect(),
            })),
            (None, Which::Step(step), _) => Err(format!("`{dir}` has no checkpoint of step {step}").into()),
            (None, Which::Best, Some((metric, _))) => {
                Err(format!("no checkpoint in `{dir}` has a value of `{}`", metric.name()).into())
            }
            (None, ..) => Ok(None),
        }
    }

    /// What rank 0 has found. Every rank calls it.
    fn send(found: Result<Option<Self>, BoxError>, peers: &dyn Peers) -> Result<Option<Self>, BoxError> {
        let head = peers.state_of_first(&Found::head(&found)?)?;
        if head.is_empty() {
            return Ok(None);
        }
        let text = |name: &str| head.array(name)?.to_text();
        if head.contains(ERROR) {
            return Err(AgreedError::new(format!("rank 0: {}", text(ERROR)?)).into());
        }
        let manifest = Manifest::parse(text(MANIFEST)?.as_bytes())?;
        let mut own = found?.map(|found| found.parts).unwrap_or_default();
        let part = |name: &String| {
            let own = own.remove(name).unwrap_or_default();
            Ok((name.clone(), peers.state_of_first(&own)?))
        };
        let parts = manifest.parts.keys().map(part).collect::<Result<_, BoxError>>()?;
        let skipped = (0..).map(|n| format!("{SKIPPED}{n}")).take_while(|name| head.contains(name));
        let skipped = skipped.map(|name| text(&name)).collect::<Result<_, _>>()?;
        Ok(Some(Found { path: text(PATH)?.into(), manifest, parts, skipped }))
    }

    /// Everything but the parts, as texts; empty if nothing was found.
    fn head(found: &Result<Option<Self>, BoxError>) -> Result<StateDict, BoxError> {
        let mut head = StateDict::new();
        match found {
            Ok(None) => {}
            Err(cause) => head.insert(ERROR, Array::from_text(&WithCauses(&**cause).to_string()))?,
            Ok(Some(Found { path, manifest, skipped, .. })) => {
                head.insert(PATH, Array::from_text(&path.display().to_string()))?;
                head.insert(MANIFEST, Array::from_text(&manifest.render()?))?;
                for (n, skipped) in skipped.iter().enumerate() {
                    head.insert(format!("{SKIPPED}{n}"), Array::from_text(skipped))?;
                }
            }
        }
        Ok(head)
    }
}

const ERROR: &str = "error";
const PATH: &str = "path";
const MANIFEST: &str = "manifest";
/// Before the number of a checkpoint that was passed over.
const SKIPPED: &str = "skipped.";
