//! Events, and the values of their summaries.

use super::framing::record;
use super::graph_node::GraphNode;
use crate::log::protobuf::{double, float, integer, message, text};
use crate::metric::Histogram;
use crate::state::{HyperParameter, HyperParameters};

/// Appends an event with what `fill` appends; the time is in seconds since 1970.
pub(super) fn event(bytes: &mut Vec<u8>, time: f64, step: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    record(bytes, |event| {
        double(event, 1, time);
        if step > 0 {
            integer(event, 2, step);
        }
        fill(event);
    });
}

/// The version of a file, its first event.
pub(super) fn file_version(event: &mut Vec<u8>) {
    text(event, 3, "brain.Event:2");
}

/// The start of a session: earlier points at the step of the event and later ones are void.
pub(super) fn session_start(event: &mut Vec<u8>) {
    message(event, 7, |session| integer(session, 1, 1));
}

/// A summary with the values that `fill` appends.
pub(super) fn summary(event: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    message(event, 5, fill);
}

/// A number. Its tag is a name and a suffix.
pub(super) fn scalar(summary: &mut Vec<u8>, (name, suffix): (&str, &str), number: f64) {
    message(summary, 1, |value| {
        message(value, 1, |tag| [name, suffix].iter().for_each(|part| tag.extend(part.as_bytes())));
        float(value, 2, number as f32);
    });
}

/// A text in Markdown.
pub(super) fn markdown(summary: &mut Vec<u8>, tag: &str, content: &str) {
    tensor(summary, tag, "text", &[], TENSOR, |tensor| strings(tensor, Some(1), &[content.as_bytes()]));
}

/// A picture, as a PNG file.
pub(super) fn picture(summary: &mut Vec<u8>, tag: &str, width: u32, height: u32, png: &[u8]) {
    let (width, height) = (width.to_string(), height.to_string());
    let parts = [width.as_bytes(), height.as_bytes(), png];
    tensor(summary, tag, "images", &[], BLOBS, |tensor| strings(tensor, Some(3), &parts));
}

/// A sound, as a WAV file.
pub(super) fn sound(summary: &mut Vec<u8>, tag: &str, wav: &[u8]) {
    const ENCODING_WAV: &[u8] = &[0x10, 11];
    tensor(summary, tag, "audio", ENCODING_WAV, BLOBS, |tensor| strings(tensor, Some(1), &[wav]));
}

/// A histogram: a row of left border, right border and count per bucket.
pub(super) fn buckets(summary: &mut Vec<u8>, tag: &str, histogram: &Histogram) {
    tensor(summary, tag, "histograms", &[], TENSOR, |tensor| {
        integer(tensor, 1, DOUBLE);
        shape(tensor, 2, &[histogram.counts().len() as u64, 3]);
        let (borders, counts) = (histogram.borders(), histogram.counts());
        message(tensor, 4, |content| {
            for (borders, count) in borders.windows(2).zip(counts) {
                [borders[0], borders[1], *count as f64].iter().for_each(|n| content.extend(n.to_le_bytes()));
            }
        });
    });
}

/// The hyper-parameters of a run that begins. JSON has no numbers that are not finite, and no whole ones
/// above 2^53: these are texts.
pub(super) fn hyper_parameters(summary: &mut Vec<u8>, settings: &HyperParameters, time: f64) {
    hparams(summary, "_hparams_/session_start_info", 3, |start| {
        for (name, value) in settings.iter() {
            message(start, 1, |entry| {
                text(entry, 1, name);
                message(entry, 2, |json| match value {
                    HyperParameter::Bool(value) => integer(json, 4, u64::from(*value)),
                    HyperParameter::Integer(value) if value.unsigned_abs() <= 1 << 53 => {
                        double(json, 2, *value as f64);
                    }
                    HyperParameter::Float(value) if value.is_finite() => double(json, 2, *value),
                    value => text(json, 3, value.to_string()),
                });
            });
        }
        double(start, 5, time);
    });
}

/// The hyper-parameters of a run that goes on with others, as a text of a line each. TensorBoard keeps the
/// first session of a run.
pub(super) fn changed_hyper_parameters(summary: &mut Vec<u8>, settings: &HyperParameters) {
    // Indented, so that no character has a meaning in Markdown.
    let lines: String = settings.iter().map(|(name, value)| format!("    {name} = {value}\n")).collect();
    markdown(summary, "hyper_parameters", &lines);
}

/// The end of a run, with or without success.
pub(super) fn session_end(summary: &mut Vec<u8>, is_success: bool, time: f64) {
    hparams(summary, "_hparams_/session_end_info", 4, |end| {
        integer(end, 1, if is_success { 1 } else { 2 });
        double(end, 2, time);
    });
}

fn hparams(summary: &mut Vec<u8>, tag: &str, field: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::new();
    message(&mut content, field, fill);
    tensor(summary, tag, "hparams", &content, TENSOR, |tensor| {
        integer(tensor, 1, FLOAT);
        shape(tensor, 2, &[0]);
    });
}

/// A chart for each name, with its values in training, those of its training epochs, and its values in
/// evaluation.
pub(super) fn charts<'a>(summary: &mut Vec<u8>, names: impl Iterator<Item = &'a str>) {
    let mut layout = Vec::new();
    message(&mut layout, 2, |category| {
        text(category, 1, "train and eval");
        for name in names {
            message(category, 2, |chart| {
                text(chart, 1, name);
                let name = literal(name);
                message(chart, 2, |multiline| {
                    text(multiline, 1, format!("^train/{name}(_epoch)?$"));
                    text(multiline, 1, format!("^eval/{name}$"));
                });
            });
        }
    });
    tensor(summary, "custom_scalars__config__", "custom_scalars", &[], TENSOR, |tensor| {
        strings(tensor, None, &[&layout]);
    });
}

/// The regular expression of a name.
fn literal(name: &str) -> String {
    let mut pattern = String::new();
    for c in name.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The graph of a module.
pub(super) fn graph(event: &mut Vec<u8>, nodes: &[GraphNode]) {
    message(event, 4, |graph| {
        for node in nodes {
            message(graph, 1, |def| {
                text(def, 1, &node.name);
                text(def, 2, &node.op);
                node.inputs.iter().for_each(|input| text(def, 3, input));
                if let Some(sizes) = &node.shape {
                    message(def, 5, |attribute| {
                        text(attribute, 1, "_output_shapes");
                        message(attribute, 2, |value| message(value, 1, |list| shape(list, 7, sizes)));
                    });
                }
            });
        }
        // The least version of a reader that TensorFlow writes today.
        message(graph, 4, |versions| integer(versions, 1, 22));
    });
}

const FLOAT: u64 = 1;
const DOUBLE: u64 = 2;
const STRING: u64 = 7;

/// The classes of data.
const TENSOR: u64 = 2;
const BLOBS: u64 = 3;

/// A value that the plugin of that name reads from a tensor.
fn tensor(
    summary: &mut Vec<u8>,
    tag: &str,
    plugin: &str,
    content: &[u8],
    class: u64,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    message(summary, 1, |value| {
        text(value, 1, tag);
        message(value, 9, |metadata| {
            message(metadata, 1, |data| {
                text(data, 1, plugin);
                text(data, 2, content);
            });
            integer(metadata, 4, class);
        });
        message(value, 8, fill);
    });
}

/// The fields of a tensor of strings; without a size it has no dimension.
fn strings(tensor: &mut Vec<u8>, size: Option<u64>, strings: &[&[u8]]) {
    integer(tensor, 1, STRING);
    shape(tensor, 2, size.as_slice());
    strings.iter().for_each(|string| text(tensor, 8, string));
}

fn shape(bytes: &mut Vec<u8>, field: u64, sizes: &[u64]) {
    message(bytes, field, |shape| {
        sizes.iter().for_each(|size| message(shape, 2, |dimension| integer(dimension, 1, *size)));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: u64, fill: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut bytes = Vec::new();
        event(&mut bytes, 1.7e9, step, fill);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""));
    }

    #[test]
    fn events_are_the_bytes_of_other_writers() {
        check(
            0,
            file_version,
            "1800000000000000 a37f4b22 0900000040fc54d941 1a0d627261696e2e4576656e743a32 eced8f9d",
        );
        check(
            1000,
            |event| summary(event, |summary| scalar(summary, ("train/", "loss"), 0.5)),
            "2100000000000000 017becf6 0900000040fc54d941 10e807 \
             2a130a110a0a747261696e2f6c6f7373150000003f edee1082",
        );
        check(7, session_start, "0f00000000000000 6d532b09 0900000040fc54d941 1007 3a020801 3c4f4b07");
    }

    #[test]
    fn a_name_is_no_pattern() {
        assert_eq!(literal("top-5 (mean) [a.b]"), r"top-5 \(mean\) \[a\.b\]");
    }
}
