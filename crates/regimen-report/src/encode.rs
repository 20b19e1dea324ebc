//! The data of a page: JSON, in which long rows of numbers are little-endian bytes in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{Curve, Marks, Picture, StoredRun};

/// A run as the script of the page reads it.
pub(crate) fn run(name: &str, run: &StoredRun, pictures: &[&Picture]) -> Value {
    let checkpoint = |saved: &crate::SavedPoint| {
        let metrics: serde_json::Map<_, _> =
            saved.metrics.iter().map(|(name, value)| (name.clone(), number(*value))).collect();
        json!({
            "name": saved.name, "step": saved.step, "epoch": saved.epoch, "resumable": saved.resumable,
            "bytes": saved.bytes, "metrics": metrics,
        })
    };
    let picture = |picture: &&Picture| json!({"name": picture.name, "step": picture.step, "png": STANDARD.encode(&picture.png)});
    json!({
        "name": name,
        "folder": run.folder.display().to_string(),
        "state": run.state,
        "step": run.step,
        "epoch": run.epochs(),
        "seconds": run.axes.seconds.last(),
        "axes": {
            "epochs": marks(&run.axes.epochs),
            "samples": marks(&run.axes.samples),
            "seconds": marks(&run.axes.seconds),
        },
        "curves": run.curves.iter().map(curve).collect::<Vec<_>>(),
        "hyper_parameters": run.hyper_parameters,
        "environment": run.environment,
        "notices": run.notices,
        "older_notices": run.older_notices,
        "checkpoints": run.checkpoints.iter().map(checkpoint).collect::<Vec<_>>(),
        "pictures": pictures.iter().map(picture).collect::<Vec<_>>(),
        "summary": run.summary,
        "profile": run.profile,
        "flight": run.flight,
        "damage": run.damage,
    })
}

/// A number, or a text if JSON has no such number.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

fn marks(marks: &Marks) -> Value {
    let (steps, at): (Vec<f64>, Vec<f64>) = marks.all().iter().map(|&(step, at)| (step as f64, at)).unzip();
    json!({"steps": f64s(&steps), "at": f64s(&at)})
}

/// The steps are f64. The values are f32 unless one of them is too large or too small for that. A curve of single values
/// has one row of them; others have five rows, one after another: first, smallest, largest, last, mean.
fn curve(curve: &Curve) -> Value {
    let (key, buckets) = (curve.key(), curve.buckets());
    let steps: Vec<f64> = buckets.iter().map(|bucket| bucket.step as f64).collect();
    let is_single = buckets.iter().all(|bucket| bucket.count == 1);
    let rows: &[fn(&crate::Bucket) -> f64] = match is_single {
        true => &[|bucket| bucket.first],
        false => &[
            |bucket| bucket.first,
            |bucket| bucket.min,
            |bucket| bucket.max,
            |bucket| bucket.last,
            |bucket| bucket.mean(),
        ],
    };
    let values: Vec<f64> = rows.iter().flat_map(|row| buckets.iter().map(row)).collect();
    let fits = |value: &f64| {
        !value.is_finite()
            || *value == 0.0
            || (f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&value.abs())
    };
    let single = values.iter().all(fits);
    let gaps: Vec<[u64; 3]> = (0..)
        .zip(buckets)
        .filter(|(_, bucket)| bucket.nan + bucket.infinite > 0)
        .map(|(n, bucket)| [n, bucket.nan, bucket.infinite])
        .collect();
    let at = |point: Option<(u64, f64)>| point.map(|(step, value)| json!([step, number(value)]));
    json!({
        "name": key.name,
        "phase": key.phase,
        "per_epoch": key.per_epoch,
        "points": curve.points(),
        "stride": curve.stride(),
        "end": buckets.last().map(|bucket| bucket.end),
        "last": at(curve.last()),
        "min": at(curve.min()),
        "max": at(curve.max()),
        "steps": f64s(&steps),
        "type": if single { "f32" } else { "f64" },
        "values": if single { f32s(&values) } else { f64s(&values) },
        "gaps": gaps,
    })
}

fn f64s(values: &[f64]) -> String {
    STANDARD.encode(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

fn f32s(values: &[f64]) -> String {
    STANDARD.encode(values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect::<Vec<u8>>())
}
