//! The checkpoint to restore, the same on all ranks.

use std::collections::BTreeMap;
use std::mem;
use std::path::PathBuf;

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::error::WithCauses;
use regimen_core::peers::{AgreedError, Peers};
use regimen_core::run::{Moment, Which};
use regimen_core::saved::{AppState, Array, Parts, SHARE, StateDict, Stateful};

use super::settings::Settings;
use crate::checkpoint::format::piece::Piece;
use crate::checkpoint::{Checkpoint, CheckpointError, LoadedCheckpoint, Manifest};

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
    /// it and sends it to the others, or its error. Of a part in pieces each rank has what the unit needs there.
    pub(super) fn find(
        settings: &Settings,
        which: Which<'_>,
        moment: &mut Moment<'_>,
    ) -> Result<Option<Self>, BoxError> {
        let Some(peers) = moment.state().peers().cloned() else {
            return Found::read(settings, which, Checkpoint::read_all);
        };
        let found = match peers.rank().is_first() {
            true => Found::read(settings, which, read_whole_parts),
            false => Ok(None),
        };
        Found::send(found, settings, &*peers, moment.unit())
    }

    fn read(
        settings: &Settings,
        which: Which<'_>,
        read: fn(&Checkpoint) -> Result<BTreeMap<String, StateDict>, CheckpointError>,
    ) -> Result<Option<Self>, BoxError> {
        let found = settings.checkpoints().load_with(which, read)?;
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
    fn send(
        found: Result<Option<Self>, BoxError>,
        settings: &Settings,
        peers: &dyn Peers,
        unit: &mut dyn AppState,
    ) -> Result<Option<Self>, BoxError> {
        let head = peers.state_of_first(&Found::head(&found)?)?;
        if head.is_empty() {
            return Ok(None);
        }
        let text = |name: &str| head.array(name)?.to_text();
        if head.contains(ERROR) {
            return Err(AgreedError::new(format!("rank 0: {}", text(ERROR)?)).into());
        }
        let manifest = Manifest::parse(text(MANIFEST)?.as_bytes())?;
        let path = PathBuf::from(text(PATH)?);
        let on_first = Checkpoint::new(settings.store(), path.clone(), manifest.clone());
        let mut own = found?.map(|found| found.parts).unwrap_or_default();
        let (mut parts, mut chosen) = (BTreeMap::<String, StateDict>::new(), Ok(()));
        for name in manifest.parts.keys() {
            let Some(Piece { part, .. }) = Piece::parse(name) else {
                let own = own.remove(name).unwrap_or_default();
                parts.insert(name.clone(), peers.state_of_first(&own)?);
                continue;
            };
            let piece = match peers.rank().is_first() {
                true => on_first.read_file(name).map_err(BoxError::from),
                false => Ok(StateDict::new()),
            };
            let piece = peers.state_of_first(&peers.agree(piece)?)?;
            if settings.left_out.iter().any(|left_out| left_out == part) {
                parts.entry(part.to_owned()).or_default();
                continue;
            }
            // A rank that fails still takes part in the calls of the others.
            chosen = chosen.and_then(|()| {
                let own = parts.entry(part.to_owned()).or_default();
                // The choice of each piece has the mark of a share.
                let _ = own.remove(SHARE);
                own_of(unit, part, piece, peers.rank())?
                    .into_iter()
                    .try_for_each(|(name, array)| own.insert(name, array))
            });
        }
        peers.agree(chosen)?;
        let skipped = (0..).map(|n| format!("{SKIPPED}{n}")).take_while(|name| head.contains(name));
        let skipped = skipped.map(|name| text(&name)).collect::<Result<_, _>>()?;
        Ok(Some(Found { path, manifest, parts, skipped }))
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

/// The parts that are in one file. Those in pieces are checked.
fn read_whole_parts(checkpoint: &Checkpoint) -> Result<BTreeMap<String, StateDict>, CheckpointError> {
    let mut parts = BTreeMap::new();
    let manifest = checkpoint.manifest();
    for name in manifest.part_names() {
        match manifest.parts.contains_key(name) {
            true => drop(parts.insert(name.to_owned(), checkpoint.read(name)?)),
            false => checkpoint.verify_part(name)?,
        }
    }
    Ok(parts)
}

/// The arrays of a piece that the unit needs on `rank`. Of a part that it does not have: none.
fn own_of(unit: &mut dyn AppState, part: &str, piece: StateDict, rank: Rank) -> Result<StateDict, BoxError> {
    struct Choice<'c> {
        part: &'c str,
        piece: StateDict,
        own: StateDict,
        rank: Rank,
    }
    impl Parts for Choice<'_> {
        fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
            if name == self.part {
                let piece = mem::take(&mut self.piece);
                self.own = if self.rank.count == 1 { piece } else { part.share(&[piece], self.rank)? };
            }
            Ok(())
        }
    }
    let mut choice = Choice { part, piece, own: StateDict::new(), rank };
    unit.visit(&mut choice)?;
    Ok(choice.own)
}

const ERROR: &str = "error";
const PATH: &str = "path";
const MANIFEST: &str = "manifest";
/// Before the number of a checkpoint that was passed over.
const SKIPPED: &str = "skipped.";
